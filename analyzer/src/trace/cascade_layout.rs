//! Lays out a cascade for people: a tree with the critical path marked, and that path summed.

use super::cascade_model::{CascadeTrace, ReachedChange};
use super::cascade_tree::{Alike, Below, Extent, Line, Tree};
use crate::report::document::{Align, Block, Document, Section, Table};
use crate::report::units::{self, NOTHING};

/// A trigger with less confidence is marked.
const SURE: f64 = 0.9;

/// The cascade as a document.
pub(super) fn document(trace: &CascadeTrace, extent: Extent) -> Document {
    let section = |title: &str, blocks| Section {
        title: title.to_owned(),
        blocks,
    };
    let mut sections = vec![
        section("What came of it", tree_blocks(trace, extent)),
        section("Critical path", path_blocks(trace)),
    ];
    if !trace.other_roots.is_empty() {
        sections.push(section("Other cascades", other_blocks(trace)));
    }
    let root = trace.changes.first();
    let title = root.map_or_else(String::new, |root| {
        let by = root.actor.as_ref().map(|actor| format!(" by {actor}"));
        let revision = format!("revision {}", root.revision);
        let found = if trace.asked == revision {
            String::new()
        } else {
            revision + ", "
        };
        format!(
            "Cascade of {}: {found}{} of {}{} ({})",
            trace.asked,
            root.op,
            root.object,
            by.unwrap_or_default(),
            trace.root_class
        )
    });
    Document { title, sections }
}

fn tree_blocks(trace: &CascadeTrace, extent: Extent) -> Vec<Block> {
    let tree = Tree::new(trace, extent == Extent::Everything);
    let (lines, depth) = tree.lines(extent);
    let has_parts = trace
        .changes
        .iter()
        .any(|change| change.reaction_ns.is_some());
    let mut columns = vec![
        ("", Align::Left),
        ("Since root", Align::Right),
        ("Object", Align::Left),
        ("Op", Align::Left),
        ("Changed", Align::Left),
        ("By", Align::Left),
        ("Hop", Align::Right),
    ];
    if has_parts {
        columns.extend([
            ("Reaction", Align::Right),
            ("API", Align::Right),
            ("Storage", Align::Right),
        ]);
    }
    columns.push(("Sure", Align::Left));
    let mut table = Table::new(&columns);
    for line in &lines {
        match line {
            Line::Change {
                position,
                depth,
                below,
            } => table.push(change_cells(&tree, *position, *depth, *below, has_parts)),
            Line::Alike { depth, alike } => table.push(alike_cells(&tree, *depth, alike)),
        }
    }
    let mut blocks = vec![Block::Text(ending(trace)), Block::Table(table)];
    let mut notes = "Each change was set off by the nearest line above it that is indented less. Since root: from \
        the commit of the first change to this one's; Hop: from that of what set it off"
        .to_owned();
    if has_parts {
        notes.push_str(
            ", that is Reaction (until the request of whoever reacted reached kube-apiserver), API (until \
             it called etcd) and Storage (until that was committed)",
        );
    }
    notes.push_str(". * is the critical path, the hops that decided how long it took.");
    if !has_parts && trace.changes.iter().any(|change| change.actor.is_none()) {
        notes.push_str(" By –: not known; request spans would tell (docs/requests.md).");
    }
    let side = i64::try_from(tree.side_changes()).unwrap_or(i64::MAX);
    if side > 0 {
        notes.push_str(&format!(
            " {} of Events and Leases left out.",
            units::counted(side, "change")
        ));
    }
    match depth {
        Some(depth) => notes.push_str(&format!(
            " What branches off the critical path is shown {} deep, changes alike (×) as one line; --depth N \
            shows more of it, --full everything.",
            units::counted(i64::try_from(depth).unwrap_or(i64::MAX), "level")
        )),
        None if side > 0 => notes.push_str(" --full shows everything."),
        None => {}
    }
    blocks.push(Block::Text(notes));
    blocks
}

