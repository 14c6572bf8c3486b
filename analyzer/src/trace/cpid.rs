//! Collects what came of a reported CPID.

use std::collections::HashMap;

use arrow::array::{AsArray, ListArray};
use arrow::record_batch::RecordBatch;

use super::cpid_model::{
    CarryingChange, Completion, CpidTrace, Descendant, Extent, Origin, Others, Place, SCHEMA,
    SCHEMA_VERSION, Share, SpanRow,
};
use super::what::FoundCpid;
use crate::error::Error;
use crate::report::layout::kind_text;
use crate::report::rows::{integer, integers, text, texts};
use crate::report::scope::literal;
use crate::session::Session;

/// Asks the trace.
///
/// # Errors
/// When a query fails.
pub(super) async fn collect(session: &Session, found: FoundCpid) -> Result<CpidTrace, Error> {
    let cpid = literal(&found.cpid);
    let mut mergelogs = mergelogs(session, &cpid).await?;
    let ancestry = relatives(session, "ancestors", &cpid, &mut mergelogs).await?;
    let mut descendants: Vec<Descendant> = relatives(session, "descendants", &cpid, &mut mergelogs)
        .await?
        .into_iter()
        .map(|origin| Descendant {
            origin,
            changes: Vec::new(),
            others: Others::default(),
            spans: Vec::new(),
        })
        .collect();
    let positions: HashMap<String, usize> = descendants
        .iter()
        .enumerate()
        .map(|(index, descendant)| (descendant.origin.cpid.clone(), index))
        .collect();
    let mut others: Vec<(usize, CarryingChange)> = Vec::new();
    for batch in session.query(&changes_query(&cpid)).await? {
        let carried = texts(&batch, "carried")?;
        for (row, change) in changes_of(&batch)?.into_iter().enumerate() {
            let Some(index) = positions.get(carried.value(row)) else {
                continue;
            };
            let is_set = matches!(
                change.transition.as_deref(),
                Some("start" | "adopt" | "merge" | "replace")
            );
            if !(is_set || change.reported) {
                others.push((*index, change));
            } else if let Some(descendant) = descendants.get_mut(*index) {
                descendant.changes.push(change);
            }
        }
    }
    let spans = spans(session, &cpid, &positions, &mut descendants).await?;
    let completion = completion(&descendants);
    let first = completion
        .as_ref()
        .map(|found| found.extent.first_unix_nano);
    since(first, &mut descendants, &others);
    Ok(CpidTrace {
        schema: SCHEMA,
        schema_version: SCHEMA_VERSION,
        cpid: found.cpid,
        places: found
            .places
            .into_iter()
            .map(|(place, rows)| Place { place, rows })
            .collect(),
        ancestry,
        descendants,
        completion,
        spans,
    })
}

/// What a mergelog says about the CPID it made.
#[derive(Debug, Default)]
struct Made {
    sources: Vec<String>,
    reported_by: Option<String>,
    cause_message: Option<String>,
}

/// The mergelogs that made the CPIDs around the one asked for; several about one CPID as one.
async fn mergelogs(session: &Session, cpid: &str) -> Result<HashMap<String, Made>, Error> {
    let query = format!(
        "SELECT new_cpid, source_cpids, reported_by, cause_message FROM raw.mergelogs
        WHERE new_cpid IN (SELECT cpid FROM ancestors({cpid}))
            OR new_cpid IN (SELECT cpid FROM descendants({cpid}))
        ORDER BY received_unix_nano, new_cpid"
    );
    let mut found: HashMap<String, Made> = HashMap::new();
    for batch in session.query(&query).await? {
        let cpids = texts(&batch, "new_cpid")?;
        let (reporters, messages) = (
            texts(&batch, "reported_by")?,
            texts(&batch, "cause_message")?,
        );
        let sources = batch
            .column_by_name("source_cpids")
            .and_then(|column| column.as_list_opt::<i32>())
            .ok_or_else(|| Error::Internal("source_cpids is not as expected".to_owned()))?;
        for row in 0..batch.num_rows() {
            let made = found.entry(cpids.value(row).to_owned()).or_default();
            for source in list(sources, row) {
                if !made.sources.contains(&source) {
                    made.sources.push(source);
                }
            }
            made.reported_by = made.reported_by.take().or_else(|| text(&reporters, row));
            made.cause_message = made.cause_message.take().or_else(|| text(&messages, row));
        }
    }
    Ok(found)
}

