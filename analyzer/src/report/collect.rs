//! Asks a trace the report's questions and fills the model with the answers.

use std::collections::HashMap;

use arrow::record_batch::RecordBatch;
use chrono::{DateTime, SecondsFormat};

use super::model::{
    ActorSources, ChangeCount, Changes, Completeness, Distribution, Excluded, GapSummary, History,
    Note, PERCENTILE_METHOD, Report, SCHEMA, SCHEMA_VERSION, SectionQuery, StageLatency,
    WriteLatency,
};
use super::rows::{flags, integer, integers, text, texts};
use super::scope::Filter;
use super::sections::{Section, Sections};
use super::{hops, queries};
use crate::error::Error;
use crate::session::Session;
use crate::stages::{EXCLUSIONS, STAGES};

/// Name and version of this program, as documents state it.
pub(crate) const PRODUCER: &str = concat!("cascade ", env!("CARGO_PKG_VERSION"));

/// Computes a report.
///
/// # Errors
/// When a query fails, as for lack of memory.
pub async fn collect(
    session: &Session,
    traces: &[String],
    filter: &Filter,
    sections: &Sections,
) -> Result<Report, Error> {
    let mut coverage = None;
    if sections.has(Section::Coverage) {
        // Unless it was asked for by name, only where there is something to say, and without finding causes.
        let is_named = sections.is_named(Section::Coverage);
        let found = super::coverage::collect(session, filter, is_named).await?;
        coverage = Some(found).filter(|found| is_named || found.has_cpids());
    }
    Ok(Report {
        schema: SCHEMA,
        schema_version: SCHEMA_VERSION,
        producer: PRODUCER.to_owned(),
        traces: traces.to_vec(),
        scope: filter.scope().clone(),
        percentile_method: PERCENTILE_METHOD,
        notes: notes(session).await?,
        completeness: completeness(session).await?,
        changes: match sections.has(Section::Changes) {
            true => Some(changes(session, filter).await?),
            false => None,
        },
        write_latency: match sections.has(Section::WriteLatency) {
            true => Some(write_latency(session, filter).await?),
            false => None,
        },
        stages: match sections.has(Section::Stages) {
            true => Some(stages(session, filter).await?),
            false => None,
        },
        coverage,
        hops: match sections.has(Section::Hops) {
            true => Some(hops::collect(session, filter).await?),
            false => None,
        },
        queries: Vec::new(),
    })
}

/// The SQL behind each section of a report, in the order of the report.
#[must_use]
pub fn explain(filter: &Filter) -> Vec<SectionQuery> {
    let query = |section, title: &str, sql: String| SectionQuery {
        section,
        title: title.to_owned(),
        sql,
    };
    vec![
        query(
            "completeness",
            "revisions of each history",
            queries::HISTORIES.to_owned(),
        ),
        query(
            "completeness",
            "rows recorded twice",
            queries::DUPLICATES.to_owned(),
        ),
        query(
            "completeness",
            "recorded gaps by kind",
            queries::GAPS.to_owned(),
        ),
        query(
            "changes",
            "changes by kind and actor",
            queries::changes(filter),
        ),
        query(
            "write_latency",
            "etcd's answers to mutating calls",
            queries::write_latency(filter),
        ),
        query(
            "stages",
            "durations of stages, and objects without one",
            queries::stages(filter),
        ),
        query(
            "coverage",
            "what became of CPIDs",
            queries::coverage(filter),
        ),
        query(
            "agreement",
            "reported CPIDs against the causes that are found",
            queries::agreement(filter),
        ),
        query("coverage", "mergelogs", queries::MERGELOGS.to_owned()),
        query(
            "coverage",
            "rules that mergelogs break",
            queries::VIOLATIONS.to_owned(),
        ),
        query("hops", "hop times", hops::by_hop(filter)),
        query("hops", "why hops lack parts", hops::lacking(filter)),
        query("hops", "clocks", hops::clocks().to_owned()),
        query("notes", "nodes simulated by kwok", queries::KWOK.to_owned()),
    ]
}