/// How the cascade ended, in a sentence.
fn ending(trace: &CascadeTrace) -> String {
    let count = i64::try_from(trace.changes.len()).unwrap_or(i64::MAX);
    let mut objects: Vec<&str> = trace
        .changes
        .iter()
        .map(|change| change.object.as_str())
        .collect();
    objects.sort_unstable();
    objects.dedup();
    let objects = i64::try_from(objects.len()).unwrap_or(i64::MAX);
    let ended = match (trace.outcome.as_deref(), trace.converged_ns) {
        (Some("converged"), Some(converged)) => {
            format!(
                "all were as their specs want them after {}",
                units::duration(converged)
            )
        }
        (Some("superseded"), _) => {
            "some were changed again before they were as their specs wanted them".to_owned()
        }
        (Some("truncated"), _) => {
            "the trace ends before all were as their specs want them".to_owned()
        }
        (Some("never"), _) => "some never were as their specs want them".to_owned(),
        _ => "how it ended is not known".to_owned(),
    };
    format!(
        "{} of {}; {ended}.",
        units::counted(count, "change"),
        units::counted(objects, "object")
    )
}

fn change_cells(
    tree: &Tree<'_>,
    position: usize,
    depth: usize,
    below: Below,
    has_parts: bool,
) -> Vec<String> {
    let Some(change) = tree.changes.get(position) else {
        return Vec::new();
    };
    let is_critical = tree.critical.contains(&position);
    let below = match below.changes {
        0 => String::new(),
        changes => format!(
            "  (+ {changes} below, to {})",
            units::duration(below.last_ns)
        ),
    };
    let mut cells = vec![
        if is_critical { "*" } else { "" }.to_owned(),
        units::duration(change.since_root_ns),
        format!("{}{}{below}", "  ".repeat(depth), change.object),
        change.op.clone(),
        changed_text(&change.changed),
        or_nothing(change.actor.as_deref()),
        change
            .trigger
            .map_or_else(String::new, |_| units::duration(change.hop_ns)),
    ];
    if has_parts {
        let parts = [change.reaction_ns, change.api_ns, change.storage_ns];
        cells.extend(parts.map(units::optional_duration));
    }
    cells.push(sure_text(change.confidence));
    cells
}

/// Changes alike: when the first was, then the median and the last.
fn alike_cells(tree: &Tree<'_>, depth: usize, alike: &Alike) -> Vec<String> {
    let Some(first) = tree.changes.get(alike.first) else {
        return Vec::new();
    };
    let below = match alike.below.changes {
        0 => String::new(),
        changes => format!(
            "  (+ {changes} below, to {})",
            units::duration(alike.below.last_ns)
        ),
    };
    vec![
        String::new(),
        units::duration(alike.min_ns),
        format!(
            "{}{} × {}: p50 {}, max {}{below}",
            "  ".repeat(depth),
            alike.object,
            alike.count,
            units::duration(alike.p50_ns),
            units::duration(alike.max_ns)
        ),
        first.op.clone(),
        String::new(),
        or_nothing(first.actor.as_deref()),
    ]
}

