//! Lays a report out as a document for people.

use super::coverage;
use super::document::{Align, Block, Document, Section, Table};
use super::hops;
use super::model::{
    ActorSources, Changes, Completeness, Distribution, History, Report, SectionQuery, StageLatency,
    WriteLatency,
};
use super::units::{self, NOTHING};
use crate::stages::EXCLUSIONS;

/// So many rows of a long table are printed; all are in the JSON.
const MOST_ROWS: usize = 25;

/// The report as a document.
#[must_use]
pub fn document(report: &Report) -> Document {
    let queries = |section: &str| -> Vec<Block> { sql_blocks(&report.queries, section) };
    let mut sections = vec![section(
        "How complete the trace is",
        completeness_blocks(&report.completeness),
        queries("completeness"),
    )];
    if let Some(changes) = &report.changes {
        let blocks = change_blocks(report, changes);
        sections.push(section("What happened", blocks, queries("changes")));
    }
    if let Some(latencies) = &report.write_latency {
        let blocks = write_blocks(report, latencies);
        sections.push(section(
            "etcd write latency",
            blocks,
            queries("write_latency"),
        ));
    }
    if let Some(stages) = &report.stages {
        let blocks = stage_blocks(report, stages);
        sections.push(section("Stage latency", blocks, queries("stages")));
    }
    if let Some(found) = &report.coverage {
        let blocks = coverage::blocks(found);
        let mut sql = queries("coverage");
        sql.extend(queries("agreement"));
        sections.push(section("CPID coverage", blocks, sql));
    }
    if let Some(found) = &report.hops {
        let blocks = hops::blocks(found);
        sections.push(section("Hop times", blocks, queries("hops")));
    }
    if let Some(last) = sections.last_mut() {
        last.blocks.extend(queries("notes"));
    }
    Document {
        title: format!("Cascade report: {}", report.traces.join(", ")),
        sections,
    }
}

fn section(title: &str, mut blocks: Vec<Block>, queries: Vec<Block>) -> Section {
    blocks.extend(queries);
    Section {
        title: title.to_owned(),
        blocks,
    }
}

/// The SQL of one section.
#[must_use]
pub fn sql_blocks(queries: &[SectionQuery], section: &str) -> Vec<Block> {
    queries
        .iter()
        .filter(|query| query.section == section)
        .map(|query| Block::Sql {
            title: query.title.clone(),
            sql: query.sql.clone(),
        })
        .collect()
}

/// How complete the trace is, in words and tables.
#[must_use]
pub fn completeness_blocks(completeness: &Completeness) -> Vec<Block> {
    let duplicates = sum(&completeness.histories, |history| history.duplicates);
    let reasons = completeness.reasons();
    let mut blocks = Vec::new();
    if reasons.is_empty() {
        blocks.push(Block::Text(
            "Every revision between the first and the last is in the trace.".to_owned(),
        ));
    } else {
        blocks.push(Block::Warning(format!(
            "Not complete: {}. All numbers describe only what was recorded.",
            reasons.join("; ")
        )));
    }
    if duplicates > 0 {
        blocks.push(Block::Warning(format!(
            "{} recorded twice.",
            units::counted(duplicates, "change")
        )));
    }
    if !completeness.histories.is_empty() {
        blocks.push(Block::Text(call_text(&completeness.histories)));
        blocks.push(Block::Table(history_table(&completeness.histories)));
    }
    blocks.extend(gap_table(completeness));
    if completeness.gaps.is_empty() {
        blocks.push(Block::Text("No gaps were recorded.".to_owned()));
    }
    blocks
}

fn sum(histories: &[History], number: fn(&History) -> i64) -> i64 {
    histories.iter().map(number).sum()
}

/// How many changes have the call that made them.
fn call_text(histories: &[History]) -> String {
    let with_call = sum(histories, |history| history.changes_with_call);
    let expiries = sum(histories, |history| history.lease_expiries);
    let expected = sum(histories, |history| history.changes) - expiries;
    if with_call == 0 {
        return "No calls were seen: commit times are those of the watch.".to_owned();
    }
    let mut text = format!(
        "The etcd call was seen for {} of {} ({})",
        units::count(with_call),
        units::counted(expected, "change"),
        units::share(with_call, expected)
    );
    if expiries > 0 {
        text.push_str(&format!(
            "; {} more by expired leases, which no call makes",
            units::count(expiries)
        ));
    }
    text.push('.');
    text
}

