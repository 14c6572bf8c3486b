//! Generated traces hold what was asked for, and every revision fits to the one before it.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cascade_interceptor::store::read_table;
use cascade_proto::tables::{Call, Change, Op, Request, RequestCall, Table};
use cascade_tools::generate::{GenerateOptions, generate};

const CHANGES: u64 = 4_000;
const PODS: u32 = 30;
const SERVICES: u32 = 20;
const REVISIONS: u32 = 300;

fn testdata(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(folder)
}

fn rows<T: Table>(folder: &Path) -> Vec<T> {
    let mut rows = Vec::new();
    read_table(folder, None, |row| {
        rows.push(row);
        ControlFlow::Continue(())
    })
    .unwrap();
    rows
}

async fn generated(output: PathBuf) -> PathBuf {
    let options = GenerateOptions {
        from: vec![
            testdata("truth/deployments/trace"),
            testdata("traces/rollout"),
        ],
        output,
        changes: CHANGES,
        concurrency: 3,
        owner_pods: PODS,
        services: SERVICES,
        object_revisions: REVISIONS,
    };
    let made = generate(&options).await.unwrap();
    assert_eq!(made.changes, CHANGES);
    options.output
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_trace_is_consistent_and_has_the_large_shapes() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path().join("a")).await;
    let changes: Vec<Change> = rows(&trace);
    assert_eq!(changes.len() as u64, CHANGES);

    let mut newest: HashMap<&str, (i64, i64)> = HashMap::new();
    let mut uids: HashMap<&str, &str> = HashMap::new();
    let mut seen = i64::MIN;
    for (revision, change) in (2..).zip(&changes) {
        assert_eq!(change.revision, revision);
        let now = change.seen.unwrap().unix_nano;
        assert!(now >= seen, "revision {revision} is seen before the last");
        seen = now;
        let known = newest.get(change.key.as_str()).copied();
        match change.op {
            Op::Create => assert_eq!((known, change.prev_revision), (None, None)),
            Op::Update | Op::Delete => {
                assert_eq!(known.map(|(newest, _)| newest), change.prev_revision);
                assert_eq!(known.map(|(_, created)| created), change.create_revision);
            }
        }
        match change.op {
            Op::Delete => newest.remove(change.key.as_str()),
            _ => newest.insert(&change.key, (revision, change.create_revision.unwrap())),
        };
        if let Some(uid) = &change.object.uid {
            let key = uids.entry(uid).or_insert(&change.key);
            assert_eq!(*key, change.key, "one uid, two keys");
        }
    }

    let created = |kind: &str| {
        let kind = kind.to_owned();
        changes.iter().filter(move |change| {
            change.op == Op::Create && change.object.kind.as_deref() == Some(&kind)
        })
    };
    let mut pods: HashMap<&str, u32> = HashMap::new();
    for pod in created("Pod") {
        for owner in pod.object.owners.iter().flatten() {
            *pods.entry(&owner.uid).or_default() += 1;
        }
    }
    assert!(pods.values().any(|pods| *pods >= PODS), "{pods:?}");
    let mut services: HashMap<Option<&str>, u32> = HashMap::new();
    for service in created("Service") {
        *services
            .entry(service.object.namespace.as_deref())
            .or_default() += 1;
    }
    assert!(services.values().any(|services| *services >= SERVICES));
    let mut versions: HashMap<&str, u32> = HashMap::new();
    for change in &changes {
        *versions.entry(&change.key).or_default() += 1;
    }
    assert!(versions.values().any(|versions| *versions >= REVISIONS));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_requests_still_belong_to_their_changes() {
    let folder = tempfile::tempdir().unwrap();
    let trace = generated(folder.path().join("a")).await;
    let changes: HashMap<i64, String> = rows::<Change>(&trace)
        .into_iter()
        .map(|change| (change.revision, change.key))
        .collect();
    let calls: Vec<Call> = rows(&trace);
    assert!(calls.len() > changes.len() / 2);
    let mut ids = HashSet::new();
    for call in &calls {
        assert_eq!(changes.get(&call.revision.unwrap()), call.key.as_ref());
        assert!(ids.insert(&call.call_id), "two calls have one id");
    }
    let spans: HashSet<Option<String>> = calls.iter().map(|call| call.span_id.clone()).collect();
    let requests: HashSet<String> = rows::<Request>(&trace)
        .into_iter()
        .map(|request| request.span_id)
        .collect();
    let links: Vec<RequestCall> = rows(&trace);
    assert!(!links.is_empty());
    let linked: HashSet<&str> = links
        .iter()
        .map(|link| link.call_span_id.as_str())
        .collect();
    assert_eq!(linked.len(), links.len(), "two calls have one span");
    for link in &links {
        assert!(spans.contains(&Some(link.call_span_id.clone())));
        assert!(requests.contains(&link.request_span_id));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_options_give_the_same_trace() {
    let folder = tempfile::tempdir().unwrap();
    let first = generated(folder.path().join("a")).await;
    let second = generated(folder.path().join("b")).await;
    assert!(rows::<Change>(&first) == rows::<Change>(&second));
    assert!(rows::<Call>(&first) == rows::<Call>(&second));
}
