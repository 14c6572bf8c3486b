//! Finds the change that the argument of `cascade trace` names, and the roots it came from.

use super::cascade_model::OtherRoot;
use super::object_name::ObjectName;
use crate::error::Error;
use crate::report::layout::kind_text;
use crate::report::rows::{integer, integers, text, texts};
use crate::report::scope::literal;
use crate::session::Session;

/// A change to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundChange {
    /// How it was named, for people.
    pub(super) asked: String,
    pub(super) cluster_id: String,
    pub(super) epoch: i64,
    pub(super) root: OtherRoot,
    /// The change that was named, where that is not the root.
    pub(super) target: Option<(i64, i64)>,
    pub(super) other_roots: Vec<OtherRoot>,
}

/// So many names are suggested.
const MOST_SUGGESTIONS: usize = 5;
/// So many other roots are told.
const MOST_ROOTS: usize = 10;

/// The change of a revision.
///
/// # Errors
/// [`Error::Usage`] when the trace does not hold it, or holds it of several clusters.
pub(super) async fn of_revision(session: &Session, revision: i64) -> Result<FoundChange, Error> {
    let condition = format!("revision = {revision}");
    let histories = histories(session, &condition).await?;
    if histories.is_empty() {
        let mut known = "it has no changes".to_owned();
        let query = "SELECT min(revision) AS first, max(revision) AS last FROM raw.changes";
        for batch in session.query(query).await? {
            let (first, last) = (integers(&batch, "first")?, integers(&batch, "last")?);
            if let Some((first, last)) = integer(&first, 0).zip(integer(&last, 0)) {
                known = format!("it has changes of revisions {first} to {last}");
            }
        }
        return Err(Error::Usage(format!(
            "no change of revision {revision} in the trace; {known}"
        )));
    }
    found(
        session,
        format!("revision {revision}"),
        histories,
        &condition,
        true,
    )
    .await
}

/// The newest root that changed an object.
///
/// # Errors
/// [`Error::Usage`] with suggestions when the trace does not hold it, or the name fits several.
pub(super) async fn of_object(
    session: &Session,
    given: &str,
    name: &ObjectName<'_>,
) -> Result<FoundChange, Error> {
    let query = format!(
        "SELECT DISTINCT api_group, kind FROM raw.changes WHERE {} ORDER BY api_group, kind",
        name.condition()
    );
    let mut kinds = Vec::new();
    for batch in session.query(&query).await? {
        let (groups, names) = (texts(&batch, "api_group")?, texts(&batch, "kind")?);
        kinds.extend(
            (0..batch.num_rows())
                .map(|row| kind_text(text(&groups, row).as_deref(), text(&names, row).as_deref())),
        );
    }
    match kinds.as_slice() {
        [] => return Err(Error::Usage(unknown_object(session, given, name).await?)),
        [_] => {}
        several => {
            return Err(Error::Usage(format!(
                "{given} fits objects of several kinds; write the group too: {}",
                several.join(", ")
            )));
        }
    }
    let histories = histories(session, &name.condition()).await?;
    found(
        session,
        given.to_owned(),
        histories,
        &name.condition(),
        false,
    )
    .await
}

/// Clusters and epochs with changes that meet a condition.
async fn histories(session: &Session, condition: &str) -> Result<Vec<(String, i64)>, Error> {
    let query = format!(
        "SELECT DISTINCT cluster_id, epoch FROM raw.changes WHERE {condition} ORDER BY 1, 2"
    );
    let mut histories = Vec::new();
    for batch in session.query(&query).await? {
        let (clusters, epochs) = (texts(&batch, "cluster_id")?, integers(&batch, "epoch")?);
        histories.extend(
            (0..batch.num_rows()).map(|row| (clusters.value(row).to_owned(), epochs.value(row))),
        );
    }
    Ok(histories)
}

