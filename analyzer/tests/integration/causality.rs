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
