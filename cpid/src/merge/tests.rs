use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::graph::MergeGraph;

fn context(cpid: &str, ancestors: &[&str]) -> ChangeContext {
    ChangeContext {
        cpid: cpid.to_owned(),
        ancestors: owned(ancestors),
    }
}

fn merged(sources: &[ChangeContext], keep_ancestors: usize) -> Merged {
    merge_with(sources.iter().cloned(), keep_ancestors, |sources| {
        format!("new({})", sources.join(","))
    })
}

fn new(sources: &[&str], ancestors: &[&str]) -> Merged {
    Merged::New {
        context: context(&format!("new({})", sources.join(",")), ancestors),
        source_cpids: owned(sources),
    }
}

/// `Test_mergeTctxs` of the authors' prototype.
#[test]
fn the_authors_cases() {
    assert_eq!(merged(&[], 10), Merged::Nothing);
    assert_eq!(merged(&[context("", &[])], 10), Merged::Nothing);
    for one in [
        context("cpid-1", &[]),
        context("cpid-1", &["cpid-2", "cpid-3"]),
    ] {
        assert_eq!(merged(std::slice::from_ref(&one), 10), Merged::Reuse(one));
    }
    let first = context("cpid-1", &["cpid-2", "cpid-3"]);
    let fourth = context("cpid-4", &["cpid-5", "cpid-6"]);
    let seventh = context("cpid-7", &["cpid-8", "cpid-9"]);
    assert_eq!(
        merged(&[first.clone(), fourth.clone()], 10),
        new(
            &["cpid-1", "cpid-4"],
            &["cpid-1", "cpid-4", "cpid-2", "cpid-5", "cpid-3", "cpid-6"]
        )
    );
    assert_eq!(
        merged(&[first, fourth, seventh], 10),
        new(
            &["cpid-1", "cpid-4", "cpid-7"],
            &[
                "cpid-1", "cpid-4", "cpid-7", "cpid-2", "cpid-5", "cpid-8", "cpid-3", "cpid-6",
                "cpid-9"
            ]
        )
    );
}

/// `Test_cpidGraph_addTraceContext` of the authors' prototype. The ancestors are the same; their
/// order is ours.
#[test]
fn the_authors_cases_of_one_root() {
    let first = context("cpid-1", &["cpid-2", "cpid-3"]);
    let reuse = |ancestors: &[&str]| Merged::Reuse(context("cpid-1", ancestors));
    assert_eq!(
        merged(
            &[first.clone(), context("cpid-1", &["cpid-4", "cpid-5"])],
            10
        ),
        reuse(&["cpid-2", "cpid-4", "cpid-3", "cpid-5"])
    );
    let sources = [
        first.clone(),
        context("cpid-4", &["cpid-5", "cpid-6"]),
        context("cpid-1", &["cpid-4"]),
    ];
    assert_eq!(
        merged(&sources, 10),
        reuse(&["cpid-2", "cpid-4", "cpid-3", "cpid-5", "cpid-6"])
    );
    assert_eq!(
        merged(&[first.clone(), first], 10),
        reuse(&["cpid-2", "cpid-3"])
    );
}

#[test]
fn invalid_sources_are_left_out() {
    let valid = context("a", &["b"]);
    let sources = [
        context("", &["a"]),
        context("c", &["c"]),
        valid.clone(),
        context("", &[]),
    ];
    assert_eq!(merged(&sources, 10), Merged::Reuse(valid));
    assert_eq!(merged(&[context("c", &["d", "c"])], 10), Merged::Nothing);
}

#[test]
fn one_source_is_reused_as_it_is_however_long() {
    let long = context("a", &["b", "c", "d"]);
    let sources = [long.clone(), long.clone()];
    assert_eq!(merged(&sources, 1), Merged::Reuse(long));
}

#[test]
fn kept_ancestors_are_the_nearest() {
    let sources = [
        context("a", &["b", "c", "d"]),
        context("e", &["f"]),
        context("f", &["g"]),
    ];
    assert_eq!(
        merged(&sources, 10),
        new(&["a", "e"], &["a", "e", "b", "f", "c", "g", "d"])
    );
    assert_eq!(merged(&sources, 3), new(&["a", "e"], &["a", "e", "b"]));
    assert_eq!(merged(&sources, 1), new(&["a", "e"], &["a"]));
    assert_eq!(merged(&sources, 0), new(&["a", "e"], &[]));
}

#[test]
fn ancestry_is_followed_over_the_sources() {
    let sources = [
        context("old", &["older"]),
        context("middle", &["old"]),
        context("young", &["middle"]),
    ];
    assert_eq!(
        merged(&sources, 10),
        Merged::Reuse(context("young", &["middle", "old", "older"]))
    );
}

#[test]
fn sources_that_claim_each_other_are_all_roots() {
    let sources = [
        context("a", &["b"]),
        context("b", &["a", "d"]),
        context("c", &[]),
        context("d", &[]),
    ];
    assert!(matches!(
        merged(&sources, 10),
        Merged::New { source_cpids, .. } if source_cpids == ["a", "b", "c", "d"]
    ));
}

#[test]
fn new_cpids_are_random() {
    let sources = [context("a", &[]), context("b", &[])];
    let first = merge(sources.clone(), 10);
    let second = merge(sources, 10);
    assert_ne!(
        first.context().unwrap().cpid,
        second.context().unwrap().cpid
    );
}

