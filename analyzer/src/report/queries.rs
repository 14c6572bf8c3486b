//! The SQL behind every number of a report. `--explain` prints these very texts.

use super::scope::Filter;

/// What is known of each history: its revisions, and how many changes their calls were seen for.
///
/// A ledger that starts on an empty etcd takes a snapshot of nothing, which leaves no rows; a row of
/// `gaps` says at which revision, unless no key ever was: the first one has revision 2. Otherwise the
/// snapshot at revision R is followed by a watch from R + 1. A later snapshot shows how far the history
/// went in any case.
pub(crate) const HISTORIES: &str = "\
WITH recorded AS (
    SELECT cluster_id, epoch,
           min(revision) AS first_change, max(revision) AS last_change,
           count(DISTINCT revision) AS revisions, count(*) AS changes,
           count(call_id) AS changes_with_call,
           -- Where no call was seen at all, none tells an expiry from a delete.
           CASE WHEN count(call_id) > 0
                THEN count(*) FILTER (WHERE call_id IS NULL AND op = 'delete' AND lease_id <> 0)
                ELSE 0 END AS lease_expiries,
           min(commit_unix_nano) AS first_unix_nano, max(commit_unix_nano) AS last_unix_nano
    FROM changes
    GROUP BY cluster_id, epoch
),
snapshots AS (
    SELECT cluster_id, epoch,
           min(snapshot_revision) AS first_snapshot, max(snapshot_revision) AS last_snapshot
    FROM states
    GROUP BY cluster_id, epoch
),
empty_snapshots AS (
    SELECT cluster_id, epoch, min(to_revision) AS revision
    FROM gaps
    WHERE kind = 'restart' AND from_revision IS NULL AND to_revision IS NOT NULL
    GROUP BY cluster_id, epoch
),
known AS (
    SELECT coalesce(recorded.cluster_id, snapshots.cluster_id) AS cluster_id,
           coalesce(recorded.epoch, snapshots.epoch) AS epoch,
           CASE WHEN first_change IS NULL OR first_snapshot < first_change
                THEN first_snapshot + 1 ELSE coalesce(empty_snapshots.revision, 1) + 1
           END AS first_revision,
           greatest(last_change, last_snapshot) AS last_revision,
           coalesce(revisions, 0) AS revisions, coalesce(changes, 0) AS changes,
           coalesce(changes_with_call, 0) AS changes_with_call,
           coalesce(lease_expiries, 0) AS lease_expiries,
           first_unix_nano, last_unix_nano
    FROM recorded
    FULL JOIN snapshots ON snapshots.cluster_id = recorded.cluster_id
        AND snapshots.epoch = recorded.epoch
    LEFT JOIN empty_snapshots ON empty_snapshots.cluster_id = recorded.cluster_id
        AND empty_snapshots.epoch = recorded.epoch
)
SELECT *, last_revision - first_revision + 1 - revisions AS missing_revisions
FROM known
ORDER BY cluster_id, epoch";

/// Rows that one interceptor recorded twice.
pub(crate) const DUPLICATES: &str = "\
SELECT cluster_id, epoch, sum(copies - 1) AS duplicates
FROM (
    SELECT cluster_id, epoch, count(*) AS copies
    FROM stored.changes
    GROUP BY cluster_id, epoch, instance, revision, key
    HAVING count(*) > 1
)
GROUP BY cluster_id, epoch";

/// Recorded losses by kind. What another recording has is not missing.
pub(crate) const GAPS: &str = "\
SELECT kind, covers_revisions, count(*) AS rows, sum(count) AS count
FROM (SELECT kind, covers_revisions AND NOT is_filled AS covers_revisions, count
      FROM stored.judged_gaps)
GROUP BY kind, covers_revisions
ORDER BY covers_revisions DESC, kind";

/// Whether the nodes are simulated by kwok: it marks them, and writes their status.
pub(crate) const KWOK: &str = "\
SELECT count(DISTINCT name) AS nodes,
       count(DISTINCT name) FILTER (
           WHERE (annotations ->> 'kwok.x-k8s.io/node') IS NOT NULL
              OR (labels ->> 'type') = 'kwok'
       ) AS kwok_nodes
FROM (
    SELECT name, annotations, labels FROM raw.changes WHERE kind = 'Node' AND api_group = ''
    UNION ALL
    SELECT name, annotations, labels FROM states WHERE kind = 'Node' AND api_group = ''
)";