fn list(lists: &ListArray, row: usize) -> Vec<String> {
    let items = lists.value(row);
    let texts = items.as_string_opt::<i32>();
    texts
        .into_iter()
        .flat_map(|texts| texts.iter().flatten())
        .map(str::to_owned)
        .collect()
}

/// The answer of `ancestors` or `descendants`, with the mergelogs.
async fn relatives(
    session: &Session,
    function: &str,
    cpid: &str,
    mergelogs: &mut HashMap<String, Made>,
) -> Result<Vec<Origin>, Error> {
    let query = format!("SELECT cpid, depth FROM {function}({cpid})");
    let mut relatives = Vec::new();
    for batch in session.query(&query).await? {
        let (cpids, depths) = (texts(&batch, "cpid")?, integers(&batch, "depth")?);
        for row in 0..batch.num_rows() {
            let made = mergelogs.get(cpids.value(row));
            relatives.push(Origin {
                cpid: cpids.value(row).to_owned(),
                depth: depths.value(row),
                source_cpids: made.map(|made| made.sources.clone()),
                reported_by: made.and_then(|made| made.reported_by.clone()),
                cause_message: made.and_then(|made| made.cause_message.clone()),
            });
        }
    }
    // Partitions may be answered in any order.
    relatives.sort_by_key(|relative| relative.depth);
    Ok(relatives)
}

/// The changes that carried the CPID or one that came of it, or whose object did.
fn changes_query(cpid: &str) -> String {
    format!(
        "SELECT coalesce(cpid_reported, cpid, prev_cpid) AS carried,
            cluster_id, epoch, revision, ordinal, op, key, api_group, kind, namespace, name,
            cpid_transition, CASE WHEN cpid_reported IS NULL THEN 0 ELSE 1 END AS reported, actor,
            commit_unix_nano
        FROM changes
        WHERE coalesce(cpid_reported, cpid, prev_cpid) IN (SELECT cpid FROM descendants({cpid}))
        ORDER BY commit_unix_nano, cluster_id, epoch, revision, ordinal"
    )
}

