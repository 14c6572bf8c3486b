//! `cascade(change)`, `critical_path(change)` and `paths(from, to)`, against recursive SQL over edges and reach.

use std::path::PathBuf;

use cascade_analyzer::session::{EngineOptions, Session};

use crate::catalog::{number, rows};

/// A recorded trace with request spans and many rollouts.
async fn deployments() -> Session {
    let trace =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/truth/deployments/trace");
    let trace = trace.to_str().unwrap().to_owned();
    Session::open(&[trace], &EngineOptions::default())
        .await
        .unwrap()
}

/// Roots of some size, and a change in the middle of a cascade.
async fn interesting(session: &Session) -> Vec<i64> {
    let mut found = Vec::new();
    for query in [
        "SELECT root_revision FROM reach GROUP BY root_revision ORDER BY count(*) DESC LIMIT 3",
        "SELECT revision FROM reach WHERE depth = 2 ORDER BY revision LIMIT 2",
        "SELECT revision FROM reach GROUP BY revision ORDER BY count(*) DESC, revision LIMIT 1",
    ] {
        found.extend(rows(session, query).await);
    }
    assert_eq!(found.len(), 6);
    found
        .iter()
        .map(|revision| revision.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_cascade_is_what_the_edges_lead_to() {
    let session = deployments().await;
    let mut most = 0;
    for change in interesting(&session).await {
        let found = format!("SELECT revision, ordinal FROM cascade({change}) ORDER BY 1, 2");
        let found = rows(&session, &found).await;
        let oracle = format!(
            "WITH RECURSIVE followed AS (
                SELECT revision, ordinal, 0 AS depth FROM raw.changes WHERE revision = {change}
                UNION ALL
                SELECT DISTINCT e.effect_revision, e.effect_ordinal, f.depth + 1 FROM followed f
                JOIN (SELECT * FROM edges WHERE relation = 'trigger' AND chosen) e
                ON e.cause_revision = f.revision AND e.cause_ordinal = f.ordinal
            ) SELECT DISTINCT revision, ordinal FROM followed ORDER BY 1, 2"
        );
        assert_eq!(found, rows(&session, &oracle).await, "{change}");
        most = most.max(found.len());

        // The predecessor is the last committed cause within the cascade; times are between commits.
        let wrong = format!(
            "WITH found AS (SELECT * FROM cascade({change})), ranked AS (
                SELECT e.effect_revision, e.cause_revision, row_number() OVER (
                    PARTITION BY e.effect_revision
                    ORDER BY w.commit_unix_nano DESC, e.cause_revision DESC) AS rank
                FROM edges e JOIN found f ON f.revision = e.cause_revision
                JOIN writes w ON w.revision = e.cause_revision
                WHERE e.relation = 'trigger' AND e.chosen)
            SELECT count(*) FROM found
            LEFT JOIN ranked ON ranked.effect_revision = found.revision AND rank = 1
            JOIN writes w ON w.revision = found.revision
            JOIN writes s ON s.revision = {change}
            WHERE found.revision <> {change} AND (
                (found.predecessor_revision IS DISTINCT FROM ranked.cause_revision)
                OR found.since_ns <> w.commit_unix_nano - s.commit_unix_nano)"
        );
        assert_eq!(number(&session, &wrong).await, 0, "{change}");
    }
    assert!(most > 30, "{most}");
    let roots = "SELECT count(*) FROM (SELECT revision FROM cascade(250)
        EXCEPT SELECT revision FROM reach WHERE root_revision = 250)";
    assert_eq!(number(&session, roots).await, 0);
}

#[tokio::test]
async fn a_critical_path_is_walked_back_from_its_end() {
    let session = deployments().await;
    let mut longest = 0;
    for change in interesting(&session).await {
        let found = format!(
            "SELECT root_revision, revision, since_root_ns FROM critical_path({change}) ORDER BY 1, 2"
        );
        let found = rows(&session, &found).await;
        let oracle = format!(
            "WITH RECURSIVE walk AS (
                SELECT root_revision, root_ordinal, revision, ordinal, predecessor_revision, predecessor_ordinal,
                    since_root_ns FROM reach WHERE revision = {change}
                UNION ALL
                SELECT r.root_revision, r.root_ordinal, r.revision, r.ordinal, r.predecessor_revision,
                    r.predecessor_ordinal, r.since_root_ns
                FROM walk w JOIN reach r ON r.root_revision = w.root_revision AND r.root_ordinal = w.root_ordinal
                    AND r.revision = w.predecessor_revision AND r.ordinal = w.predecessor_ordinal
            ) SELECT root_revision, revision, since_root_ns FROM walk ORDER BY 1, 2"
        );
        assert_eq!(found, rows(&session, &oracle).await, "{change}");
        longest = longest.max(found.len());
        let untold = format!(
            "SELECT count(*) FROM (SELECT root_revision, sum(hop_ns) AS hops, max(since_root_ns) AS total,
                sum(reaction_ns) + sum(api_ns) + sum(storage_ns) AS parts
            FROM critical_path({change}) GROUP BY root_revision) WHERE hops <> total OR parts <> total"
        );
        assert_eq!(number(&session, &untold).await, 0, "{change}");
    }
    assert!(longest > 3, "{longest}");
}