/// How complete a trace is.
///
/// # Errors
/// When a query fails.
pub async fn completeness(session: &Session) -> Result<Completeness, Error> {
    let mut duplicates = HashMap::new();
    for batch in session.query(queries::DUPLICATES).await? {
        let (clusters, epochs) = (texts(&batch, "cluster_id")?, integers(&batch, "epoch")?);
        let numbers = integers(&batch, "duplicates")?;
        for row in 0..batch.num_rows() {
            let history = (clusters.value(row).to_owned(), epochs.value(row));
            duplicates.insert(history, numbers.value(row));
        }
    }
    let mut histories = Vec::new();
    for batch in session.query(queries::HISTORIES).await? {
        histories.extend(histories_of(&batch, &duplicates)?);
    }
    let mut gaps = Vec::new();
    for batch in session.query(queries::GAPS).await? {
        let (kinds, covers) = (texts(&batch, "kind")?, flags(&batch, "covers_revisions")?);
        let (rows, counts) = (integers(&batch, "rows")?, integers(&batch, "count")?);
        gaps.extend((0..batch.num_rows()).map(|row| GapSummary {
            kind: kinds.value(row).to_owned(),
            covers_revisions: covers.value(row),
            rows: rows.value(row),
            count: integer(&counts, row),
        }));
    }
    let mut completeness = Completeness {
        complete: false,
        histories,
        gaps,
    };
    completeness.complete = completeness.reasons().is_empty();
    Ok(completeness)
}

fn histories_of(
    batch: &RecordBatch,
    duplicates: &HashMap<(String, i64), i64>,
) -> Result<Vec<History>, Error> {
    let clusters = texts(batch, "cluster_id")?;
    let epochs = integers(batch, "epoch")?;
    let first_revisions = integers(batch, "first_revision")?;
    let last_revisions = integers(batch, "last_revision")?;
    let revisions = integers(batch, "revisions")?;
    let missing = integers(batch, "missing_revisions")?;
    let changes = integers(batch, "changes")?;
    let with_call = integers(batch, "changes_with_call")?;
    let expiries = integers(batch, "lease_expiries")?;
    let (first, last) = (
        integers(batch, "first_unix_nano")?,
        integers(batch, "last_unix_nano")?,
    );
    Ok((0..batch.num_rows())
        .map(|row| {
            let history = (clusters.value(row).to_owned(), epochs.value(row));
            History {
                duplicates: duplicates.get(&history).copied().unwrap_or(0),
                cluster_id: history.0,
                epoch: history.1,
                first_revision: integer(&first_revisions, row),
                last_revision: integer(&last_revisions, row),
                revisions: revisions.value(row),
                missing_revisions: missing.value(row),
                changes: changes.value(row),
                changes_with_call: with_call.value(row),
                lease_expiries: expiries.value(row),
                first_time: integer(&first, row).map(time_text),
                last_time: integer(&last, row).map(time_text),
            }
        })
        .collect())
}

async fn changes(session: &Session, filter: &Filter) -> Result<Changes, Error> {
    let mut counts = Vec::new();
    let mut sources = ActorSources::default();
    for batch in session.query(&queries::changes(filter)).await? {
        for row in
            (integers(&batch, "from_request")?.iter()).zip(&integers(&batch, "from_manager")?)
        {
            sources.request += row.0.unwrap_or(0);
            sources.manager += row.1.unwrap_or(0);
        }
        let groups = texts(&batch, "api_group")?;
        let (kinds, actors) = (texts(&batch, "kind")?, texts(&batch, "actor")?);
        let (created, updated) = (integers(&batch, "created")?, integers(&batch, "updated")?);
        let (deleted, totals) = (integers(&batch, "deleted")?, integers(&batch, "total")?);
        counts.extend((0..batch.num_rows()).map(|row| ChangeCount {
            api_group: text(&groups, row),
            kind: text(&kinds, row),
            actor: text(&actors, row),
            created: created.value(row),
            updated: updated.value(row),
            deleted: deleted.value(row),
            total: totals.value(row),
        }));
    }
    let total: i64 = counts.iter().map(|count| count.total).sum();
    sources.unknown = total - sources.request - sources.manager;
    Ok(Changes {
        total,
        actor_sources: sources,
        by_kind_and_actor: counts,
    })
}

async fn write_latency(session: &Session, filter: &Filter) -> Result<Vec<WriteLatency>, Error> {
    let mut rows = Vec::new();
    for batch in session.query(&queries::write_latency(filter)).await? {
        let (methods, shapes) = (texts(&batch, "method")?, texts(&batch, "shape")?);
        let (outcomes, calls) = (texts(&batch, "outcome")?, integers(&batch, "calls")?);
        for (row, latency) in distributions(&batch)?.into_iter().enumerate() {
            rows.push(WriteLatency {
                method: methods.value(row).to_owned(),
                shape: shapes.value(row).to_owned(),
                outcome: outcomes.value(row).to_owned(),
                calls: calls.value(row),
                latency,
            });
        }
    }
    Ok(rows)
}

