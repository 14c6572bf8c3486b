//! Lays paths out for people, and as CSV.

use super::model::{Path, Paths};
use crate::milestones::OUTCOMES;
use crate::report::document::{Align, Block, Document, Section, Table};
use crate::report::units::{self, NOTHING};

/// The paths as a document; at most `limit` of them, unless that is 0.
pub(super) fn document(paths: &Paths, limit: usize) -> Document {
    let from = paths
        .from
        .as_deref()
        .unwrap_or("what clients and timers did");
    let to = paths
        .to
        .as_deref()
        .unwrap_or("the last change of the cascade");
    let mut sections = Vec::new();
    let shown = match limit {
        0 => paths.paths.as_slice(),
        limit => paths.paths.get(..limit).unwrap_or(&paths.paths),
    };
    let mut latency = vec![Block::Text(definition(paths))];
    if shown.is_empty() {
        latency.push(Block::Warning(format!("No path from {from} to {to}.")));
    } else {
        latency.push(Block::Table(table(paths, shown)));
    }
    if shown.len() < paths.paths.len() {
        let left_out = paths.paths.len() - shown.len();
        let left_out = i64::try_from(left_out).unwrap_or(i64::MAX);
        latency.push(Block::Text(format!(
            "{} left out here; --limit 0 shows all.",
            units::counted(left_out, "path")
        )));
    }
    if !paths.excluded.is_empty() {
        let words = paths.excluded.iter().map(|excluded| {
            let known = OUTCOMES
                .iter()
                .find(|(outcome, _)| *outcome == excluded.outcome);
            let words = known.map_or("", |(_, words)| words);
            format!(
                "{} {} ({words})",
                units::count(excluded.arrivals),
                excluded.outcome
            )
        });
        let words: Vec<String> = words.collect();
        latency.push(Block::Text(format!(
            "Not counted, for how their cascade ended: {}.",
            words.join(", ")
        )));
    }
    sections.push(Section {
        title: "Latency".to_owned(),
        blocks: latency,
    });
    if !shown.is_empty() {
        let lines = shown.iter().enumerate();
        let lines = lines.map(|(number, path)| format!("{}: {}", number + 1, path.path));
        sections.push(Section {
            title: "Paths".to_owned(),
            blocks: vec![Block::List(lines.collect())],
        });
    }
    if !paths.queries.is_empty() {
        let blocks = paths.queries.iter().map(|query| Block::Sql {
            title: query.title.clone(),
            sql: query.sql.clone(),
        });
        sections.push(Section {
            title: "SQL".to_owned(),
            blocks: blocks.collect(),
        });
    }
    Document {
        title: format!("From {from} to {to}: {}", paths.traces.join(", ")),
        sections,
    }
}

fn definition(paths: &Paths) -> String {
    let unit = match paths.fan_out {
        "last" => "Of the objects that one start leads to, the slowest is counted.",
        _ => "Every object that a start leads to is counted, at its first arrival.",
    };
    format!(
        "Times are between commits along the critical path. {unit} Percentiles are the nearest rank."
    )
}

fn table(paths: &Paths, shown: &[Path]) -> Table {
    let mut columns = vec![("Path", Align::Right)];
    if let Some(by) = paths.by {
        columns.push((by, Align::Left));
    }
    columns.extend([
        ("n", Align::Right),
        ("p50", Align::Right),
        ("p90", Align::Right),
        ("p95", Align::Right),
        ("p99", Align::Right),
        ("max", Align::Right),
        ("Most of it", Align::Right),
        ("before", Align::Left),
    ]);
    let mut table = Table::new(&columns);
    for (number, path) in shown.iter().enumerate() {
        let mut cells = vec![(number + 1).to_string()];
        if paths.by.is_some() {
            cells.push(path.group.clone().unwrap_or_else(|| NOTHING.to_owned()));
        }
        cells.push(units::count(path.n));
        let times = [
            path.p50_ns,
            path.p90_ns,
            path.p95_ns,
            path.p99_ns,
            path.max_ns,
        ];
        cells.extend(times.map(units::duration));
        match &path.dominating {
            Some(hop) => {
                cells.push(format!("{:.0} %", hop.share * 100.0));
                cells.push(hop.step.clone());
            }
            None => cells.extend([NOTHING.to_owned(), NOTHING.to_owned()]),
        }
        table.push(cells);
    }
    table
}

/// One line per path, after RFC 4180.
pub(super) fn csv(paths: &Paths) -> String {
    let mut text = String::from(
        "group,path,n,p50_ns,p90_ns,p95_ns,p99_ns,max_ns,dominating_step,dominating_share\n",
    );
    for path in &paths.paths {
        let hop = path.dominating.as_ref();
        let cells = [
            path.group.clone().unwrap_or_default(),
            path.path.clone(),
            path.n.to_string(),
            path.p50_ns.to_string(),
            path.p90_ns.to_string(),
            path.p95_ns.to_string(),
            path.p99_ns.to_string(),
            path.max_ns.to_string(),
            hop.map_or_else(String::new, |hop| hop.step.clone()),
            hop.map_or_else(String::new, |hop| format!("{:.4}", hop.share)),
        ];
        text.push_str(&cells.map(|cell| field(&cell)).join(","));
        text.push('\n');
    }
    text
}

/// A field, in quotes if it needs them.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
