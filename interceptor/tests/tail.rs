//! `tail` as docs/tail.md describes it: a user of etcd that can only read, no proxy in the path, and
//! a trace that goes on where it was.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use cascade_proto::tables::{Call, GapKind};
use etcd_client::{Client, ConnectOptions};
use support::oracle::{assert_complete, existing, recorded, states_as_told, watched};
use support::{Etcd, Interceptor, Workload, eventually, trace};
use tempfile::TempDir;

/// The commands of docs/tail.md, after those that give etcd a root user.
const COMMANDS: [&[&str]; 7] = [
    &["user", "add", "root:root"],
    &["user", "grant-role", "root", "root"],
    &["role", "add", "cascade-tail"],
    &[
        "role",
        "grant-permission",
        "cascade-tail",
        "read",
        "--prefix",
        "",
    ],
    &["user", "add", "cascade-tail:secret"],
    &["user", "grant-role", "cascade-tail", "cascade-tail"],
    &["auth", "enable"],
];

async fn client_of(etcd: &Etcd, user: &str, password: &str) -> Client {
    let options = ConnectOptions::new().with_user(user, password);
    Client::connect([etcd.endpoint()], Some(options))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_can_only_read_suffices_and_the_trace_goes_on_where_it_was() {
    let etcd = Etcd::start();
    let before = Workload::new(1).writes(&mut etcd.client().await, 50).await;
    for command in COMMANDS {
        etcd.etcdctl(command);
    }
    let mut root = client_of(&etcd, "root", "root").await;
    let mut reader = client_of(&etcd, "cascade-tail", "secret").await;
    let refused = reader.put("a", "1", None).await.unwrap_err().to_string();
    assert!(refused.contains("permission denied"), "{refused}");

    let folder = TempDir::new().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let trace = folder.path().join("trace");
    let tail = || {
        Interceptor::start(&[
            "tail",
            "--etcd",
            &etcd.endpoint(),
            "--trace-dir",
            trace.to_str().unwrap(),
            "--flush-interval=50ms",
            "--ledger-user=cascade-tail",
            &format!("--ledger-password-file={}", password.display()),
        ])
    };
    let recorded_to = async |running: &Interceptor, revision: i64| {
        eventually("the ledger has seen the last revision", async || {
            (running.metric("cascade_ledger_durable_revision") >= revision as f64).then_some(())
        })
        .await;
    };
    let mut workload = Workload::new(2);
    let running = tail();
    running.ready().await;
    recorded_to(&running, workload.writes(&mut root, 100).await).await;
    // What is written while nobody records is caught up with, after a kill as after an end in order.
    running.kill();
    workload.writes(&mut root, 100).await;
    let running = tail();
    recorded_to(&running, workload.writes(&mut root, 100).await).await;
    assert_eq!(running.stop().code(), Some(0));
    workload.writes(&mut root, 100).await;
    let running = tail();
    let last = workload.writes(&mut root, 100).await;
    recorded_to(&running, last).await;
    assert_eq!(running.stop().code(), Some(0));

    let changes = trace::changes(&trace);
    assert_complete(&changes, before + 1, last);
    assert_eq!(
        recorded(&changes),
        watched(&mut root, before + 1, last).await
    );
    let states = trace::states(&trace);
    assert!(states.iter().all(|state| state.snapshot_revision == before));
    assert_eq!(states_as_told(&states), existing(&mut root, before).await);
    assert!(trace::rows::<Call>(&trace).is_empty());
    let gaps = trace::gaps(&trace);
    assert!(
        gaps.iter()
            .all(|gap| gap.kind == GapKind::Restart && !gap.covers_revisions),
        "{gaps:?}"
    );
}