#[test]
fn many_sources_are_no_trouble() {
    let sources: Vec<ChangeContext> = (0..20_000)
        .map(|number| context(&format!("{number:05}"), &["common"]))
        .collect();
    let Merged::New { source_cpids, .. } = merge(sources, 10) else {
        panic!("all of them are roots")
    };
    assert_eq!(source_cpids.len(), 20_000);
}

const NAMES: &[&str] = &["", "a", "b", "c", "d", "e", "f", "g"];

fn any_contexts() -> impl Strategy<Value = Vec<ChangeContext>> {
    let name = || select(NAMES).prop_map(str::to_owned);
    let context = (name(), prop::collection::vec(name(), 0..5))
        .prop_map(|(cpid, ancestors)| ChangeContext { cpid, ancestors });
    prop::collection::vec(context, 0..8)
}

proptest! {
    #[test]
    fn the_result_depends_on_the_set_of_sources_alone(
        (sources, mut shuffled) in any_contexts()
            .prop_flat_map(|sources| (Just(sources.clone()), Just(sources).prop_shuffle())),
        keep in 0_usize..6,
    ) {
        shuffled.extend(sources.first().cloned());
        prop_assert_eq!(merged(&sources, keep), merged(&shuffled, keep));
    }

    #[test]
    fn results_are_valid_and_bounded(sources in any_contexts(), keep in 0_usize..6) {
        let result = merged(&sources, keep);
        let valid: Vec<_> = sources.iter().filter(|source| source.validate().is_ok()).collect();
        prop_assert_eq!(result.context().is_none(), valid.is_empty());
        if let Some(context) = result.context() {
            prop_assert_eq!(context.validate(), Ok(()));
            let as_it_is = valid.contains(&context);
            prop_assert!(as_it_is || context.ancestors.len() <= keep);
        }
        match &result {
            Merged::Nothing => {}
            Merged::Reuse(context) => {
                prop_assert!(valid.iter().any(|source| source.cpid == context.cpid));
            }
            Merged::New { source_cpids, .. } => {
                prop_assert!(source_cpids.len() >= 2);
                prop_assert!(source_cpids.is_sorted_by(|left, right| left < right));
                for cpid in source_cpids {
                    prop_assert!(valid.iter().any(|source| source.cpid == *cpid));
                }
            }
        }
    }

    #[test]
    fn a_result_takes_in_its_sources(sources in any_contexts()) {
        let result = merged(&sources, usize::MAX);
        if let Some(context) = result.context() {
            let again = std::iter::once(context).chain(&sources).cloned().collect::<Vec<_>>();
            let again = merged(&again, usize::MAX);
            prop_assert!(matches!(
                &again,
                Merged::Reuse(reused) if reused.cpid == context.cpid
            ));
        }
    }
}

/// One write: which object, because of which others; of none, it is a change from outside.
type Write = (Index, Vec<Index>);

/// What a history of writes leaves: for each write the CPID it carries, and all mergelogs.
struct History {
    written: Vec<String>,
    graph: MergeGraph,
    roots: Vec<String>,
    mergelogs: usize,
}

/// Lets controllers that keep `keep_ancestors` ancestors write objects by the rule.
fn play(writes: &[Write], keep_ancestors: usize) -> History {
    let mut objects: [Option<ChangeContext>; 5] = Default::default();
    let mut history = History {
        written: Vec::new(),
        graph: MergeGraph::new(),
        roots: Vec::new(),
        mergelogs: 0,
    };
    for (number, (target, because_of)) in writes.iter().enumerate() {
        let target = target.index(objects.len());
        let mut sources: Vec<ChangeContext> = because_of
            .iter()
            .filter_map(|source| objects[source.index(objects.len())].clone())
            .collect();
        if sources.is_empty() {
            // As `kubectl apply --trace` of the prototype: a root, merged with what is there.
            let root = format!("root {number}");
            history.graph.add(&root, [""; 0]).unwrap();
            history.roots.push(root.clone());
            sources = vec![context(&root, &[])];
            sources.extend(objects[target].clone());
        }
        let merged = merge_with(sources, keep_ancestors, |_| format!("merge {number}"));
        if let Merged::New {
            context,
            source_cpids,
        } = &merged
        {
            history.graph.add(&context.cpid, source_cpids).unwrap();
            history.mergelogs += 1;
        }
        objects[target] = merged.context().cloned();
        history
            .written
            .extend(objects[target].as_ref().map(|context| context.cpid.clone()));
    }
    history
}

impl History {
    /// For each root the writes that came of it.
    fn reached(&self) -> Vec<Vec<bool>> {
        let reached = self.roots.iter().map(|root| {
            let descendants = self.graph.descendants(root);
            let came_of_it = |cpid: &String| descendants.contains(&cpid.as_str());
            self.written.iter().map(came_of_it).collect()
        });
        reached.collect()
    }
}

proptest! {
    #[test]
    fn kept_ancestors_change_the_number_of_mergelogs_and_nothing_else(
        writes in prop::collection::vec(
            (any::<Index>(), prop::collection::vec(any::<Index>(), 0..4)),
            1..60,
        ),
    ) {
        let all = play(&writes, usize::MAX);
        let none = play(&writes, 0);
        prop_assert_eq!(all.written.len(), writes.len());
        prop_assert!(all.mergelogs <= none.mergelogs);
        for keep in [0, 1, 2, 4, 10] {
            let some = play(&writes, keep);
            prop_assert_eq!(some.reached(), all.reached(), "with {} ancestors", keep);
            prop_assert_eq!(some.graph.violations(), Vec::new());
        }
    }
}
