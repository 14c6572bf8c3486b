//! Observation is switched off and on at run time, in front of a real etcd: the traffic does not
//! notice, and the trace says exactly what was not observed.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use cascade_proto::tables::{Call, CallOutcome, Gap, GapKind};
use etcd_client::Client;
use support::oracle::assert_complete;
use support::{Etcd, Interceptor, eventually, revision, trace};
use tempfile::TempDir;

async fn put(client: &mut Client, key: &str) {
    client.put(key, "x", None).await.unwrap();
}

/// Outcomes of recorded calls, by their key.
fn calls(trace: &Path) -> BTreeMap<String, CallOutcome> {
    let calls: Vec<Call> = trace::rows(trace);
    let key = |call: &Call| call.key.clone().expect("a put has a key");
    calls.iter().map(|call| (key(call), call.outcome)).collect()
}

/// Gaps about observation, the oldest first.
fn switched(trace: &Path) -> Vec<Gap> {
    let mut gaps = trace::gaps(trace);
    gaps.retain(|gap| gap.kind == GapKind::ObservationOff);
    assert!(gaps.iter().all(|gap| !gap.covers_revisions), "{gaps:?}");
    gaps
}

fn detail(gap: &Gap) -> &str {
    gap.detail.as_deref().unwrap()
}

async fn stop(interceptor: Interceptor, client: &mut Client) -> i64 {
    let last = revision(client).await;
    interceptor.ledger_reached(last).await;
    assert_eq!(interceptor.stop().code(), Some(0));
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_observed_is_told_exactly() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[]);
    interceptor.ready().await;
    assert_eq!(interceptor.page("/observation"), (200, "on\n".to_owned()));
    // Connections 1 and 2 are there before; 1 carries nothing while observation is off.
    let mut quiet = interceptor.client().await;
    put(&mut quiet, "quiet-before").await;
    let mut busy = interceptor.client().await;
    put(&mut busy, "busy-before").await;

    assert_eq!(interceptor.switch("off"), (200, "off\n".to_owned()));
    assert_eq!(interceptor.switch("off"), (200, "off\n".to_owned()));
    assert_eq!(interceptor.page("/observation"), (200, "off\n".to_owned()));
    assert_eq!(interceptor.metric("cascade_observer_on"), 0.0);
    put(&mut busy, "busy-meanwhile").await;
    // Connection 3 begins and ends meanwhile, connection 4 begins.
    let mut short = interceptor.client().await;
    put(&mut short, "short-meanwhile").await;
    drop(short);
    let mut new = interceptor.client().await;
    put(&mut new, "new-meanwhile").await;
    eventually("connection 3 has ended", async || {
        (interceptor.metric("cascade_observer_unobserved_connections") == 2.0).then_some(())
    })
    .await;

    assert_eq!(interceptor.switch("on"), (200, "on\n".to_owned()));
    assert_eq!(interceptor.metric("cascade_observer_on"), 1.0);
    for (client, key) in [
        (&mut busy, "busy-after"),
        (&mut new, "new-after"),
        (&mut quiet, "quiet-after"),
    ] {
        put(client, key).await;
    }
    // Connection 5.
    let mut late = interceptor.client().await;
    put(&mut late, "late-after").await;
    drop(busy);
    eventually("connection 2 has ended", async || {
        (interceptor.metric("cascade_observer_unobserved_connections") == 1.0).then_some(())
    })
    .await;
    let log = interceptor.log();
    assert_eq!(log.matches("observation was switched off").count(), 1);
    assert_eq!(log.matches("observation was switched on again").count(), 1);
    let last = stop(interceptor, &mut late).await;

    // The ledger has everything, the calls only those that could be seen.
    assert_complete(&trace::changes(trace.path()), 2, last);
    let observed = ["quiet-before", "busy-before", "quiet-after", "late-after"];
    let observed = observed.map(|key| (key.to_owned(), CallOutcome::Committed));
    assert_eq!(calls(trace.path()), BTreeMap::from(observed));

    let gaps = switched(trace.path());
    let [off, on, first, second] = gaps.as_slice() else {
        panic!("{gaps:#?}");
    };
    assert_eq!((off.to, off.count), (None, None));
    assert!(detail(off).contains("switched off"), "{off:?}");
    assert_eq!((on.from, on.count), (off.from, Some(2)));
    assert!(on.to > on.from);
    assert!(detail(on).ends_with("connections 2, 4"), "{on:?}");
    for (gap, number) in [(first, 2), (second, 4)] {
        assert_eq!((gap.from, gap.count), (on.to, Some(1)), "{gap:?}");
        assert!(gap.to > gap.from);
        assert!(detail(gap).starts_with(&format!("connection {number}:")));
    }
}

/// A call that is under way when observation ends has no known outcome.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_becomes_unknown() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[]);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    put(&mut client, "before").await;
    // The client can have its answer before the observer has seen the end of it.
    eventually("the call before is observed", async || {
        let calls = interceptor.labelled_metric("cascade_observer_calls_total", "committed");
        (calls > 0.0).then_some(())
    })
    .await;
    etcd.freeze();
    let mut pending = client.clone();
    let pending = tokio::spawn(async move { put(&mut pending, "pending").await });
    eventually("the call is under way", async || {
        (interceptor.metric("cascade_observer_open_calls") > 0.0).then_some(())
    })
    .await;
    interceptor.switch("off");
    etcd.thaw();
    pending.await.unwrap();
    assert_eq!(interceptor.metric("cascade_observer_open_calls"), 0.0);
    stop(interceptor, &mut client).await;
    let expected = [
        ("before".to_owned(), CallOutcome::Committed),
        ("pending".to_owned(), CallOutcome::Unknown),
    ];
    assert_eq!(calls(trace.path()), BTreeMap::from(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_started_off_can_be_switched_on() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &["--observe=off"]);
    interceptor.ready().await;
    let mut early = interceptor.client().await;
    put(&mut early, "unseen").await;
    assert_eq!(interceptor.page("/observation"), (200, "off\n".to_owned()));
    interceptor.switch("on");
    let mut late = interceptor.client().await;
    put(&mut late, "seen").await;
    stop(interceptor, &mut late).await;
    let expected = [("seen".to_owned(), CallOutcome::Committed)];
    assert_eq!(calls(trace.path()), BTreeMap::from(expected));
    let gaps = switched(trace.path());
    let counts: Vec<_> = gaps.iter().map(|gap| gap.count).collect();
    assert_eq!(counts, [None, Some(1), Some(1)], "{gaps:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_nothing_to_switch_where_nothing_is_observed() {
    let etcd = Etcd::start();
    let interceptor = Interceptor::relay(&etcd);
    assert_eq!(interceptor.page("/observation").0, 409);
    assert_eq!(interceptor.switch("on").0, 409);
}
