use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn graph(mergelogs: &[(&str, &[&str])]) -> MergeGraph {
    let mut graph = MergeGraph::new();
    for (new_cpid, sources) in mergelogs {
        graph.add(new_cpid, *sources).unwrap();
    }
    graph
}

fn sorted(mut cpids: Vec<&str>) -> Vec<&str> {
    cpids.sort_unstable();
    cpids
}

/// `Test_descendantCPIDs` of the authors' trace server.
const AUTHORS: &[(&str, &[&str])] = &[
    ("1", &[]),
    ("2", &[]),
    ("3", &["1", "2"]),
    ("4", &[]),
    ("5", &["2", "4"]),
    ("6", &["3", "5"]),
    ("7", &[]),
    ("8", &["3", "7"]),
    ("9", &[]),
    ("10", &[]),
    ("11", &["9", "10"]),
    ("12", &[]),
    ("13", &[]),
];

#[test]
fn the_authors_fixture() {
    let expected: &[(&str, &[&str])] = &[
        ("", &[]),
        ("NO-SUCH-CPID", &[]),
        ("1", &["1", "3", "6", "8"]),
        ("2", &["2", "3", "5", "6", "8"]),
        ("3", &["3", "6", "8"]),
        ("4", &["4", "5", "6"]),
        ("5", &["5", "6"]),
        ("6", &["6"]),
        ("7", &["7", "8"]),
        ("8", &["8"]),
        ("9", &["11", "9"]),
        ("10", &["10", "11"]),
        ("11", &["11"]),
        ("12", &["12"]),
        ("13", &["13"]),
    ];
    let forwards = graph(AUTHORS);
    let backwards = graph(&AUTHORS.iter().rev().copied().collect::<Vec<_>>());
    for (cpid, descendants) in expected {
        assert_eq!(sorted(forwards.descendants(cpid)), *descendants, "{cpid}");
        assert_eq!(sorted(backwards.descendants(cpid)), *descendants, "{cpid}");
        assert_eq!(sorted(forwards.reached_from(cpid)), *descendants, "{cpid}");
    }
    assert_eq!(forwards.violations(), Vec::new());
    assert_eq!(forwards.len(), AUTHORS.len());
}

#[test]
fn nearer_ones_come_first() {
    let graph = graph(AUTHORS);
    assert_eq!(graph.descendants("2"), ["2", "3", "5", "6", "8"]);
    assert_eq!(graph.descendants("4"), ["4", "5", "6"]);
    assert_eq!(graph.ancestors("6"), ["6", "3", "5", "1", "2", "4"]);
    assert_eq!(graph.ancestors("12"), ["12"]);
    assert_eq!(graph.ancestors("NO-SUCH-CPID"), [""; 0]);
    assert_eq!(graph.sources("6"), Some(vec!["3", "5"]));
    assert_eq!(graph.sources("1"), Some(vec![]));
}

#[test]
fn a_cpid_that_only_occurs_as_a_source_is_not_made() {
    let graph = graph(&[("3", &["1", "2"])]);
    assert!(graph.is_made("3") && !graph.is_made("1") && !graph.is_made("4"));
    assert!(graph.occurs("3") && graph.occurs("1") && !graph.occurs("4"));
    assert_eq!(graph.descendants("1"), [""; 0]);
    assert_eq!(graph.reached_from("1"), ["1", "3"]);
    assert_eq!(graph.ancestors("3"), ["3", "1", "2"]);
    assert_eq!(graph.ancestors("1"), ["1"]);
    assert_eq!(graph.sources("1"), None);
}

#[test]
fn repeated_mergelogs_change_nothing() {
    let mut graph = MergeGraph::new();
    assert!(graph.is_empty());
    assert_eq!(graph.add("3", ["1", "2"]), Ok(Added::New));
    assert_eq!(graph.add("3", ["2", "1", "2"]), Ok(Added::Known));
    assert_eq!(graph.add("1", [""; 0]), Ok(Added::New));
    assert_eq!(graph.add("1", [""; 0]), Ok(Added::Known));
    assert_eq!(graph.len(), 2);
    assert_eq!(graph.violations(), Vec::new());
    assert_eq!(graph.add("3", ["1", "4"]), Ok(Added::Different));
    assert_eq!(graph.add("3", ["1", "2"]), Ok(Added::Known));
    assert_eq!(graph.add("3", ["4", "1"]), Ok(Added::Known));
    assert_eq!(graph.len(), 3);
    assert_eq!(graph.reached_from("4"), ["4", "3"]);
    assert_eq!(sorted(graph.sources("3").unwrap()), ["1", "2", "4"]);
}

