//! Who carries CPIDs, and who loses them.

use std::collections::BTreeMap;

use super::document::{Align, Block, Table};
use super::model::{AgreementCount, Coverage, CoverageCount, RuleViolation};
use super::queries;
use super::rows::{integers, text, texts};
use super::scope::Filter;
use super::units::{self, NOTHING};
use crate::error::Error;
use crate::session::Session;

/// So many rows of the table are printed; all are in the JSON.
const MOST_ROWS: usize = 25;

/// Asks the trace; `compares` with the causes too, which must be found for that.
///
/// # Errors
/// When a query fails.
pub async fn collect(
    session: &Session,
    filter: &Filter,
    compares: bool,
) -> Result<Coverage, Error> {
    let mut counts = Vec::new();
    for batch in session.query(&queries::coverage(filter)).await? {
        let groups = texts(&batch, "api_group")?;
        let (kinds, actors) = (texts(&batch, "kind")?, texts(&batch, "actor")?);
        let (writes, reported) = (integers(&batch, "writes")?, integers(&batch, "reported")?);
        let (kept, lost) = (integers(&batch, "kept")?, integers(&batch, "lost")?);
        let (dropped, broken) = (integers(&batch, "dropped")?, integers(&batch, "broken")?);
        let (ended, without) = (integers(&batch, "ended")?, integers(&batch, "without")?);
        counts.extend((0..batch.num_rows()).map(|row| CoverageCount {
            api_group: text(&groups, row),
            kind: text(&kinds, row),
            actor: text(&actors, row),
            writes: writes.value(row),
            reported: reported.value(row),
            kept: kept.value(row),
            lost: lost.value(row),
            dropped: dropped.value(row),
            broken: broken.value(row),
            ended: ended.value(row),
            without: without.value(row),
        }));
    }
    let mut coverage = Coverage {
        mergelogs: 0,
        merges: 0,
        violations: Vec::new(),
        by_kind_and_actor: counts,
        agreement: match compares {
            true => Some(agreement(session, filter).await?),
            false => None,
        },
    };
    for batch in session.query(queries::MERGELOGS).await? {
        let (mergelogs, merges) = (integers(&batch, "mergelogs")?, integers(&batch, "merges")?);
        coverage.mergelogs += mergelogs.iter().flatten().sum::<i64>();
        coverage.merges += merges.iter().flatten().sum::<i64>();
    }
    for batch in session.query(queries::VIOLATIONS).await? {
        let (rules, counts) = (texts(&batch, "rule")?, integers(&batch, "count")?);
        let examples = texts(&batch, "example")?;
        coverage
            .violations
            .extend((0..batch.num_rows()).map(|row| RuleViolation {
                rule: rules.value(row).to_owned(),
                count: counts.value(row),
                example: examples.value(row).to_owned(),
            }));
    }
    Ok(coverage)
}

async fn agreement(session: &Session, filter: &Filter) -> Result<Vec<AgreementCount>, Error> {
    let mut counts = Vec::new();
    for batch in session.query(&queries::agreement(filter)).await? {
        let groups = texts(&batch, "api_group")?;
        let (kinds, actors) = (texts(&batch, "kind")?, texts(&batch, "actor")?);
        let (agrees, missing) = (integers(&batch, "agrees")?, integers(&batch, "missing")?);
        let (partly, contradicts) = (
            integers(&batch, "partly")?,
            integers(&batch, "contradicts")?,
        );
        counts.extend((0..batch.num_rows()).map(|row| AgreementCount {
            api_group: text(&groups, row),
            kind: text(&kinds, row),
            actor: text(&actors, row),
            agrees: agrees.value(row),
            partly: partly.value(row),
            missing: missing.value(row),
            contradicts: contradicts.value(row),
        }));
    }
    Ok(counts)
}

/// The section for people.
#[must_use]
pub fn blocks(coverage: &Coverage) -> Vec<Block> {
    if !coverage.has_cpids() {
        return vec![Block::Text(
            "No object, call or mergelog of this trace carries a CPID.".to_owned(),
        )];
    }
    let counts = &coverage.by_kind_and_actor;
    let sum = |number: fn(&CoverageCount) -> i64| counts.iter().map(number).sum::<i64>();
    let writes = sum(|count| count.writes);
    let reported = sum(|count| count.reported);
    let mut blocks = vec![Block::Text(format!(
        "{} of {} ({}) carry a CPID by themselves; {}.",
        units::count(reported),
        units::counted(writes, "change"),
        units::share(reported, writes),
        mergelog_text(coverage),
    ))];
    for violation in &coverage.violations {
        blocks.push(Block::Warning(format!(
            "Mergelogs break the rule {} {}, as in: {}.",
            violation.rule,
            units::counted(violation.count, "time"),
            violation.example
        )));
    }
    let losses = losses(counts);
    if losses.is_empty() {
        blocks.push(Block::Text("No CPID is lost.".to_owned()));
    } else {
        blocks.push(Block::Text("CPIDs are lost by:".to_owned()));
        blocks.push(Block::List(losses));
    }
    let shown: Vec<&CoverageCount> = counts
        .iter()
        .filter(|count| count.writes > count.without)
        .collect();
    blocks.push(Block::Table(table(&shown)));
    let rest = shown.len().saturating_sub(MOST_ROWS);
    if rest > 0 {
        blocks.push(Block::Text(format!(
            "{} more; --format json has all.",
            units::counted(i64::try_from(rest).unwrap_or(i64::MAX), "row")
        )));
    }
    let untouched = writes - shown.iter().map(|count| count.writes).sum::<i64>();
    blocks.push(Block::Text(format!(
        "Other actors and kinds: {}, all without a CPID. Lost: made without one for an owner that \
         carries one. Broken: replaced by one that no mergelog or ancestor list ties to it. Ended: \
         deleted by a call that carried none.",
        units::counted(untouched, "change")
    )));
    if let Some(agreement) = &coverage.agreement {
        blocks.extend(agreement_blocks(agreement));
    }
    blocks
}

