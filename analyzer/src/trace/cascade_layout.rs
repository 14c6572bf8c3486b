//! Lays out a cascade for people: a tree with the critical path marked, and that path summed.

use std::collections::{HashMap, HashSet};

use super::cascade::SIDE_KINDS;
use super::cascade_model::{CascadeTrace, ReachedChange};
use crate::report::document::{Align, Block, Document, Section, Table};
use crate::report::units::{self, NOTHING};

/// Of this many children alike, one is shown and the others are counted.
const FOLDED_FROM: usize = 3;
/// A trigger with less confidence is marked.
const SURE: f64 = 0.9;

/// The cascade as a document; `all` folds nothing.
pub(super) fn document(trace: &CascadeTrace, all: bool) -> Document {
    let section = |title: &str, blocks| Section {
        title: title.to_owned(),
        blocks,
    };
    let mut sections = vec![
        section("What came of it", tree_blocks(trace, all)),
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

/// The changes as a tree, by their triggers.
struct Tree<'a> {
    changes: &'a [ReachedChange],
    children: HashMap<usize, Vec<usize>>,
    critical: HashSet<usize>,
    /// Changes below each one, and when the last of them was committed; itself included.
    below: Vec<(i64, i64)>,
    hidden: Vec<bool>,
}

impl<'a> Tree<'a> {
    fn new(trace: &'a CascadeTrace, all: bool) -> Self {
        let changes = trace.changes.as_slice();
        let critical: HashSet<usize> = trace.critical_path.iter().copied().collect();
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut below: Vec<(i64, i64)> = changes
            .iter()
            .map(|change| (1, change.since_root_ns))
            .collect();
        let mut hidden: Vec<bool> = changes
            .iter()
            .enumerate()
            .map(|(position, change)| {
                !all && SIDE_KINDS.contains(&change.kind.as_str()) && !critical.contains(&position)
            })
            .collect();
        for (position, change) in changes.iter().enumerate() {
            if let Some(trigger) = change.trigger {
                children.entry(trigger).or_default().push(position);
            }
        }
        // What is below is complete before it is added to what is above: triggers come first.
        for (position, change) in changes.iter().enumerate().rev() {
            let own = below.get(position).copied().unwrap_or_default();
            let is_shown = hidden.get(position).is_some_and(|hidden| !hidden);
            let Some(trigger) = change.trigger else {
                continue;
            };
            if let Some((count, last)) = below.get_mut(trigger) {
                *count += own.0;
                *last = own.1.max(*last);
            }
            if let Some(hidden) = hidden.get_mut(trigger).filter(|_| is_shown) {
                *hidden = false;
            }
        }
        if let Some(hidden) = hidden.first_mut() {
            *hidden = false;
        }
        Self {
            changes,
            children,
            critical,
            below,
            hidden,
        }
    }

    /// The children to show, each with how many like it are folded into it, and what came of those.
    fn shown(&self, position: usize, all: bool) -> Vec<(usize, Fold)> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut places: HashMap<(&str, &str, Option<&str>), usize> = HashMap::new();
        for child in self.children.get(&position).into_iter().flatten().copied() {
            let Some(change) = self.changes.get(child) else {
                continue;
            };
            if self.hidden.get(child).is_none_or(|hidden| *hidden) {
                continue;
            }
            let alike = (
                change.kind.as_str(),
                change.op.as_str(),
                change.actor.as_deref(),
            );
            let place = *places.entry(alike).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.push(child),
                None => groups.push(vec![child]),
            }
        }
        let mut shown: Vec<(usize, Fold)> = Vec::new();
        for group in groups {
            if all || group.len() < FOLDED_FROM {
                shown.extend(group.into_iter().map(|child| (child, Fold::default())));
                continue;
            }
            // The critical one, or the one whose consequences lasted longest.
            let last = |child: usize| self.below.get(child).map_or(0, |below| below.1);
            let told = group
                .iter()
                .copied()
                .max_by_key(|child| (self.critical.contains(child), last(*child), *child));
            let Some(told) = told else { continue };
            let mut fold = Fold::default();
            for other in group.into_iter().filter(|child| *child != told) {
                fold.alike += 1;
                fold.changes += self.below.get(other).map_or(0, |below| below.0);
                fold.last_ns = fold.last_ns.max(last(other));
            }
            shown.push((told, fold));
        }
        shown.sort_by_key(|(child, _)| *child);
        shown
    }
}

