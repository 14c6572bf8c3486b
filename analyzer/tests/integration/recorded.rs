//! The analyzer over the traces in testdata/, which come from real control planes.

use std::fs;
use std::path::{Path, PathBuf};

use cascade_analyzer::session::{EngineOptions, Session};

use crate::catalog::{number, rows};
use crate::program::cascade;

pub(crate) fn traces() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/traces");
    let mut traces: Vec<String> = folder
        .read_dir()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/record makes it", folder.display()))
        .map(|entry| entry.unwrap().path().to_str().unwrap().to_owned())
        .collect();
    traces.sort();
    assert!(
        traces.len() >= 4,
        "rollout, batch, stateful and mixed: {traces:?}"
    );
    traces
}

#[test]
fn recorded_traces_are_complete() {
    for trace in traces() {
        let answer = cascade(&["verify", &trace, "--format", "json"]);
        assert_eq!(
            answer.code, 0,
            "{trace}: {}{}",
            answer.stdout, answer.stderr
        );
        let found: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
        for history in found["histories"].as_array().unwrap() {
            assert_eq!(history["history"]["first_expected"], 2, "{trace}");
            let rate = history["join_rate"].as_f64().unwrap();
            assert!(rate >= 0.999, "{trace}: {rate}");
        }
    }
}

#[tokio::test]
async fn the_view_of_recorded_changes_keeps_every_row() {
    for trace in traces() {
        let session = Session::open(std::slice::from_ref(&trace), &EngineOptions::default())
            .await
            .unwrap();
        let raw = number(&session, "SELECT count(*) FROM raw.changes").await;
        let view = "SELECT count(*) FROM (SELECT revision, ordinal, call_id, actor, storage_ns \
            FROM changes ORDER BY revision)";
        assert_eq!(number(&session, view).await, raw, "{trace}");
        // A commit is not before its call, and kube-controller-manager writes under its own name.
        let early = "SELECT count(*) FROM changes WHERE storage_ns < 0 OR commit_time < call_time";
        assert_eq!(number(&session, early).await, 0, "{trace}");
        let actors = rows(
            &session,
            "SELECT DISTINCT actor FROM changes WHERE kind = 'Pod'",
        )
        .await;
        assert!(
            actors.contains(&"kube-controller-manager".to_owned()),
            "{trace}: {actors:?}"
        );
    }
}

#[tokio::test]
async fn recordings_of_several_clusters_are_kept_apart() {
    let session = Session::open(&traces(), &EngineOptions::default())
        .await
        .unwrap();
    let clusters = number(&session, "SELECT count(DISTINCT cluster_id) FROM changes").await;
    assert_eq!(usize::try_from(clusters).unwrap(), traces().len());
    let mut sum = 0;
    for trace in traces() {
        let alone = Session::open(&[trace], &EngineOptions::default())
            .await
            .unwrap();
        sum += number(&alone, "SELECT count(*) FROM changes").await;
    }
    assert_eq!(number(&session, "SELECT count(*) FROM changes").await, sum);
}

/// Files declare their order, and those of two recordings overlap.
#[tokio::test]
async fn a_recording_and_its_copy_are_merged_in_order() {
    let original = traces().remove(0);
    let folder = tempfile::tempdir().unwrap();
    copy(Path::new(&original), folder.path());
    let both = [original.clone(), folder.path().to_str().unwrap().to_owned()];
    let session = Session::open(&both, &EngineOptions::default())
        .await
        .unwrap();
    let alone = Session::open(&[original], &EngineOptions::default())
        .await
        .unwrap();
    let query = "SELECT revision, key FROM changes ORDER BY epoch, revision, ordinal";
    assert_eq!(rows(&session, query).await, rows(&alone, query).await);
    let stored = "SELECT revision FROM stored.changes ORDER BY epoch, revision, ordinal";
    let twice = rows(&session, stored).await;
    let numbers: Vec<i64> = twice.iter().map(|row| row.parse().unwrap()).collect();
    assert!(numbers.is_sorted());
}

/// What follows causes reads changes in order of revisions, and must not have to sort them.
#[tokio::test]
async fn recorded_changes_are_read_in_order_with_their_writes() {
    for trace in traces() {
        let session = Session::open(std::slice::from_ref(&trace), &EngineOptions::default())
            .await
            .unwrap();
        let query = "SELECT revision, actor, commit_unix_nano FROM changes \
            ORDER BY epoch, revision, ordinal";
        let plan = rows(&session, &format!("EXPLAIN {query}")).await.join("\n");
        assert!(!plan.contains("SortExec"), "{trace}: {plan}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
