//! Lays hop times out for people.

use super::{Clock, HopLatency, Hops, Lacking};
use crate::report::document::{Align, Block, Table};
use crate::report::model::Distribution;
use crate::report::units::{self, NOTHING};

/// So many rows of a table are printed; all are in the JSON.
const MOST_ROWS: usize = 25;

/// The section for people.
#[must_use]
pub fn blocks(found: &Hops) -> Vec<Block> {
    if found.hops == 0 {
        return vec![Block::Text(
            "No change is known to have set off another one.".to_owned(),
        )];
    }
    let mut blocks = vec![Block::Text(
        "A hop is a change that set off another one, from commit to commit. Reaction: until the request that \
         reacted reached kube-apiserver; API: until its call to etcd; storage: until that was committed. Evidence says \
         why the one is taken for the cause of the other."
            .to_owned(),
    )];
    if found.with_parts == 0 {
        blocks.push(Block::Text(format!(
            "{}. None has these parts: kube-apiserver's spans tell when requests come in, and there are none in the \
             trace (docs/requests.md).",
            units::counted(found.hops, "hop")
        )));
    } else {
        blocks.push(Block::Text(parts_text(found)));
        if found.unequal > 0 {
            blocks.push(Block::Warning(format!(
                "The parts of {} do not add up to the total.",
                units::counted(found.unequal, "hop")
            )));
        }
        blocks.push(negative_block(found));
        if !found.lacking.is_empty() {
            blocks.push(Block::Text("What lacks parts:".to_owned()));
            blocks.push(Block::List(lacking_texts(&found.lacking)));
        }
        blocks.push(Block::Text(
            "Clocks of kube-apiserver and interceptor. Offset: by how much the interceptor's is ahead, which is taken \
             out; none where the bounds allow that."
                .to_owned(),
        ));
        blocks.push(Block::Table(clock_table(&found.clocks)));
    }
    let rows = &found.by_evidence_kind_and_actor;
    blocks.push(Block::Table(hop_table(rows, found.with_parts > 0)));
    let rest = rows.iter().skip(MOST_ROWS);
    let (left_out, hops) = rest.fold((0_i64, 0), |(rows, hops), row| (rows + 1, hops + row.hops));
    if left_out > 0 {
        blocks.push(Block::Text(format!(
            "{} with {} are left out here; --format json has all.",
            units::counted(left_out, "row"),
            units::counted(hops, "hop")
        )));
    }
    blocks
}

fn parts_text(found: &Hops) -> String {
    let sums = if found.unequal == 0 {
        ", and of each of these they add up to the total, to the nanosecond"
    } else {
        ""
    };
    format!(
        "{} of {} ({}) have all three parts{sums}.",
        units::count(found.with_parts),
        units::counted(found.hops, "hop"),
        units::share(found.with_parts, found.hops)
    )
}

/// How many hops have a negative part.
fn negative_block(found: &Hops) -> Block {
    let before = match found.negative_before {
        0 => "none before clocks were corrected".to_owned(),
        before => format!("{} before clocks were corrected", units::count(before)),
    };
    if found.negative == 0 {
        return Block::Text(format!("No hop has a negative part; {before}."));
    }
    Block::Warning(format!(
        "{} {} a negative part; {before}. Nothing is clamped. Where one request writes twice, as when an object is marked \
         and deleted at once, it came in before its first write; else clocks contradict each other, or the cause is wrong.",
        units::counted(found.negative, "hop"),
        if found.negative == 1 { "has" } else { "have" }
    ))
}

fn lacking_texts(lacking: &[Lacking]) -> Vec<String> {
    let line = |row: &Lacking| {
        let why = match row.reason.as_str() {
            "no_call" => "the call to etcd was not seen, as when a lease expires",
            "no_request" => {
                "no request is known for the call: kube-apiserver's own, or its spans did not arrive"
            }
            other => other,
        };
        format!(
            "{} ({}): {}; {why}",
            row.kind.as_deref().unwrap_or("not an object"),
            row.resource.as_deref().unwrap_or(NOTHING),
            units::counted(row.hops, "hop")
        )
    };
    let mut lines: Vec<String> = lacking.iter().take(MOST_ROWS).map(line).collect();
    let rest: i64 = lacking.iter().skip(MOST_ROWS).map(|row| row.hops).sum();
    if rest > 0 {
        lines.push(format!("others: {}", units::counted(rest, "hop")));
    }
    lines
}

fn clock_table(clocks: &[Clock]) -> Table {
    let mut table = Table::new(&[
        ("kube-apiserver", Align::Left),
        ("Interceptor", Align::Left),
        ("Requests", Align::Right),
        ("Windows", Align::Right),
        ("Offset", Align::Right),
        ("At least", Align::Right),
        ("At most", Align::Right),
        ("Contradicting", Align::Right),
        ("Negative before", Align::Right),
    ]);
    for clock in clocks {
        let offset = match (clock.min_offset_ns, clock.max_offset_ns) {
            (Some(min), Some(max)) if min != max => {
                format!("{} … {}", units::duration(min), units::duration(max))
            }
            (offset, _) => units::optional_duration(offset),
        };
        table.push(vec![
            or_nothing(clock.apiserver.as_deref()),
            or_nothing(clock.instance.as_deref()),
            units::count(clock.pairs),
            units::count(clock.windows),
            offset,
            units::optional_duration(clock.lower_ns),
            units::optional_duration(clock.upper_ns),
            units::count(clock.contradicting),
            units::count(clock.negative_before),
        ]);
    }
    table
}

fn hop_table(rows: &[HopLatency], has_parts: bool) -> Table {
    let mut columns = vec![
        ("Evidence", Align::Left),
        ("Kind", Align::Left),
        ("Actor", Align::Left),
        ("Hops", Align::Right),
    ];
    if has_parts {
        columns.extend([("All parts", Align::Right), ("Negative", Align::Right)]);
    }
    columns.extend([("Total p50", Align::Right), ("p99", Align::Right)]);
    if has_parts {
        columns.extend([
            ("Reaction p50", Align::Right),
            ("p99", Align::Right),
            ("API p50", Align::Right),
            ("p99", Align::Right),
            ("Storage p50", Align::Right),
            ("p99", Align::Right),
        ]);
    }
    let mut table = Table::new(&columns);
    for row in rows.iter().take(MOST_ROWS) {
        let mut cells = vec![
            row.evidence.clone(),
            or_nothing(row.kind.as_deref()),
            or_nothing(row.actor.as_deref()),
            units::count(row.hops),
        ];
        if has_parts {
            cells.push(units::share(row.with_parts, row.hops));
            cells.push(units::count(row.negative));
        }
        let mut push = |part: &Distribution| {
            cells.extend([part.p50_ns, part.p99_ns].map(units::optional_duration));
        };
        push(&row.total);
        if has_parts {
            push(&row.reaction);
            push(&row.api);
            push(&row.storage);
        }
        table.push(cells);
    }
    table
}

fn or_nothing(text: Option<&str>) -> String {
    text.unwrap_or(NOTHING).to_owned()
}
