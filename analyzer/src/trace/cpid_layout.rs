//! Lays out for people what came of a CPID.

use std::collections::HashMap;

use super::cpid_model::{CarryingChange, CpidTrace, Descendant, Origin, Share, SpanRow};
use crate::report::document::{Align, Block, Document, Section, Table};
use crate::report::units::{self, NOTHING};

/// So many changes and spans of one CPID are printed; all are in the JSON.
const MOST_ENTRIES: usize = 40;
/// So many rows of a breakdown are printed.
const MOST_SHARES: usize = 25;

/// The answer as a document.
pub(super) fn document(trace: &CpidTrace) -> Document {
    let section = |title: &str, blocks| Section {
        title: title.to_owned(),
        blocks,
    };
    Document {
        title: format!("Cascade of CPID {}", trace.cpid),
        sections: vec![
            section("Where it came from", ancestry_blocks(trace)),
            section("What came of it", descendant_blocks(trace)),
            section("Completion", completion_blocks(trace)),
        ],
    }
}

fn ancestry_blocks(trace: &CpidTrace) -> Vec<Block> {
    let places: Vec<String> = trace
        .places
        .iter()
        .map(|place| format!("{} {}", units::count(place.rows), place.place))
        .collect();
    let named = Block::Text(format!("Named in {}.", places.join(", ")));
    let own = trace.ancestry.first();
    let is_alone = own.is_none_or(|own| own.source_cpids.as_ref().is_none_or(Vec::is_empty));
    if is_alone {
        let text = match own.filter(|own| own.source_cpids.is_some()) {
            Some(own) => format!("A new change{}.", reporter(own)),
            None => "No mergelog made it: where it came from is not known.".to_owned(),
        };
        return vec![named, Block::Text(text)];
    }
    let mut table = Table::new(&[("CPID", Align::Left), ("Made", Align::Left)]);
    for origin in &trace.ancestry {
        table.push(vec![indented(origin.depth, &origin.cpid), made(origin)]);
    }
    vec![named, Block::Table(table)]
}

/// How a CPID was made.
fn made(origin: &Origin) -> String {
    let how = match origin.source_cpids.as_deref() {
        None => "not known".to_owned(),
        Some([]) => "a new change".to_owned(),
        Some(sources) => format!("of {}", sources.join(" and ")),
    };
    format!("{how}{}", reporter(origin))
}

fn reporter(origin: &Origin) -> String {
    let by = origin.reported_by.as_deref();
    let by = by.map(|by| format!(", says {by}")).unwrap_or_default();
    match origin
        .cause_message
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        Some(message) => format!("{by}: {message}"),
        None => by,
    }
}

fn indented(depth: i64, text: &str) -> String {
    let depth = usize::try_from(depth).unwrap_or(0);
    format!("{}{text}", "  ".repeat(depth))
}

fn descendant_blocks(trace: &CpidTrace) -> Vec<Block> {
    let mut table = Table::new(&[
        ("CPID, object or span", Align::Left),
        ("Op", Align::Left),
        ("CPID on it", Align::Left),
        ("By", Align::Left),
        ("Since first", Align::Right),
        ("Took", Align::Right),
    ]);
    let mut children: HashMap<&str, Vec<&Descendant>> = HashMap::new();
    let mut placed: HashMap<&str, usize> = HashMap::new();
    for (position, descendant) in trace.descendants.iter().enumerate() {
        // Under the source that comes first; the others are named beside it.
        let sources = descendant.origin.source_cpids.iter().flatten();
        let parent = sources
            .filter_map(|source| placed.get_key_value(source.as_str()))
            .min_by_key(|(_, position)| **position);
        if let Some((parent, _)) = parent {
            children.entry(*parent).or_default().push(descendant);
        }
        placed.insert(&descendant.origin.cpid, position);
    }
    let mut open: Vec<(i64, &Descendant)> = trace
        .descendants
        .first()
        .map(|root| (0, root))
        .into_iter()
        .collect();
    while let Some((depth, descendant)) = open.pop() {
        push_descendant(&mut table, depth, descendant);
        let made = children.get(descendant.origin.cpid.as_str());
        open.extend(
            made.into_iter()
                .flatten()
                .rev()
                .map(|child| (depth + 1, *child)),
        );
    }
    let mut blocks = vec![Block::Table(table)];
    if trace.spans.is_some() {
        blocks.push(Block::Text(
            "Spans are timed by the clocks of the components that posted them.".to_owned(),
        ));
    }
    blocks
}