#[test]
fn empty_cpids_are_refused() {
    let mut graph = MergeGraph::new();
    assert_eq!(graph.add("", ["1", "2"]), Err(AddError::EmptyCpid));
    assert_eq!(graph.add("3", ["1", ""]), Err(AddError::EmptyCpid));
    assert!(graph.is_empty());
    assert_eq!(graph.reached_from("1"), [""; 0]);
}

#[test]
fn broken_rules_are_named() {
    let cpid = |text: &str| text.to_owned();
    let broken = graph(&[
        ("twice", &["a", "b"]),
        ("twice", &["a", "c"]),
        ("twice", &[]),
        ("one", &["a", "a"]),
        ("self", &["self"]),
        ("self and more", &["self and more", "a"]),
        // Two cycles that share a node, one apart from them, and a way from one to the other.
        ("l", &["k", "a"]),
        ("m", &["l", "k2"]),
        ("k", &["m", "l"]),
        ("k2", &["k", "m"]),
        ("x", &["y", "k"]),
        ("y", &["x", "b"]),
        ("behind", &["x", "y"]),
    ]);
    assert_eq!(
        broken.violations(),
        [
            Violation::MadeTwice {
                cpid: cpid("twice")
            },
            Violation::OneSource {
                cpid: cpid("one"),
                source_cpid: cpid("a"),
            },
            Violation::OwnSource { cpid: cpid("self") },
            Violation::OwnSource {
                cpid: cpid("self and more")
            },
            Violation::Cycle {
                cpids: ["k", "k2", "l", "m"].map(cpid).to_vec()
            },
            Violation::Cycle {
                cpids: ["x", "y"].map(cpid).to_vec()
            },
        ]
    );
    assert_eq!(sorted(broken.descendants("x")), ["behind", "x", "y"]);
    assert_eq!(broken.descendants("self"), ["self"]);
    assert!(broken.ancestors("y").contains(&"k"));
}

#[test]
fn long_chains_and_many_mergelogs_are_no_trouble() {
    const COUNT: usize = 200_000;
    // As long as a UUID.
    let name = |number: usize| format!("{number:036}");
    let mut graph = MergeGraph::new();
    for number in (2..COUNT).rev() {
        let sources = [name(number - 1), name(number - 2)];
        graph.add(&name(number), sources).unwrap();
    }
    for root in [0, 1] {
        graph.add(&name(root), [""; 0]).unwrap();
    }
    assert_eq!(graph.descendants(&name(0)).len(), COUNT - 1);
    assert_eq!(graph.ancestors(&name(COUNT - 1)).len(), COUNT);
    assert_eq!(graph.violations(), Vec::new());
    // Growing by doubling, at most half of it is not used yet.
    let used = 36 + 8 + 4 * 2 + size_of::<Node>() + size_of::<Mergelog>() + 2 * size_of::<Edge>();
    assert!(
        graph.memory_bytes() <= 2 * COUNT * used,
        "{}",
        graph.memory_bytes()
    );

    // The end of the chain closes a cycle through all of it but the other root.
    graph
        .add(&name(0), [name(COUNT - 1), name(COUNT - 2)])
        .unwrap();
    let violations = graph.violations();
    assert!(matches!(
        violations.as_slice(),
        [Violation::MadeTwice { .. }, Violation::Cycle { cpids }] if cpids.len() == COUNT - 1
    ));
}

const NAMES: &[&str] = &["a", "b", "c", "d", "e", "f"];

fn any_mergelogs() -> impl Strategy<Value = Vec<(&'static str, Vec<&'static str>)>> {
    let name = || prop::sample::select(NAMES);
    prop::collection::vec((name(), prop::collection::vec(name(), 0..4)), 0..12)
}