/// Chooses the newest root of the changes that meet a condition.
async fn found(
    session: &Session,
    asked: String,
    histories: Vec<(String, i64)>,
    condition: &str,
    is_one_change: bool,
) -> Result<FoundChange, Error> {
    let [(cluster_id, epoch)] = histories.as_slice() else {
        return Err(Error::Usage(format!(
            "{asked} is in {} histories (clusters, or epochs after a restore); give a TRACE of one",
            histories.len()
        )));
    };
    let query = format!(
        "SELECT s.root_revision, s.root_ordinal, s.revision, s.ordinal, c.op, c.api_group, c.kind,
            c.namespace, c.name, c.key, c.actor
        FROM (SELECT r.cluster_id, r.epoch, root_revision, root_ordinal,
                min(r.revision) AS revision, min(r.ordinal) AS ordinal
            FROM reach r JOIN (SELECT cluster_id, epoch, revision, ordinal FROM raw.changes
                WHERE {condition} AND cluster_id = {cluster} AND epoch = {epoch}) t
            USING (cluster_id, epoch, revision, ordinal)
            GROUP BY r.cluster_id, r.epoch, root_revision, root_ordinal) s
        JOIN changes c ON c.cluster_id = s.cluster_id AND c.epoch = s.epoch
            AND c.revision = s.root_revision AND c.ordinal = s.root_ordinal
        ORDER BY s.root_revision DESC, s.root_ordinal",
        cluster = literal(cluster_id)
    );
    let mut roots = Vec::new();
    for batch in session.query(&query).await? {
        let (revisions, ordinals) = (
            integers(&batch, "root_revision")?,
            integers(&batch, "root_ordinal")?,
        );
        let (reached, reached_ordinals) =
            (integers(&batch, "revision")?, integers(&batch, "ordinal")?);
        let (ops, actors) = (texts(&batch, "op")?, texts(&batch, "actor")?);
        let objects = objects(&batch)?;
        for (row, (_, object)) in objects.into_iter().enumerate() {
            let root = OtherRoot {
                revision: revisions.value(row),
                ordinal: ordinals.value(row),
                op: ops.value(row).to_owned(),
                object,
                actor: text(&actors, row),
            };
            roots.push((root, (reached.value(row), reached_ordinals.value(row))));
        }
    }
    let mut roots = roots.into_iter();
    let Some((root, reached)) = roots.next() else {
        return Err(Error::Usage(format!(
            "no cascade is known to have reached {asked}: it has more roots than are followed"
        )));
    };
    let target =
        Some(reached).filter(|reached| is_one_change && *reached != (root.revision, root.ordinal));
    Ok(FoundChange {
        asked,
        cluster_id: cluster_id.clone(),
        epoch: *epoch,
        root,
        target,
        other_roots: roots.map(|(root, _)| root).take(MOST_ROOTS).collect(),
    })
}

/// Kind and full name of the object of each row.
pub(super) fn objects(
    batch: &arrow::record_batch::RecordBatch,
) -> Result<Vec<(String, String)>, Error> {
    let (groups, kinds) = (texts(batch, "api_group")?, texts(batch, "kind")?);
    let (namespaces, names) = (texts(batch, "namespace")?, texts(batch, "name")?);
    let keys = texts(batch, "key")?;
    Ok((0..batch.num_rows())
        .map(|row| {
            let kind = kind_text(text(&groups, row).as_deref(), text(&kinds, row).as_deref());
            let object = match (text(&namespaces, row), text(&names, row)) {
                (Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
                (None, Some(name)) => format!("{kind} {name}"),
                _ => keys.value(row).to_owned(),
            };
            (kind, object)
        })
        .collect())
}

/// What to say about an object that the trace does not hold.
async fn unknown_object(
    session: &Session,
    given: &str,
    name: &ObjectName<'_>,
) -> Result<String, Error> {
    let query = format!(
        "SELECT DISTINCT lower(kind) AS kind, namespace, name,
            CASE WHEN name = {wanted} AND {kind} THEN 0 WHEN name = {wanted} THEN 1 ELSE 2 END AS rank
        FROM raw.changes
        WHERE kind IS NOT NULL AND name IS NOT NULL AND (name = {wanted} OR {kind})
        ORDER BY rank, kind, namespace, name LIMIT {MOST_SUGGESTIONS}",
        wanted = literal(name.name()),
        kind = name.kind_condition()
    );
    let mut known = Vec::new();
    for batch in session.query(&query).await? {
        let kinds = texts(&batch, "kind")?;
        let (namespaces, names) = (texts(&batch, "namespace")?, texts(&batch, "name")?);
        known.extend((0..batch.num_rows()).map(|row| {
            let namespace = text(&namespaces, row).map_or_else(String::new, |text| text + "/");
            format!("{}/{namespace}{}", kinds.value(row), names.value(row))
        }));
    }
    Ok(if known.is_empty() {
        format!(
            "no object {given} in the trace, none of that kind and none of that name; write \
             kind/namespace/name, or kind/name for what has no namespace"
        )
    } else {
        format!(
            "no object {given} in the trace; there are {}",
            known.join(", ")
        )
    })
}
