//! Collects the cascade of a root.

use std::collections::HashMap;

use super::cascade_model::{CascadeTrace, ReachedChange, SCHEMA, SCHEMA_VERSION};
use super::change::{FoundChange, objects};
use crate::causality::SIDE_KINDS;
use crate::error::Error;
use crate::report::rows::{integer, integers, text, texts};
use crate::report::scope::literal;
use crate::session::Session;

/// Asks the trace.
///
/// # Errors
/// When a query fails.
pub(super) async fn collect(session: &Session, found: FoundChange) -> Result<CascadeTrace, Error> {
    let mut positions: HashMap<(i64, i64), usize> = HashMap::new();
    let mut changes: Vec<ReachedChange> = Vec::new();
    // Sums along the critical path up to each change.
    let mut reactions: Vec<i64> = Vec::new();
    for batch in session.query(&changes_query(&found)).await? {
        let (revisions, ordinals) = (integers(&batch, "revision")?, integers(&batch, "ordinal")?);
        let (before, before_ordinals) = (
            integers(&batch, "predecessor_revision")?,
            integers(&batch, "predecessor_ordinal")?,
        );
        let since = integers(&batch, "since_root_ns")?;
        let sums = integers(&batch, "reaction_sum")?;
        let (api, storage) = (integers(&batch, "api_ns")?, integers(&batch, "storage_ns")?);
        let (ops, actors) = (texts(&batch, "op")?, texts(&batch, "actor")?);
        let changed = texts(&batch, "changed")?;
        let confidences = integers(&batch, "confidence")?;
        for (row, (kind, object)) in objects(&batch)?.into_iter().enumerate() {
            let trigger = integer(&before, row)
                .zip(integer(&before_ordinals, row))
                .and_then(|key| positions.get(&key).copied());
            let trigger_since = trigger
                .and_then(|position| changes.get(position))
                .map(|change| change.since_root_ns);
            let trigger_reaction = trigger
                .and_then(|position| reactions.get(position))
                .copied();
            let (api_ns, storage_ns) = (integer(&api, row), integer(&storage, row));
            let sum = sums.value(row);
            positions.insert((revisions.value(row), ordinals.value(row)), changes.len());
            reactions.push(sum);
            changes.push(ReachedChange {
                revision: revisions.value(row),
                ordinal: ordinals.value(row),
                op: ops.value(row).to_owned(),
                kind,
                object,
                actor: text(&actors, row),
                changed: text(&changed, row)
                    .map(|text| text.split('\n').map(str::to_owned).collect())
                    .unwrap_or_default(),
                trigger,
                confidence: integer(&confidences, row).map(ten_thousandths),
                since_root_ns: since.value(row),
                hop_ns: trigger_since.map_or(0, |before| since.value(row).saturating_sub(before)),
                reaction_ns: trigger_reaction
                    .filter(|_| api_ns.is_some() && storage_ns.is_some())
                    .map(|before| sum.saturating_sub(before)),
                api_ns,
                storage_ns,
            });
        }
    }
    let ending = ending(session, &found).await?;
    let target = found.target.and_then(|key| positions.get(&key).copied());
    let target = target.or_else(|| converged_with(&changes, ending.converged_ns));
    let critical_path = critical_path(&changes, target);
    let last = critical_path
        .last()
        .and_then(|position| changes.get(*position));
    Ok(CascadeTrace {
        schema: SCHEMA,
        schema_version: SCHEMA_VERSION,
        root_class: ending.root_class,
        outcome: ending.outcome,
        converged_ns: ending.converged_ns,
        settled_ns: ending.settled_ns,
        total_ns: last.map_or(0, |last| last.since_root_ns),
        cluster_id: found.cluster_id,
        epoch: found.epoch,
        asked: found.asked,
        changes,
        critical_path,
        other_roots: found.other_roots,
    })
}