/// A change or a span, in the order of time.
enum Entry<'a> {
    Change(&'a CarryingChange),
    Span(&'a SpanRow),
}

impl Entry<'_> {
    fn since(&self) -> Option<i64> {
        match self {
            Self::Change(change) => change.since_first_ns,
            Self::Span(span) => span.since_first_ns,
        }
    }

    fn cells(&self, depth: i64) -> Vec<String> {
        let or_nothing = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.to_owned());
        match self {
            Self::Change(change) => {
                let how = change
                    .transition
                    .clone()
                    .unwrap_or_else(|| "on the call".to_owned());
                let how = if change.reported {
                    how
                } else {
                    format!("{how} (copied)")
                };
                vec![
                    indented(depth, &change.object),
                    change.op.clone(),
                    how,
                    or_nothing(&change.actor),
                    units::optional_duration(self.since()),
                    String::new(),
                ]
            }
            Self::Span(span) => {
                let object = [&span.object_kind, &span.object_name];
                let words: Vec<&str> = std::iter::once(span.message.as_deref().unwrap_or("span"))
                    .chain(object.into_iter().flatten().map(String::as_str))
                    .collect();
                vec![
                    indented(depth, &format!("~ {}", words.join(" "))),
                    String::new(),
                    String::new(),
                    or_nothing(&span.service),
                    units::optional_duration(self.since()),
                    units::optional_duration(span.duration_ns),
                ]
            }
        }
    }
}

fn push_descendant(table: &mut Table, depth: i64, descendant: &Descendant) {
    let title = match descendant.origin.source_cpids.as_deref() {
        Some(sources) if depth > 0 && !sources.is_empty() => {
            format!("{} = {}", descendant.origin.cpid, sources.join(" + "))
        }
        _ => descendant.origin.cpid.clone(),
    };
    table.push(vec![indented(depth, &title)]);
    let changes = descendant.changes.iter().map(Entry::Change);
    let mut entries: Vec<Entry<'_>> = changes
        .chain(descendant.spans.iter().map(Entry::Span))
        .collect();
    entries.sort_by_key(Entry::since);
    for entry in entries.iter().take(MOST_ENTRIES) {
        table.push(entry.cells(depth + 1));
    }
    let rest = entries.len().saturating_sub(MOST_ENTRIES);
    if rest > 0 {
        table.push(vec![indented(
            depth + 1,
            &format!("… {rest} more; --format json has all"),
        )]);
    }
    let others = descendant.others;
    let counted: Vec<String> = [
        (others.kept, "kept it"),
        (others.dropped, "removed it"),
        (others.ended, "deleted an object with it"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, words)| format!("{} {words}", units::counted(number, "write")))
    .collect();
    if !counted.is_empty() {
        table.push(vec![
            indented(depth + 1, &format!("({})", counted.join(", "))),
            String::new(),
            String::new(),
            String::new(),
            units::optional_duration(others.last_since_first_ns),
        ]);
    }
}

fn completion_blocks(trace: &CpidTrace) -> Vec<Block> {
    let Some(completion) = &trace.completion else {
        return vec![Block::Text(
            "No change is known to have carried it, so there is no time.".to_owned(),
        )];
    };
    let mut blocks = vec![Block::Text(format!(
        "{} from the first to the last of {}: those that set the CPID or one that came of it, or carried it \
         by themselves. Writes that merely kept it do not count.",
        units::duration(completion.extent.total_ns),
        units::counted(completion.changes, "change"),
    ))];
    if let Some(spans) = trace.spans {
        blocks.push(Block::Text(format!(
            "{} from the first start to the last end of a span.",
            units::duration(spans.total_ns)
        )));
    }
    for (title, shares) in [
        ("Kind", &completion.by_kind),
        ("Actor", &completion.by_actor),
        ("Object", &completion.by_object),
    ] {
        blocks.push(Block::Table(share_table(title, shares)));
    }
    blocks
}

fn share_table(title: &str, shares: &[Share]) -> Table {
    let mut table = Table::new(&[
        (title, Align::Left),
        ("Changes", Align::Right),
        ("First", Align::Right),
        ("Last", Align::Right),
    ]);
    for share in shares.iter().take(MOST_SHARES) {
        table.push(vec![
            share.name.clone(),
            units::count(share.changes),
            units::duration(share.first_ns),
            units::duration(share.last_ns),
        ]);
    }
    let rest = shares.len().saturating_sub(MOST_SHARES);
    if rest > 0 {
        table.push(vec![format!("… {rest} more; --format json has all")]);
    }
    table
}