/// What is reached over `next`, the plain way.
fn closure<'a>(start: &'a str, next: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::from([start]);
    loop {
        let more: BTreeSet<&str> = found
            .iter()
            .filter_map(|cpid| next.get(cpid))
            .flatten()
            .copied()
            .collect();
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            return found;
        }
    }
}

proptest! {
    #[test]
    fn answers_are_those_of_the_plain_way(mergelogs in any_mergelogs()) {
        let mut graph = MergeGraph::new();
        let mut made: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut sources_of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut said = BTreeSet::new();
        for (new_cpid, sources) in &mergelogs {
            let set: BTreeSet<&str> = sources.iter().copied().collect();
            let expected = match (said.contains(&(*new_cpid, set.clone())), sources_of.contains_key(new_cpid)) {
                (true, _) => Added::Known,
                (false, true) => Added::Different,
                (false, false) => Added::New,
            };
            prop_assert_eq!(graph.add(new_cpid, sources), Ok(expected));
            for source in &set {
                made.entry(source).or_default().insert(new_cpid);
            }
            sources_of.entry(new_cpid).or_default().extend(&set);
            said.insert((*new_cpid, set));
        }
        prop_assert_eq!(graph.len(), said.len());

        let set = |cpids: Vec<&'static str>| cpids.into_iter().collect::<BTreeSet<_>>();
        let named = |cpids: Vec<&str>| set(NAMES.iter().copied().filter(|name| cpids.contains(name)).collect());
        let mut in_cycles = BTreeSet::new();
        for cpid in NAMES {
            let occurs = sources_of.contains_key(cpid) || made.contains_key(cpid);
            let is_made = sources_of.contains_key(cpid);
            let down = closure(cpid, &made);
            let up = closure(cpid, &sources_of);
            let if_any = |known: bool, all: &BTreeSet<&'static str>| if known { all.clone() } else { BTreeSet::new() };
            let down: BTreeSet<&'static str> = named(down.into_iter().collect());
            let up: BTreeSet<&'static str> = named(up.into_iter().collect());
            prop_assert_eq!(named(graph.descendants(cpid)), if_any(is_made, &down));
            prop_assert_eq!(named(graph.reached_from(cpid)), if_any(occurs, &down));
            prop_assert_eq!(named(graph.ancestors(cpid)), if_any(occurs, &up));
            prop_assert_eq!(graph.is_made(cpid), is_made);
            let cycle: Vec<String> = down.intersection(&up).map(|cpid| (*cpid).to_owned()).collect();
            if cycle.len() > 1 {
                in_cycles.insert(cycle);
            }
        }
        let cycles: BTreeSet<Vec<String>> = graph
            .violations()
            .into_iter()
            .filter_map(|violation| match violation {
                Violation::Cycle { cpids } => Some(cpids),
                _ => None,
            })
            .collect();
        prop_assert_eq!(cycles, in_cycles);
    }

    #[test]
    fn the_order_of_mergelogs_does_not_matter(mergelogs in any_mergelogs()) {
        let mut forwards = MergeGraph::new();
        let mut backwards = MergeGraph::new();
        for (new_cpid, sources) in &mergelogs {
            forwards.add(new_cpid, sources).unwrap();
        }
        for (new_cpid, sources) in mergelogs.iter().rev() {
            backwards.add(new_cpid, sources).unwrap();
        }
        for cpid in NAMES {
            let (one, other) = (forwards.descendants(cpid), backwards.descendants(cpid));
            prop_assert_eq!(sorted(one), sorted(other));
        }
        prop_assert_eq!(forwards.violations(), backwards.violations());
        prop_assert_eq!(forwards.len(), backwards.len());
    }

    #[test]
    fn any_text_is_a_cpid(texts in prop::collection::vec(".*", 0..20)) {
        let mut graph = MergeGraph::new();
        for pair in texts.chunks(2) {
            let _ = graph.add(&pair[0], &pair[1..]);
        }
        for text in &texts {
            let _ = graph.descendants(text);
        }
        let _ = graph.violations();
    }
}
