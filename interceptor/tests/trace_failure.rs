//! Recording fails in front of a real etcd: the traffic goes on, or ends in order if that was asked
//! for; the log says so once, and the trace tells what it lacks.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};

use cascade_proto::tables::GapKind;
use etcd_client::{Client, ConnectOptions};
use support::oracle::assert_complete;
use support::{Etcd, Interceptor, eventually, revision, trace, within_patience};
use tempfile::TempDir;

/// Lines of the log that complain.
fn complaints(interceptor: &Interceptor) -> Vec<String> {
    let log = interceptor.log();
    let complains = |line: &&str| line.contains(r#""WARN""#) || line.contains(r#""ERROR""#);
    log.lines().filter(complains).map(str::to_owned).collect()
}

/// Takes a trace folder away; what is returned puts it back.
fn take_away(folder: &Path) -> (PathBuf, PathBuf) {
    let away = folder.with_extension("away");
    std::fs::rename(folder, &away).unwrap();
    (away, folder.to_owned())
}

async fn put(client: &mut Client, key: &str) -> i64 {
    let answer = client.put(key, "x", None).await.unwrap();
    answer.header().unwrap().revision()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_folder_that_is_gone_costs_no_call_and_is_complained_of_once() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let interceptor = Interceptor::serve(&etcd, &trace, &["--flush-interval=10ms"]);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    put(&mut client, "/registry/configmaps/n/before").await;
    let (away, place) = take_away(&trace);
    eventually("the store fails again and again", async || {
        put(&mut client, "/registry/configmaps/n/meanwhile").await;
        let attempts = interceptor.labelled_metric("cascade_store_failures_total", "journal");
        (attempts >= 3.0).then_some(())
    })
    .await;
    assert_eq!(interceptor.metric("cascade_store_failing"), 1.0);
    assert_eq!(interceptor.page("/healthz").0, 200);
    eventually("calls are refused", async || {
        put(&mut client, "/registry/configmaps/n/meanwhile").await;
        (interceptor.metric("cascade_store_rejected_calls_total") > 0.0).then_some(())
    })
    .await;
    // One for the store, one for the ledger whose watch ends.
    let complaints = complaints(&interceptor);
    assert!((1..=2).contains(&complaints.len()), "{complaints:#?}");
    assert!(complaints[0].contains("cannot write the trace"));

    std::fs::rename(away, place).unwrap();
    interceptor.ready().await;
    let last = put(&mut client, "/registry/configmaps/n/after").await;
    interceptor.ledger_reached(last).await;
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));
    assert_complete(&trace::changes(&trace), 2, last);
    let gaps = trace::gaps(&trace);
    let lost: Vec<_> = gaps
        .iter()
        .filter(|gap| gap.kind == GapKind::Storage)
        .collect();
    assert_eq!(lost.len(), 1, "{gaps:?}");
    assert!(lost[0].count > Some(0), "{gaps:?}");
    assert!(lost[0].from < lost[0].to && !lost[0].covers_revisions);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_preferred_to_traffic_without_a_trace_if_asked_for() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let flags = ["--on-trace-failure=exit", "--flush-interval=10ms"];
    let interceptor = Interceptor::serve(&etcd, &trace, &flags);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    let answered = put(&mut client, "/registry/configmaps/n/before").await;
    take_away(&trace);
    // Whatever is recorded next cannot be written. Rows that waited may bring the end before the answer.
    let after = client.put("/registry/configmaps/n/after", "x", None).await;
    let last = after.map_or(answered, |answer| answer.header().unwrap().revision());
    let complaints_until_the_end = tokio::task::spawn_blocking(move || interceptor.end());
    let (status, log) = within_patience("the interceptor ends", complaints_until_the_end)
        .await
        .unwrap();
    assert_eq!(status.code(), Some(73), "{log}");
    assert!(log.contains("recording has failed: ending"), "{log}");
    assert!(log.contains("the trace folder cannot be written"), "{log}");
    // etcd was not harmed, and nothing that was answered is missing in it.
    assert!(revision(&mut etcd.client().await).await >= last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_etcd_refuses_costs_no_call_and_is_complained_of_once() {
    let etcd = Etcd::start();
    etcd.etcdctl(&["user", "add", "root:secret"]);
    etcd.etcdctl(&["user", "grant-role", "root", "root"]);
    etcd.etcdctl(&["auth", "enable"]);
    let folder = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, folder.path(), &["--flush-interval=10ms"]);
    let user = ConnectOptions::new().with_user("root", "secret");
    let mut client = Client::connect([interceptor.endpoint()], Some(user))
        .await
        .unwrap();
    let mut puts = 0;
    eventually("the ledger is refused again and again", async || {
        put(&mut client, "/registry/configmaps/n/meanwhile").await;
        puts += 1;
        let (_, metrics) = interceptor.page("/metrics");
        let refused = metrics.contains("cascade_ledger_interruptions_total{");
        (refused && interceptor.metric("cascade_ledger_interruptions_total") >= 4.0).then_some(())
    })
    .await;
    assert_eq!(interceptor.metric("cascade_ledger_connected"), 0.0);
    assert_eq!(interceptor.page("/readyz").0, 503);
    let complaints = complaints(&interceptor);
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    assert!(complaints[0].contains("user name is empty"));
    // Calls are recorded without it, and changes as soon as it is let in.
    etcd.etcdctl(&["--user=root:secret", "auth", "disable"]);
    interceptor.ready().await;
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));
    let calls = trace::rows::<cascade_proto::tables::Call>(folder.path());
    assert_eq!(calls.len(), puts);
}