fn history_table(histories: &[History]) -> Table {
    let mut table = Table::new(&[
        ("Cluster", Align::Left),
        ("Epoch", Align::Right),
        ("Revisions", Align::Right),
        ("Missing", Align::Right),
        ("Changes", Align::Right),
        ("Twice", Align::Right),
        ("From", Align::Left),
        ("To", Align::Left),
    ]);
    let revision = |value: Option<i64>| value.map_or_else(|| NOTHING.to_owned(), |n| n.to_string());
    for history in histories {
        table.push(vec![
            history.cluster_id.clone(),
            history.epoch.to_string(),
            format!(
                "{} … {}",
                revision(history.first_revision),
                revision(history.last_revision)
            ),
            units::count(history.missing_revisions),
            units::count(history.changes),
            units::count(history.duplicates),
            second(history.first_time.as_deref()),
            second(history.last_time.as_deref()),
        ]);
    }
    table
}

/// A time to the second.
fn second(time: Option<&str>) -> String {
    time.map_or_else(
        || NOTHING.to_owned(),
        |time| match time.split_once('.') {
            Some((whole, _)) => format!("{whole}Z"),
            None => time.to_owned(),
        },
    )
}

fn gap_table(completeness: &Completeness) -> Option<Block> {
    if completeness.gaps.is_empty() {
        return None;
    }
    let mut table = Table::new(&[
        ("Gaps", Align::Left),
        ("Changes missing", Align::Left),
        ("Number", Align::Right),
        ("Things lost", Align::Right),
    ]);
    for gap in &completeness.gaps {
        table.push(vec![
            gap.kind.clone(),
            if gap.covers_revisions { "yes" } else { "no" }.to_owned(),
            units::count(gap.rows),
            gap.count.map_or_else(|| NOTHING.to_owned(), units::count),
        ]);
    }
    Some(Block::Table(table))
}

fn change_blocks(report: &Report, changes: &Changes) -> Vec<Block> {
    if changes.by_kind_and_actor.is_empty() {
        return vec![Block::Text(format!("No changes{}.", scope_text(report)))];
    }
    let mut table = Table::new(&[
        ("Kind", Align::Left),
        ("Actor", Align::Left),
        ("Created", Align::Right),
        ("Updated", Align::Right),
        ("Deleted", Align::Right),
        ("Total", Align::Right),
    ]);
    for count in changes.by_kind_and_actor.iter().take(MOST_ROWS) {
        table.push(vec![
            kind_text(count.api_group.as_deref(), count.kind.as_deref()),
            count.actor.clone().unwrap_or_else(|| NOTHING.to_owned()),
            units::count(count.created),
            units::count(count.updated),
            units::count(count.deleted),
            units::count(count.total),
        ]);
    }
    let mut blocks = vec![
        Block::Text(format!(
            "{}{}. {}",
            units::counted(changes.total, "change"),
            scope_text(report),
            actor_text(changes.actor_sources)
        )),
        Block::Table(table),
    ];
    let rest = changes.by_kind_and_actor.iter().skip(MOST_ROWS);
    let (rows, number) = rest.fold((0_i64, 0), |(rows, number), count| {
        (rows + 1, number + count.total)
    });
    if rows > 0 {
        blocks.push(Block::Text(format!(
            "{} with {} are left out here; --format json has all.",
            units::counted(rows, "row"),
            units::counted(number, "change")
        )));
    }
    blocks
}

/// From what the actors are known.
fn actor_text(sources: ActorSources) -> String {
    let mut known = Vec::new();
    if sources.request > 0 {
        known.push(format!(
            "for {} from the API request (controller loop or program)",
            units::count(sources.request)
        ));
    }
    known.push(format!(
        "for {} from the object (field manager)",
        units::count(sources.manager)
    ));
    known.push(format!("for {} not at all", units::count(sources.unknown)));
    format!("The actor is known {}.", known.join(", "))
}

/// What the report was narrowed to, as part of a sentence.
fn scope_text(report: &Report) -> String {
    let namespace = report.scope.namespace.as_ref();
    let namespace = namespace.map_or_else(String::new, |name| format!(" in namespace {name}"));
    namespace + &span_text(report)
}

/// The span that the report was narrowed to, as part of a sentence.
fn span_text(report: &Report) -> String {
    let scope = &report.scope;
    let mut text = String::new();
    for (words, value) in [(" since ", &scope.since), (" until ", &scope.until)] {
        if let Some(value) = value {
            text.push_str(words);
            text.push_str(value);
        }
    }
    text
}

