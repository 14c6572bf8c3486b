//! Causes in recorded traces of real control planes.

use cascade_analyzer::session::{EngineOptions, Session};

use crate::catalog::number;
use crate::recorded::traces;

#[tokio::test]
async fn every_change_of_a_recorded_trace_has_a_cause_or_is_a_root() {
    for trace in traces() {
        let session = Session::open(std::slice::from_ref(&trace), &EngineOptions::default())
            .await
            .unwrap();
        let changes = number(&session, "SELECT count(*) FROM raw.changes").await;
        let explained = "SELECT count(*) FROM (
            SELECT DISTINCT effect_revision, effect_ordinal FROM edges WHERE chosen AND relation = 'trigger'
            UNION SELECT revision, ordinal FROM roots)";
        assert_eq!(number(&session, explained).await, changes, "{trace}");
        let both = "SELECT count(*) FROM roots JOIN edges ON effect_revision = revision
            AND effect_ordinal = ordinal WHERE chosen AND relation = 'trigger'";
        assert_eq!(number(&session, both).await, 0, "{trace}");
        let early = "SELECT count(*) FROM edges WHERE cause_revision > effect_revision";
        assert_eq!(number(&session, early).await, 0, "{trace}");
        let orphans = "SELECT count(*) FROM roots WHERE root_class = 'orphan'";
        assert_eq!(number(&session, orphans).await, 0, "{trace}");
        let cpids = "SELECT count(*) FROM cpids WHERE cpid <> ''";
        assert_eq!(number(&session, cpids).await, changes, "{trace}");
        let untold =
            "SELECT count(*) FROM reach WHERE reaction_ns + api_ns + storage_ns <> since_root_ns
            OR path_id NOT IN (SELECT path_id FROM path_steps)";
        assert_eq!(number(&session, untold).await, 0, "{trace}");
        let counted = "SELECT sum(changes_exclusive) FROM cascades";
        let exclusive = "SELECT count(*) FROM cpids WHERE root_count = 1";
        assert_eq!(
            number(&session, counted).await,
            number(&session, exclusive).await,
            "{trace}"
        );
    }
}

#[tokio::test]
async fn a_hop_is_a_chosen_trigger_and_its_parts_add_up() {
    // One with request spans, one without.
    for (trace, has_spans) in [("truth/deployments/trace", true), ("traces/rollout", false)] {
        let trace = format!("{}/../testdata/{trace}", env!("CARGO_MANIFEST_DIR"));
        let session = Session::open(std::slice::from_ref(&trace), &EngineOptions::default())
            .await
            .unwrap();
        let count = async |query: &str| number(&session, query).await;
        let hops = count("SELECT count(*) FROM hops").await;
        let edges = "SELECT count(*) FROM edges WHERE relation = 'trigger' AND chosen";
        assert_eq!(hops, count(edges).await, "{trace}");
        let with_parts =
            "SELECT count(*) FROM hops WHERE api_ns IS NOT NULL AND storage_ns IS NOT NULL";
        assert_eq!(count(with_parts).await > 0, has_spans, "{trace}");
        let wrong = "SELECT count(*) FROM hops
            WHERE reaction_ns + coalesce(api_ns, 0) + coalesce(storage_ns, 0) <> total_ns";
        assert_eq!(count(wrong).await, 0, "{trace}");
        let effects =
            "SELECT count(*) FROM (SELECT DISTINCT effect_revision, effect_ordinal FROM hops)";
        let last = "SELECT count(*) FROM hops WHERE is_last_cause";
        assert_eq!(count(last).await, count(effects).await, "{trace}");
        // The kernel takes the parts from its own columns.
        let other = "SELECT count(*) FROM hops JOIN reach USING (cluster_id, epoch)
            WHERE effect_revision = revision AND effect_ordinal = ordinal AND depth = 1
            AND cause_revision = predecessor_revision AND cause_ordinal = predecessor_ordinal
            AND hops.reaction_ns <> reach.reaction_ns";
        assert_eq!(count(other).await, 0, "{trace}");
    }
}

/// Names are only looked at here: the workload's Deployments are `web-1`, `web-2`, …
#[tokio::test]
async fn no_rollout_has_a_root_of_another_one() {
    let trace = traces()
        .into_iter()
        .find(|trace| trace.ends_with("rollout"))
        .unwrap();
    let session = Session::open(&[trace], &EngineOptions::default())
        .await
        .unwrap();
    let foreign = "SELECT count(*) FROM reach
        JOIN raw.changes AS root ON root.revision = root_revision AND root.ordinal = root_ordinal
        JOIN raw.changes AS change ON change.revision = reach.revision AND change.ordinal = reach.ordinal
        WHERE change.namespace = 'rollout' AND change.name LIKE 'web-%'
        AND root.kind IN ('Deployment', 'Service') AND substr(root.name, 1, 5) <> substr(change.name, 1, 5)";
    assert_eq!(number(&session, foreign).await, 0);
    let followed = "SELECT count(*) FROM reach
        JOIN raw.changes AS root ON root.revision = root_revision AND root.ordinal = root_ordinal
        JOIN raw.changes AS change ON change.revision = reach.revision AND change.ordinal = reach.ordinal
        WHERE change.kind = 'Pod' AND root.kind = 'Deployment'";
    assert!(number(&session, followed).await > 100);
}