/// Changes that are only counted.
#[derive(Debug, Clone, Copy, Default)]
struct Fold {
    alike: i64,
    /// They and what came of them.
    changes: i64,
    last_ns: i64,
}

/// A row of the tree.
enum Row<'a> {
    /// The change at a position.
    Change(usize),
    /// Changes that are like one.
    Folded(Fold, &'a ReachedChange),
}

fn fold_text(fold: Fold, alike: &ReachedChange) -> String {
    let below = match fold.changes - fold.alike {
        0 => String::new(),
        below => format!(", {} below them", units::counted(below, "change")),
    };
    format!(
        "({} {}: {} more like it{below})",
        alike.op, alike.kind, fold.alike
    )
}

fn tree_blocks(trace: &CascadeTrace, all: bool) -> Vec<Block> {
    let tree = Tree::new(trace, all);
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
    let mut open = vec![(0, Row::Change(0))];
    while let Some((depth, row)) = open.pop() {
        let indent = "  ".repeat(depth);
        let position = match row {
            Row::Change(position) => position,
            Row::Folded(fold, alike) => {
                let last = format!("to {}", units::duration(fold.last_ns));
                table.push(vec![String::new(), last, indent + &fold_text(fold, alike)]);
                continue;
            }
        };
        let Some(change) = tree.changes.get(position) else {
            continue;
        };
        let is_critical = tree.critical.contains(&position);
        let mut cells = vec![
            if is_critical { "*" } else { "" }.to_owned(),
            units::duration(change.since_root_ns),
            format!("{indent}{}", change.object),
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
        table.push(cells);
        for (child, fold) in tree.shown(position, all).into_iter().rev() {
            if let Some(alike) = tree.changes.get(child).filter(|_| fold.alike > 0) {
                open.push((depth + 1, Row::Folded(fold, alike)));
            }
            open.push((depth + 1, Row::Change(child)));
        }
    }
    let mut blocks = vec![Block::Table(table)];
    let hidden = tree.hidden.iter().filter(|hidden| **hidden).count();
    let mut notes = "* is the critical path. Times are of commits.".to_owned();
    if hidden > 0 {
        let hidden = i64::try_from(hidden).unwrap_or(i64::MAX);
        notes.push_str(&format!(
            " {} of Events and Leases left out.",
            units::counted(hidden, "change")
        ));
    }
    if !all {
        notes.push_str(" --all folds nothing.");
    }
    blocks.push(Block::Text(notes));
    blocks
}

/// The critical path with exact times: they add up to the last digit.
fn path_blocks(trace: &CascadeTrace) -> Vec<Block> {
    let mut table = Table::new(&[
        ("Revision", Align::Right),
        ("Change", Align::Left),
        ("By", Align::Left),
        ("Seconds", Align::Right),
    ]);
    let path = trace.critical_path.iter();
    for change in path.filter_map(|position| trace.changes.get(*position)) {
        table.push(vec![
            change.revision.to_string(),
            format!("{} {}", change.op, change.object),
            or_nothing(change.actor.as_deref()),
            units::decimal_seconds(change.hop_ns),
        ]);
    }
    table.push(vec![
        String::new(),
        "total".to_owned(),
        String::new(),
        units::decimal_seconds(trace.total_ns),
    ]);
    vec![Block::Table(table)]
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

/// What changed, without what changes every time.
fn changed_text(changed: &[String]) -> String {
    let telling: Vec<&str> = changed
        .iter()
        .map(String::as_str)
        .filter(|what| !matches!(*what, "metadata.managedFields" | "metadata.generation"))
        .collect();
    telling.join(", ")
}

fn sure_text(confidence: Option<f64>) -> String {
    match confidence {
        Some(confidence) if confidence < SURE => format!("? {:.0} %", confidence * 100.0),
        _ => String::new(),
    }
}

fn or_nothing(text: Option<&str>) -> String {
    text.unwrap_or(NOTHING).to_owned()
}