/// A kind with its group, such as `Deployment.apps`.
pub(crate) fn kind_text(api_group: Option<&str>, kind: Option<&str>) -> String {
    let group = api_group.unwrap_or_default();
    match kind {
        None => "not a Kubernetes object".to_owned(),
        Some(kind) if group.is_empty() => kind.to_owned(),
        Some(kind) => format!("{kind}.{group}"),
    }
}

fn write_blocks(report: &Report, latencies: &[WriteLatency]) -> Vec<Block> {
    if latencies.is_empty() {
        let span = span_text(report);
        let text = match span.is_empty() {
            true => "No calls that write were recorded: no interceptor was in the path of \
                     kube-apiserver, or nothing was written through it."
                .to_owned(),
            false => format!("No calls that write were recorded{span}."),
        };
        return vec![Block::Text(text)];
    }
    let mut columns = vec![
        ("Method", Align::Left),
        ("Shape", Align::Left),
        ("Outcome", Align::Left),
        ("Calls", Align::Right),
    ];
    columns.extend(STATISTIC_COLUMNS);
    let mut table = Table::new(&columns);
    for row in latencies {
        let mut cells = vec![
            short_method(&row.method),
            row.shape.clone(),
            row.outcome.clone(),
            units::count(row.calls),
        ];
        cells.extend(statistic_cells(&row.latency));
        table.push(cells);
    }
    vec![
        Block::Text(
            "From the request's first byte to the answer, at the interceptor. A call with several \
             operations is counted once, under the shape of its first."
                .to_owned(),
        ),
        Block::Table(table),
    ]
}

/// `KV/Txn` for `/etcdserverpb.KV/Txn`; others as they are.
fn short_method(method: &str) -> String {
    let short = method.strip_prefix("/etcdserverpb.");
    short.unwrap_or(method).to_owned()
}

const STATISTIC_COLUMNS: [(&str, Align); 6] = [
    ("n", Align::Right),
    ("p50", Align::Right),
    ("p90", Align::Right),
    ("p95", Align::Right),
    ("p99", Align::Right),
    ("max", Align::Right),
];

fn statistic_cells(latency: &Distribution) -> Vec<String> {
    let mut cells = vec![units::count(latency.n)];
    cells.extend(
        latency
            .statistics()
            .iter()
            .map(|(_, value)| units::optional_duration(*value)),
    );
    cells
}

fn stage_blocks(report: &Report, stages: &[StageLatency]) -> Vec<Block> {
    let mut blocks: Vec<Block> = report
        .notes
        .iter()
        .map(|note| Block::Warning(note.text.clone()))
        .collect();
    let is_empty = |stage: &StageLatency| stage.latency.n == 0 && stage.excluded.is_empty();
    if stages.iter().all(is_empty) {
        blocks.push(Block::Text(format!(
            "No Pod, Deployment or Service was seen{}.",
            scope_text(report)
        )));
        return blocks;
    }
    let mut columns = vec![("Stage", Align::Left)];
    columns.extend(STATISTIC_COLUMNS);
    columns.push(("excluded", Align::Right));
    let mut table = Table::new(&columns);
    for stage in stages {
        let mut cells = vec![stage.stage.to_owned()];
        cells.extend(statistic_cells(&stage.latency));
        cells.push(units::count(stage.excluded_total()));
        table.push(cells);
    }
    blocks.push(Block::Text(
        "Time between commits in etcd. Percentiles are the nearest rank: values that were measured."
            .to_owned(),
    ));
    blocks.push(Block::Table(table));
    let exclusions: Vec<String> = stages
        .iter()
        .filter(|stage| !stage.excluded.is_empty())
        .map(exclusion_text)
        .collect();
    if !exclusions.is_empty() {
        blocks.push(Block::Text("Excluded:".to_owned()));
        blocks.push(Block::List(exclusions));
    }
    blocks
}

/// Which objects of a stage were left out, such as `pod.created_to_ready: 3 deleted first`.
#[must_use]
pub fn exclusion_text(stage: &StageLatency) -> String {
    let parts: Vec<String> = stage
        .excluded
        .iter()
        .map(|excluded| {
            format!(
                "{} {}",
                units::count(excluded.n),
                exclusion_words(&excluded.reason)
            )
        })
        .collect();
    format!("{}: {}", stage.stage, parts.join(", "))
}

/// The words for a reason of `stage_durations.excluded`.
#[must_use]
pub fn exclusion_words(reason: &str) -> &str {
    EXCLUSIONS
        .iter()
        .find(|(name, _)| *name == reason)
        .map_or(reason, |(_, words)| words)
}