fn changes_of(batch: &RecordBatch) -> Result<Vec<CarryingChange>, Error> {
    let (clusters, epochs) = (texts(batch, "cluster_id")?, integers(batch, "epoch")?);
    let (revisions, ordinals) = (integers(batch, "revision")?, integers(batch, "ordinal")?);
    let (ops, keys) = (texts(batch, "op")?, texts(batch, "key")?);
    let (groups, kinds) = (texts(batch, "api_group")?, texts(batch, "kind")?);
    let (namespaces, names) = (texts(batch, "namespace")?, texts(batch, "name")?);
    let (transitions, reported) = (
        texts(batch, "cpid_transition")?,
        integers(batch, "reported")?,
    );
    let (actors, commits) = (texts(batch, "actor")?, integers(batch, "commit_unix_nano")?);
    Ok((0..batch.num_rows())
        .map(|row| {
            let kind = text(&kinds, row)
                .map(|kind| kind_text(text(&groups, row).as_deref(), Some(kind.as_str())));
            let object = match (&kind, text(&namespaces, row), text(&names, row)) {
                (Some(kind), Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
                (Some(kind), None, Some(name)) => format!("{kind} {name}"),
                _ => keys.value(row).to_owned(),
            };
            CarryingChange {
                cluster_id: clusters.value(row).to_owned(),
                epoch: epochs.value(row),
                revision: revisions.value(row),
                ordinal: ordinals.value(row),
                op: ops.value(row).to_owned(),
                object,
                kind,
                transition: text(&transitions, row),
                reported: reported.value(row) == 1,
                actor: text(&actors, row),
                commit_unix_nano: integer(&commits, row),
                since_first_ns: None,
            }
        })
        .collect())
}

/// Adds the spans to the CPIDs they were posted for.
async fn spans(
    session: &Session,
    cpid: &str,
    positions: &HashMap<String, usize>,
    descendants: &mut [Descendant],
) -> Result<Option<Extent>, Error> {
    let query = format!(
        "SELECT cpid, service, object_kind, object_name, message, start_unix_nano, end_unix_nano
        FROM raw.spans WHERE cpid IN (SELECT cpid FROM descendants({cpid}))
        ORDER BY start_unix_nano, end_unix_nano, service, message"
    );
    let mut moments: Vec<i64> = Vec::new();
    for batch in session.query(&query).await? {
        let (cpids, services) = (texts(&batch, "cpid")?, texts(&batch, "service")?);
        let (kinds, names) = (texts(&batch, "object_kind")?, texts(&batch, "object_name")?);
        let messages = texts(&batch, "message")?;
        let (starts, ends) = (
            integers(&batch, "start_unix_nano")?,
            integers(&batch, "end_unix_nano")?,
        );
        for row in 0..batch.num_rows() {
            let (start, end) = (integer(&starts, row), integer(&ends, row));
            moments.extend(start);
            moments.extend(end);
            let span = SpanRow {
                service: text(&services, row),
                object_kind: text(&kinds, row),
                object_name: text(&names, row),
                message: text(&messages, row),
                start_unix_nano: start,
                end_unix_nano: end,
                since_first_ns: None,
                duration_ns: start
                    .zip(end)
                    .and_then(|(start, end)| end.checked_sub(start)),
            };
            let position = positions.get(cpids.value(row));
            if let Some(descendant) = position.and_then(|index| descendants.get_mut(*index)) {
                descendant.spans.push(span);
            }
        }
    }
    Ok(extent(moments))
}

fn extent(moments: impl IntoIterator<Item = i64> + Clone) -> Option<Extent> {
    let first = moments.clone().into_iter().min()?;
    let last = moments.into_iter().max()?;
    Some(Extent {
        first_unix_nano: first,
        last_unix_nano: last,
        total_ns: last.saturating_sub(first),
    })
}

/// The paper's measure: last minus first over all descendants, and who had part in it.
fn completion(descendants: &[Descendant]) -> Option<Completion> {
    let timed: Vec<(&CarryingChange, i64)> = descendants
        .iter()
        .flat_map(|descendant| &descendant.changes)
        .filter_map(|change| Some((change, change.commit_unix_nano?)))
        .collect();
    let moments: Vec<i64> = timed.iter().map(|(_, moment)| *moment).collect();
    let extent = extent(moments)?;
    let shares = |name: &dyn Fn(&CarryingChange) -> String| {
        let mut shares: HashMap<String, Share> = HashMap::new();
        for (change, moment) in &timed {
            let since = moment.saturating_sub(extent.first_unix_nano);
            let name = name(change);
            let share = shares.entry(name.clone()).or_insert(Share {
                name,
                changes: 0,
                first_ns: since,
                last_ns: since,
            });
            share.changes += 1;
            share.first_ns = share.first_ns.min(since);
            share.last_ns = share.last_ns.max(since);
        }
        let mut shares: Vec<Share> = shares.into_values().collect();
        shares.sort_by(|a, b| {
            (a.first_ns, a.last_ns, &a.name).cmp(&(b.first_ns, b.last_ns, &b.name))
        });
        shares
    };
    let or_unknown = |name: &Option<String>| name.clone().unwrap_or_else(|| "unknown".to_owned());
    Some(Completion {
        extent,
        changes: i64::try_from(timed.len()).unwrap_or(i64::MAX),
        by_object: shares(&|change| change.object.clone()),
        by_kind: shares(&|change| or_unknown(&change.kind)),
        by_actor: shares(&|change| or_unknown(&change.actor)),
    })
}

/// Fills in all times since the first change, and counts the others.
fn since(first: Option<i64>, descendants: &mut [Descendant], others: &[(usize, CarryingChange)]) {
    let since = |moment: Option<i64>| moment?.checked_sub(first?);
    for descendant in &mut *descendants {
        for change in &mut descendant.changes {
            change.since_first_ns = since(change.commit_unix_nano);
        }
        for span in &mut descendant.spans {
            span.since_first_ns = since(span.start_unix_nano);
        }
    }
    for (index, change) in others {
        let Some(descendant) = descendants.get_mut(*index) else {
            continue;
        };
        let counts = &mut descendant.others;
        match change.transition.as_deref() {
            Some("drop") => counts.dropped += 1,
            Some("end") => counts.ended += 1,
            _ => counts.kept += 1,
        }
        counts.last_since_first_ns = counts
            .last_since_first_ns
            .max(since(change.commit_unix_nano));
    }
}