/// Whether what was reported agrees with what was found.
fn agreement_blocks(counts: &[AgreementCount]) -> Vec<Block> {
    if counts.is_empty() {
        return vec![Block::Text(
            "No change has both a reported CPID and a cause to compare it with.".to_owned(),
        )];
    }
    let sum = |number: fn(&AgreementCount) -> i64| counts.iter().map(number).sum::<i64>();
    let agrees = sum(|count| count.agrees);
    let reporting = agrees + sum(|count| count.partly) + sum(|count| count.contradicts);
    let mut table = Table::new(&[
        ("Kind", Align::Left),
        ("Actor", Align::Left),
        ("Agree", Align::Right),
        ("Partly", Align::Right),
        ("Missing", Align::Right),
        ("Contradict", Align::Right),
    ]);
    for count in counts.iter().take(MOST_ROWS) {
        table.push(vec![
            super::layout::kind_text(count.api_group.as_deref(), count.kind.as_deref()),
            count.actor.clone().unwrap_or_else(|| NOTHING.to_owned()),
            units::count(count.agrees),
            units::count(count.partly),
            units::count(count.missing),
            units::count(count.contradicts),
        ]);
    }
    let mut blocks = vec![
        Block::Text(format!(
            "Against the causes that were found: {} of {} ({}) that something set off and that report a CPID name the \
             same roots (Partly: some of them). {} more report none, though a root of theirs does (Missing). Each \
             change is a row of cpid_agreement.",
            units::count(agrees),
            units::counted(reporting, "change"),
            units::share(agrees, reporting),
            units::count(sum(|count| count.missing)),
        )),
        Block::Table(table),
    ];
    let rest = counts.len().saturating_sub(MOST_ROWS);
    if rest > 0 {
        blocks.push(Block::Text(format!(
            "{} more; --format json has all.",
            units::counted(i64::try_from(rest).unwrap_or(i64::MAX), "row")
        )));
    }
    blocks
}

fn mergelog_text(coverage: &Coverage) -> String {
    if coverage.mergelogs == 0 {
        return "no mergelogs were posted".to_owned();
    }
    format!(
        "mergelogs were posted {} times, {} of them about merges",
        units::count(coverage.mergelogs),
        units::count(coverage.merges)
    )
}

/// Who loses CPIDs, and how, most first.
fn losses(counts: &[CoverageCount]) -> Vec<String> {
    let mut actors: BTreeMap<&str, (i64, Vec<String>)> = BTreeMap::new();
    for count in counts.iter().filter(|count| count.losses() > 0) {
        let (total, ways) = actors
            .entry(count.actor.as_deref().unwrap_or("an unknown actor"))
            .or_default();
        *total += count.losses();
        for (number, way) in [
            (count.lost, "made without one"),
            (count.dropped, "removed"),
            (count.broken, "replaced"),
        ] {
            if number > 0 {
                let kind = kind_text(count);
                ways.push(format!("{} {way} ({kind})", units::count(number)));
            }
        }
    }
    let mut actors: Vec<_> = actors.into_iter().collect();
    actors.sort_by_key(|(_, (total, _))| std::cmp::Reverse(*total));
    actors
        .into_iter()
        .map(|(actor, (_, ways))| format!("{actor}: {}", ways.join(", ")))
        .collect()
}

fn table(counts: &[&CoverageCount]) -> Table {
    let mut columns = vec![("Kind", Align::Left), ("Actor", Align::Left)];
    columns.extend(
        [
            "Writes", "Reported", "Kept", "Lost", "Dropped", "Broken", "Ended", "Without",
        ]
        .map(|title| (title, Align::Right)),
    );
    let mut table = Table::new(&columns);
    for count in counts.iter().take(MOST_ROWS) {
        let actor = count.actor.clone();
        let mut cells = vec![
            kind_text(count),
            actor.unwrap_or_else(|| NOTHING.to_owned()),
        ];
        cells.extend(
            [
                count.writes,
                count.reported,
                count.kept,
                count.lost,
                count.dropped,
                count.broken,
                count.ended,
                count.without,
            ]
            .map(units::count),
        );
        table.push(cells);
    }
    table
}

fn kind_text(count: &CoverageCount) -> String {
    super::layout::kind_text(count.api_group.as_deref(), count.kind.as_deref())
}