/// Whole ten-thousandths, as `edges` rounds, as a share.
fn ten_thousandths(value: i64) -> f64 {
    f64::from(i32::try_from(value).unwrap_or(0)) / 1e4
}

/// The changes that the root reached, in order: what set a change off is before it.
fn changes_query(found: &FoundChange) -> String {
    format!(
        "SELECT r.revision, r.ordinal, r.predecessor_revision, r.predecessor_ordinal, r.since_root_ns,
            r.reaction_ns AS reaction_sum, c.api_ns, c.storage_ns, c.op, c.api_group, c.kind,
            c.namespace, c.name, c.key, c.actor,
            nullif(array_to_string(c.changed, chr(10)), '') AS changed,
            CAST(round(e.confidence * 10000) AS BIGINT) AS confidence
        FROM reach r
        JOIN changes c ON c.cluster_id = r.cluster_id AND c.epoch = r.epoch
            AND c.revision = r.revision AND c.ordinal = r.ordinal
        LEFT JOIN (SELECT * FROM edges WHERE relation = 'trigger' AND chosen) e
            ON e.cluster_id = r.cluster_id AND e.epoch = r.epoch
            AND e.effect_revision = r.revision AND e.effect_ordinal = r.ordinal
            AND e.cause_revision = r.predecessor_revision
            AND e.cause_ordinal = r.predecessor_ordinal
        WHERE r.cluster_id = {} AND r.epoch = {} AND r.root_revision = {} AND r.root_ordinal = {}
        ORDER BY r.revision, r.ordinal",
        literal(&found.cluster_id),
        found.epoch,
        found.root.revision,
        found.root.ordinal
    )
}

/// What `cascades` says of a root.
struct Ending {
    root_class: String,
    outcome: Option<String>,
    converged_ns: Option<i64>,
    settled_ns: Option<i64>,
}

async fn ending(session: &Session, found: &FoundChange) -> Result<Ending, Error> {
    let query = format!(
        "SELECT root_class, outcome, converged_ns, settled_ns FROM cascades
        WHERE cluster_id = {} AND epoch = {} AND revision = {} AND ordinal = {}",
        literal(&found.cluster_id),
        found.epoch,
        found.root.revision,
        found.root.ordinal
    );
    for batch in session.query(&query).await? {
        if batch.num_rows() > 0 {
            let (converged, settled) = (
                integers(&batch, "converged_ns")?,
                integers(&batch, "settled_ns")?,
            );
            return Ok(Ending {
                root_class: texts(&batch, "root_class")?.value(0).to_owned(),
                outcome: text(&texts(&batch, "outcome")?, 0),
                converged_ns: integer(&converged, 0),
                settled_ns: integer(&settled, 0),
            });
        }
    }
    Err(Error::Internal(format!(
        "revision {} has a reach but is no root",
        found.root.revision
    )))
}

/// The change with which a cascade converged.
fn converged_with(changes: &[ReachedChange], converged_ns: Option<i64>) -> Option<usize> {
    let converged_ns = converged_ns?;
    let is_it = |change: &ReachedChange| {
        change.since_root_ns == converged_ns && !SIDE_KINDS.contains(&change.kind.as_str())
    };
    changes.iter().position(is_it)
}

/// From the root to `target`, or else to the change that was committed last.
fn critical_path(changes: &[ReachedChange], target: Option<usize>) -> Vec<usize> {
    let last = changes
        .iter()
        .enumerate()
        .filter(|(position, change)| *position == 0 || !SIDE_KINDS.contains(&change.kind.as_str()))
        .max_by_key(|(position, change)| (change.since_root_ns, *position))
        .map(|(position, _)| position);
    let mut path = Vec::new();
    let mut next = target.or(last);
    while let Some(position) = next {
        path.push(position);
        // Triggers come first, so this ends.
        next = changes
            .get(position)
            .and_then(|change| change.trigger)
            .filter(|trigger| *trigger < position);
    }
    path.reverse();
    path
}