#[tokio::test]
async fn paths_are_walked_back_to_the_nearest_start() {
    let session = deployments().await;
    for (from, from_kind, from_op, to, to_kind, to_op) in [
        (
            "ReplicaSet/update",
            "ReplicaSet",
            "update",
            "Pod/create",
            "Pod",
            "create",
        ),
        (
            "Deployment",
            "Deployment",
            "%",
            "EndpointSlice/update",
            "EndpointSlice",
            "update",
        ),
    ] {
        let found = format!(
            "SELECT DISTINCT from_revision, revision, total_ns FROM paths('{from}', '{to}') ORDER BY 1, 2"
        );
        let found = rows(&session, &found).await;
        assert!(found.len() > 10, "{from} {to}: {}", found.len());
        let oracle = format!(
            "WITH RECURSIVE told AS (
                SELECT r.*, c.kind, c.op, c.key FROM reach r JOIN raw.changes c USING (cluster_id, epoch, revision, ordinal)
            ), walk AS (
                SELECT root_revision, revision AS target, key AS target_key, since_root_ns AS target_since,
                    predecessor_revision, CAST(NULL AS BIGINT) AS start, CAST(NULL AS BIGINT) AS start_since
                FROM told WHERE kind = '{to_kind}' AND op LIKE '{to_op}'
                UNION ALL
                SELECT w.root_revision, w.target, w.target_key, w.target_since, t.predecessor_revision,
                    CASE WHEN t.kind = '{from_kind}' AND t.op LIKE '{from_op}' THEN t.revision END,
                    CASE WHEN t.kind = '{from_kind}' AND t.op LIKE '{from_op}' THEN t.since_root_ns END
                FROM walk w JOIN told t ON t.root_revision = w.root_revision
                    AND t.revision = w.predecessor_revision
                WHERE w.start IS NULL
            ), ranked AS (
                SELECT start, target, target_since - start_since AS total, row_number() OVER (
                    PARTITION BY start, target_key ORDER BY target, root_revision) AS rank
                FROM walk WHERE start IS NOT NULL)
            SELECT DISTINCT start, target, total FROM ranked WHERE rank = 1 ORDER BY 1, 2"
        );
        assert_eq!(found, rows(&session, &oracle).await, "{from} {to}");
    }
}

#[tokio::test]
async fn the_path_of_a_whole_cascade_is_that_of_reach() {
    let session = deployments().await;
    let different = "WITH signatures AS (
            SELECT path_id, string_agg(step, ' > ' ORDER BY position) AS path FROM path_steps GROUP BY path_id)
        SELECT count(*) FROM paths(NULL, NULL) p
        JOIN reach r ON r.root_revision = p.root_revision AND r.revision = p.revision
        JOIN signatures s ON s.path_id = r.path_id
        WHERE s.path <> p.path OR r.since_root_ns <> p.total_ns";
    assert_eq!(number(&session, different).await, 0);
    let untold = "SELECT count(*) FROM paths(NULL, 'Pod:ready')
        WHERE reaction_ns + api_ns + storage_ns <> total_ns";
    assert_eq!(number(&session, untold).await, 0);
    let pods = number(&session, "SELECT count(*) FROM paths(NULL, 'Pod:ready')").await;
    let ready = "SELECT count(*) FROM (SELECT DISTINCT root_revision, uid FROM stages
        WHERE kind = 'Pod' AND milestone = 'ready'
        AND root_revision IN (SELECT revision FROM roots WHERE root_class IN ('client', 'timer')))";
    assert_eq!(pods, number(&session, ready).await);
    assert!(pods > 30, "{pods}");
    let last = "SELECT count(*) FROM (SELECT root_revision FROM paths(NULL, 'Pod:ready')
        GROUP BY root_revision HAVING count(*) FILTER (WHERE is_last) <> 1)";
    assert_eq!(number(&session, last).await, 0);
}

#[tokio::test]
async fn functions_are_used_inside_larger_queries() {
    let session = deployments().await;
    let by_subquery =
        "SELECT count(*) FROM cascade((SELECT max(root_revision) FROM reach WHERE depth = 3)) c
        JOIN changes USING (cluster_id, epoch, revision, ordinal)";
    assert!(number(&session, by_subquery).await > 1);
    let nothing = "SELECT count(*) FROM critical_path((SELECT max(revision) FROM roots WHERE actor_is_missing))"
        .replace("actor_is_missing", "root_class = 'no such'");
    assert_eq!(number(&session, &nothing).await, 0);
    let percentiles = "SELECT path, count(*) AS n, quantile_disc(total_ns, [0.5, 0.99]) AS q
        FROM paths('Deployment/create', 'Pod/create') GROUP BY path ORDER BY n DESC LIMIT 1";
    let found = rows(&session, percentiles).await;
    assert!(
        found[0].contains("Deployment.apps/create@kubectl > ReplicaSet.apps/create@deployment-controller > Pod/create"),
        "{found:?}"
    );
}

#[tokio::test]
async fn wrong_arguments_are_told() {
    let session = deployments().await;
    for (query, expected) in [
        ("SELECT * FROM cascade()", "one argument"),
        ("SELECT * FROM cascade('web')", "revision of a change"),
        (
            "SELECT * FROM cascade((SELECT revision FROM roots))",
            "add max()",
        ),
        ("SELECT * FROM critical_path(NULL)", "revision of a change"),
        ("SELECT * FROM paths('Pod')", "two ends"),
        (
            "SELECT * FROM paths('Pod/patch', NULL)",
            "operations are create",
        ),
        (
            "SELECT * FROM paths('Pod:ready', NULL)",
            "not with a milestone",
        ),
    ] {
        let error = session.query(query).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{query}: {error}");
    }
}