/// Changes by kind and actor.
pub(crate) fn changes(filter: &Filter) -> String {
    format!(
        "\
SELECT api_group, kind, actor,
       count(*) FILTER (WHERE op = 'create') AS created,
       count(*) FILTER (WHERE op = 'update') AS updated,
       count(*) FILTER (WHERE op = 'delete') AS deleted,
       count(*) FILTER (WHERE actor_source = 'request') AS from_request,
       count(*) FILTER (WHERE actor_source = 'manager') AS from_manager,
       count(*) AS total
FROM changes{}
GROUP BY api_group, kind, actor
ORDER BY total DESC, kind, api_group, actor",
        clause(&filter.conditions("revision", "commit_unix_nano"))
    )
}

/// What became of CPIDs in the changes, by kind and actor: each change is in one class.
pub(crate) fn coverage(filter: &Filter) -> String {
    let conditions = filter.conditions("revision", "commit_unix_nano");
    include_str!("coverage.sql")
        .trim_end()
        .replace("{where}", &clause(&conditions))
}

/// Whether reported CPIDs agree with the causes that are found, by kind and actor.
pub(crate) fn agreement(filter: &Filter) -> String {
    format!(
        "\
SELECT api_group, kind, actor,
       count(*) FILTER (WHERE verdict = 'agrees') AS agrees,
       count(*) FILTER (WHERE verdict = 'partly') AS partly,
       count(*) FILTER (WHERE verdict = 'missing') AS missing,
       count(*) FILTER (WHERE verdict = 'contradicts') AS contradicts
FROM cpid_agreement AS compared
JOIN (SELECT * FROM changes{}) AS change
    ON change.cluster_id = compared.cluster_id AND change.epoch = compared.epoch
    AND change.revision = compared.revision AND change.ordinal = compared.ordinal
GROUP BY api_group, kind, actor
ORDER BY contradicts DESC, partly DESC, missing DESC, agrees DESC, kind, api_group, actor",
        clause(&filter.conditions("revision", "commit_unix_nano"))
    )
}

/// Rules that mergelogs break, by rule.
pub(crate) const VIOLATIONS: &str = "\
SELECT rule, count(*) AS count, min(detail) AS example
FROM mergelog_violations
GROUP BY rule
ORDER BY rule";

/// Number of mergelogs, and of merges among them.
pub(crate) const MERGELOGS: &str = "\
SELECT count(*) AS mergelogs, count(*) FILTER (WHERE array_length(source_cpids) > 0) AS merges
FROM mergelogs";

/// Durations of calls by method, shape and outcome.
pub(crate) fn write_latency(filter: &Filter) -> String {
    let mut conditions = vec!["op_index = 0".to_owned()];
    conditions.extend(filter.span("revision", "request_unix_nano"));
    format!(
        "\
SELECT method, shape, outcome, calls, n,
{QUANTILE_COLUMNS}
FROM (
    SELECT method, shape, outcome, count(*) AS calls, count(duration_ns) AS n,
           {QUANTILES}
    FROM calls{}
    GROUP BY method, shape, outcome
)
ORDER BY calls DESC, method, shape, outcome",
        clause(&conditions)
    )
}

/// Durations of stages; rows with `excluded` count the objects that have none, by reason.
pub(crate) fn stages(filter: &Filter) -> String {
    let conditions = filter.conditions(
        "coalesce(from_revision, create_revision)",
        "coalesce(from_unix_nano, created_unix_nano)",
    );
    format!(
        "\
SELECT stage, excluded, n,
{QUANTILE_COLUMNS}
FROM (
    SELECT stage, excluded, count(*) AS n,
           {QUANTILES}
    FROM stage_durations{}
    GROUP BY stage, excluded
)
ORDER BY stage, excluded NULLS FIRST",
        clause(&conditions)
    )
}

/// Durations of committed calls of the given shapes.
pub(crate) fn call_metric(filter: &Filter, shapes: &[&str]) -> String {
    let shapes: Vec<String> = shapes.iter().map(|shape| format!("'{shape}'")).collect();
    let mut conditions = vec![
        "op_index = 0".to_owned(),
        "outcome = 'committed'".to_owned(),
        format!("shape IN ({})", shapes.join(", ")),
    ];
    conditions.extend(filter.span("revision", "request_unix_nano"));
    format!(
        "\
SELECT n,
{QUANTILE_COLUMNS}
FROM (
    SELECT count(duration_ns) AS n,
           {QUANTILES}
    FROM calls{}
)",
        clause(&conditions)
    )
}

/// One sort gives all percentiles.
const QUANTILES: &str = "quantile_disc(duration_ns, [0.5, 0.9, 0.95, 0.99]) AS quantiles,
           max(duration_ns) AS max_ns";
const QUANTILE_COLUMNS: &str = "       quantiles[1] AS p50_ns, quantiles[2] AS p90_ns, \
quantiles[3] AS p95_ns, quantiles[4] AS p99_ns, max_ns";

fn clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        return String::new();
    }
    format!("\n    WHERE {}", conditions.join("\n      AND "))
}