/// Durations of every stage, those without samples included.
///
/// # Errors
/// When the query fails.
pub async fn stages(session: &Session, filter: &Filter) -> Result<Vec<StageLatency>, Error> {
    let mut stages: Vec<StageLatency> = STAGES
        .iter()
        .map(|stage| StageLatency {
            stage: stage.name,
            definition: stage.definition,
            latency: Distribution::default(),
            excluded: Vec::new(),
        })
        .collect();
    for batch in session.query(&queries::stages(filter)).await? {
        let (names, reasons) = (texts(&batch, "stage")?, texts(&batch, "excluded")?);
        for (row, latency) in distributions(&batch)?.into_iter().enumerate() {
            let name = names.value(row);
            let stage = stages
                .iter_mut()
                .find(|stage| stage.stage == name)
                .ok_or_else(|| Error::Internal(format!("no stage is called {name}")))?;
            match text(&reasons, row) {
                None => stage.latency = latency,
                Some(reason) => stage.excluded.push(Excluded {
                    reason,
                    n: latency.n,
                }),
            }
        }
    }
    for stage in &mut stages {
        stage.excluded.sort_by_key(|excluded| {
            EXCLUSIONS
                .iter()
                .position(|(reason, _)| *reason == excluded.reason)
        });
    }
    Ok(stages)
}

/// The SQL of [`stages`].
#[must_use]
pub fn stages_sql(filter: &Filter) -> String {
    queries::stages(filter)
}

/// The SQL of [`call_metric`].
#[must_use]
pub fn call_metric_sql(filter: &Filter, shapes: &[&str]) -> String {
    queries::call_metric(filter, shapes)
}

/// Durations of committed calls of the given shapes.
///
/// # Errors
/// When the query fails.
pub async fn call_metric(
    session: &Session,
    filter: &Filter,
    shapes: &[&str],
) -> Result<Distribution, Error> {
    let batches = session.query(&queries::call_metric(filter, shapes)).await?;
    for batch in &batches {
        if let Some(latency) = distributions(batch)?.first() {
            return Ok(*latency);
        }
    }
    Ok(Distribution::default())
}

fn distributions(batch: &RecordBatch) -> Result<Vec<Distribution>, Error> {
    let n = integers(batch, "n")?;
    let (p50, p90) = (integers(batch, "p50_ns")?, integers(batch, "p90_ns")?);
    let (p95, p99) = (integers(batch, "p95_ns")?, integers(batch, "p99_ns")?);
    let max = integers(batch, "max_ns")?;
    Ok((0..batch.num_rows())
        .map(|row| Distribution {
            n: n.value(row),
            p50_ns: integer(&p50, row),
            p90_ns: integer(&p90, row),
            p95_ns: integer(&p95, row),
            p99_ns: integer(&p99, row),
            max_ns: integer(&max, row),
        })
        .collect())
}

async fn notes(session: &Session) -> Result<Vec<Note>, Error> {
    let mut notes = Vec::new();
    for batch in session.query(queries::KWOK).await? {
        let (nodes, simulated) = (integers(&batch, "nodes")?, integers(&batch, "kwok_nodes")?);
        for row in 0..batch.num_rows() {
            notes.extend(kwok_note(nodes.value(row), simulated.value(row)));
        }
    }
    Ok(notes)
}

fn kwok_note(nodes: i64, simulated: i64) -> Option<Note> {
    if simulated == 0 {
        return None;
    }
    let which = if simulated == nodes {
        "The nodes of this cluster are".to_owned()
    } else {
        format!("{simulated} of the {nodes} nodes of this cluster are")
    };
    Some(Note {
        id: "kwok",
        text: format!(
            "{which} simulated by kwok: no container is started there, and the times from scheduled \
             to running and ready are the delays that kwok is configured with, not those of a \
             kubelet."
        ),
    })
}

/// A time in RFC 3339 with microseconds, UTC.
fn time_text(unix_nano: i64) -> String {
    DateTime::from_timestamp_nanos(unix_nano).to_rfc3339_opts(SecondsFormat::Micros, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kwok_is_named_where_it_is() {
        assert_eq!(kwok_note(3, 0), None);
        let all = kwok_note(3, 3).expect("a note").text;
        assert!(all.starts_with("The nodes of this cluster are simulated by kwok"));
        let some = kwok_note(3, 1).expect("a note").text;
        assert!(some.starts_with("1 of the 3 nodes"));
    }
}