/// The critical path with exact times: they add up to the last digit.
fn path_blocks(trace: &CascadeTrace) -> Vec<Block> {
    let path: Vec<&ReachedChange> = trace
        .critical_path
        .iter()
        .filter_map(|position| trace.changes.get(*position))
        .collect();
    let has_parts = path.iter().any(|change| change.reaction_ns.is_some());
    let mut columns = vec![
        ("Revision", Align::Right),
        ("Change", Align::Left),
        ("By", Align::Left),
    ];
    if has_parts {
        columns.extend(PARTS.map(|part| (part, Align::Right)));
    }
    columns.extend([
        ("Hop, s", Align::Right),
        ("Share", Align::Right),
        ("Since root, s", Align::Right),
    ]);
    let mut table = Table::new(&columns);
    for change in &path {
        let mut cells = vec![
            change.revision.to_string(),
            format!("{} {}", change.op, change.object),
            or_nothing(change.actor.as_deref()),
        ];
        if change.trigger.is_none() {
            cells.resize(columns.len() - 1, String::new());
        } else {
            if has_parts {
                cells.extend(parts(change).map(optional_seconds));
            }
            cells.push(units::decimal_seconds(change.hop_ns));
            cells.push(units::share(change.hop_ns, trace.total_ns));
        }
        cells.push(units::decimal_seconds(change.since_root_ns));
        table.push(cells);
    }
    let mut total = vec![String::new(), "total".to_owned(), String::new()];
    if has_parts {
        for part in 0..PARTS.len() {
            let known = path.iter().filter_map(|change| parts(change)[part]);
            total.push(units::decimal_seconds(known.sum()));
        }
    }
    total.push(units::decimal_seconds(trace.total_ns));
    total.push(units::share(trace.total_ns, trace.total_ns));
    total.push(units::decimal_seconds(trace.total_ns));
    table.push(total);
    vec![
        Block::Text(longest(&path, trace.total_ns)),
        Block::Table(table),
    ]
}

/// What a hop is made of, as columns.
const PARTS: [&str; 3] = ["Reaction, s", "API, s", "Storage, s"];

fn parts(change: &ReachedChange) -> [Option<i64>; 3] {
    [change.reaction_ns, change.api_ns, change.storage_ns]
}

/// Which hop of the critical path took most of the time, in a sentence.
fn longest(path: &[&ReachedChange], total_ns: i64) -> String {
    let hops = path.iter().zip(path.iter().skip(1));
    let longest = hops.max_by_key(|(_, effect)| effect.hop_ns);
    match longest.filter(|(_, effect)| effect.hop_ns > 0 && total_ns > 0) {
        None => "Nothing came of it that took time.".to_owned(),
        Some((cause, effect)) => format!(
            "Most of it: {} ({}) from the {} of {} to the {} of {}{}.",
            units::duration(effect.hop_ns),
            units::share(effect.hop_ns, total_ns),
            cause.op,
            cause.object,
            effect.op,
            effect.object,
            effect
                .actor
                .as_ref()
                .map(|actor| format!(" by {actor}"))
                .unwrap_or_default()
        ),
    }
}

fn other_blocks(trace: &CascadeTrace) -> Vec<Block> {
    let lines = trace.other_roots.iter().map(|root| {
        let by = root.actor.as_ref().map(|actor| format!(" by {actor}"));
        format!(
            "{}: {} of {}{}",
            root.revision,
            root.op,
            root.object,
            by.unwrap_or_default()
        )
    });
    vec![
        Block::Text(
            "These reached it too, the newest first, ten at most; give the revision to see one."
                .to_owned(),
        ),
        Block::List(lines.collect()),
    ]
}

/// What changed, without what changes every time and what only repeats something else: a condition is part of the
/// status, and containers are ready when their Pod is.
fn changed_text(changed: &[String]) -> String {
    let has = |what: &str| changed.iter().any(|changed| changed == what);
    let has_conditions = changed.iter().any(|what| what.starts_with("conditions."));
    let telling: Vec<&str> = changed
        .iter()
        .map(String::as_str)
        .filter(|what| match *what {
            "metadata.managedFields" | "metadata.generation" => false,
            "status" => !has_conditions,
            "conditions.ContainersReady" => !has("conditions.Ready"),
            _ => true,
        })
        .map(|what| {
            let short = what.strip_prefix("metadata.");
            short.or(what.strip_prefix("conditions.")).unwrap_or(what)
        })
        .collect();
    telling.join(", ")
}

fn sure_text(confidence: Option<f64>) -> String {
    match confidence {
        Some(confidence) if confidence < SURE => format!("? {:.0} %", confidence * 100.0),
        _ => String::new(),
    }
}

fn optional_seconds(nanoseconds: Option<i64>) -> String {
    nanoseconds.map_or_else(|| NOTHING.to_owned(), units::decimal_seconds)
}

fn or_nothing(text: Option<&str>) -> String {
    text.unwrap_or(NOTHING).to_owned()
}
