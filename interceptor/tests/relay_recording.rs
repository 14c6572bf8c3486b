//! The whole interceptor in front of a real etcd: what it records, and that nothing that happens to
//! recording, to etcd or to itself costs a change.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cascade_proto::tables::{Call, CallOutcome, Change, Gap, GapKind};
use support::oracle::{assert_complete, recorded, watched};
use support::{Etcd, Interceptor, Site, Workload, eventually, revision, trace};
use tempfile::TempDir;
use tokio::sync::watch;

/// Whether `call` is what made `change`.
fn made(call: &Call, change: &Change) -> bool {
    let key = call.key.as_deref().unwrap_or_default();
    let in_range = match call.range_end.as_deref() {
        None => key == change.key,
        Some(end) => key <= change.key.as_str() && change.key.as_str() < end,
    };
    call.revision == Some(change.revision) && in_range
}

/// Asserts that no call is there twice, and that each commit that is claimed took place.
fn assert_true(calls: &[Call], changes: &[Change]) {
    let mut seen = HashSet::new();
    for call in calls {
        assert!(
            seen.insert((&call.call_id, call.op_index)),
            "twice: {call:?}"
        );
        let claims_a_change = call.outcome == CallOutcome::Committed
            && call.key.is_some()
            && call.revision.is_some()
            && call.deleted != Some(0);
        if claims_a_change {
            assert!(changes.iter().any(|change| made(call, change)), "{call:?}");
        }
    }
}

fn kinds(gaps: &[Gap]) -> Vec<GapKind> {
    gaps.iter().map(|gap| gap.kind).collect()
}

/// Runs each case with plain text and with TLS on both legs.
macro_rules! plain_and_tls {
    ($($case:ident),+ $(,)?) => {
        mod plain {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Site::plain()).await;
            })+
        }
        mod tls {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(super::Site::tls()).await;
            })+
        }
    };
}

plain_and_tls!(
    every_change_has_the_call_that_made_it,
    kills_under_load_lose_and_repeat_no_change,
    an_outage_of_etcd_is_survived_and_told,
    a_frozen_etcd_does_not_hold_up_the_end,
);

async fn every_change_has_the_call_that_made_it(etcd: Site) {
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &["--flush-interval=50ms"]);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    let last = Workload::new(1).writes(&mut client, 500).await;
    assert_eq!(etcd.page_at(interceptor.address(), "/health").0, 200);
    interceptor.ledger_reached(last).await;
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));

    // Reading asserts that no journal is left.
    let changes = trace::changes(trace.path());
    assert_complete(&changes, 2, last);
    assert_eq!(
        recorded(&changes),
        watched(&mut etcd.client().await, 2, last).await
    );
    let calls: Vec<Call> = trace::rows(trace.path());
    assert_true(&calls, &changes);
    for change in &changes {
        let call = calls.iter().find(|call| made(call, change));
        let call = call.unwrap_or_else(|| panic!("no call made {change:?}"));
        assert_eq!(call.outcome, CallOutcome::Committed);
        assert_eq!(call.cluster_id.as_ref(), Some(&change.cluster_id));
        assert_eq!(call.epoch, Some(0));
        assert_eq!(call.instance, change.instance);
        // The commit lies between request and answer; the ledger sees it on its own connection.
        assert!(call.request < change.seen.unwrap());
    }
    let gaps = trace::gaps(trace.path());
    assert_eq!(kinds(&gaps), [GapKind::UnparsedConnection], "{gaps:?}");
    assert!(!gaps[0].covers_revisions);
}

/// Of several interceptors of a cluster one has the ledger. The calls that the others see fit its changes.
#[tokio::test(flavor = "multi_thread")]
async fn calls_seen_without_a_ledger_fit_the_ledger_of_another_interceptor() {
    let etcd = Etcd::start();
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let with_ledger = Interceptor::serve(&etcd, first.path(), &["--flush-interval=50ms"]);
    with_ledger.ready().await;
    let without = Interceptor::serve(&etcd, second.path(), &["--ledger=off"]);
    without.ready().await;
    let mut client = without.client().await;
    // From the first answer on it knows the cluster, and hashes.
    let last = eventually("several calls are recorded", async || {
        let answer = client.put("/registry/pods/n/a", "1", None).await.unwrap();
        (without.labelled_metric("cascade_observer_calls_total", "committed") >= 5.0)
            .then(|| answer.header().unwrap().revision())
    })
    .await;
    with_ledger.ledger_reached(last).await;
    drop(client);
    assert_eq!(without.stop().code(), Some(0));
    assert_eq!(with_ledger.stop().code(), Some(0));
    let changes = trace::changes(first.path());
    let calls: Vec<Call> = trace::rows(second.path());
    assert_eq!(calls.len(), changes.len());
    for call in &calls {
        let change = changes.iter().find(|change| made(call, change)).unwrap();
        assert_eq!(call.cluster_id.as_ref(), Some(&change.cluster_id));
        assert_eq!(call.epoch, None);
        if call.value_hash.is_some() {
            assert_eq!(call.value_hash, change.object.value_hash);
        }
    }
    assert!(
        calls.iter().any(|call| call.value_hash.is_some()),
        "{calls:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn carriers_of_a_file_are_read_and_malformed_ones_are_counted() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let carriers = folder.path().join("carriers.toml");
    std::fs::write(
        &carriers,
        r#"carrier = [
            { label = "example.org/cpid", format = "text" },
            { annotation = "eppppi.github.io/koc", format = "koc" },
        ]"#,
    )
    .unwrap();
    let trace = folder.path().join("trace");
    let flag = format!("--carriers={}", carriers.display());
    let interceptor = Interceptor::serve(&etcd, &trace, &[&flag]);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    let mut put = async |metadata: &str| {
        let value = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"c","namespace":"n",{metadata}}}}}"#
        );
        let put = client.put("/registry/configmaps/n/c", value, None).await;
        put.unwrap().header().unwrap().revision()
    };
    put(r#""labels":{"example.org/cpid":"by-label"}"#).await;
    put(r#""annotations":{"eppppi.github.io/koc":"no JSON"}"#).await;
    let last = put(r#""annotations":{"eppppi.github.io/koc":"{\"cpid\":\"by-koc\"}"}"#).await;
    interceptor.ledger_reached(last).await;
    let counted = interceptor.labelled_metric(
        "cascade_ledger_carrier_errors_total",
        "eppppi.github.io/koc",
    );
    assert_eq!(counted, 1.0);
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));

    let changes = trace::changes(&trace);
    let told: Vec<_> = changes
        .iter()
        .map(|change| {
            let transition = change.cpid_transition.map(|transition| transition.as_str());
            let error = change.object.decode_error.is_some();
            (
                change.cpid.cpid.as_deref(),
                change.prev_cpid.as_deref(),
                transition,
                error,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some("by-label"), None, Some("set"), false),
            (None, Some("by-label"), None, true),
            (Some("by-koc"), None, None, false),
        ]
    );
}

const WORKERS: usize = 4;

/// Writes until told to stop, through whichever interceptor there is. Returns acknowledged writes.
async fn write_on(
    worker: usize,
    etcd: Arc<Site>,
    mut endpoints: watch::Receiver<Option<String>>,
    progress: Arc<[AtomicI64; WORKERS]>,
) -> Vec<(i64, String)> {
    let mut acknowledged = Vec::new();
    let mut count = 0;
    loop {
        let Some(endpoint) = endpoints.borrow_and_update().clone() else {
            return acknowledged;
        };
        let Ok(mut client) = etcd.client_at(&endpoint).await else {
            tokio::task::yield_now().await;
            continue;
        };
        while !endpoints.has_changed().unwrap() {
            let key = format!("/registry/configmaps/w{worker}/{count}");
            count += 1;
            match client.put(key.clone(), "x", None).await {
                Ok(answer) => {
                    let revision = answer.header().unwrap().revision();
                    progress[worker].store(revision, Ordering::SeqCst);
                    acknowledged.push((revision, key));
                }
                Err(_) => break,
            }
        }
    }
}

async fn kills_under_load_lose_and_repeat_no_change(etcd: Site) {
    let etcd = Arc::new(etcd);
    let trace = TempDir::new().unwrap();
    let start = || Interceptor::serve(&etcd, trace.path(), &["--flush-interval=50ms"]);
    let mut interceptor = start();
    // From here on the trace has everything.
    interceptor.ready().await;
    let (sender, endpoints) = watch::channel(Some(interceptor.endpoint()));
    let progress = Arc::new(std::array::from_fn(|_| AtomicI64::new(0)));
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (etcd, progress) = (Arc::clone(&etcd), Arc::clone(&progress));
            tokio::spawn(write_on(worker, etcd, endpoints.clone(), progress))
        })
        .collect();
    let mut direct = etcd.client().await;
    // Revisions up to which calls were on the disk when the interceptor was killed, and from which
    // on the next one saw them.
    let mut observed = Vec::new();
    for _ in 0..3 {
        interceptor.ready().await;
        let from = revision(&mut direct).await;
        let observed_calls =
            || interceptor.labelled_metric("cascade_observer_calls_total", "committed");
        eventually("load goes on", async || {
            (observed_calls() >= 300.0).then_some(())
        })
        .await;
        let to = revision(&mut direct).await;
        // A worker that got an answer of a later revision has got all before it, and the observer
        // has seen them: a connection is one task.
        eventually("all workers are past this revision", async || {
            let past = |reached: &AtomicI64| reached.load(Ordering::SeqCst) > to;
            progress.iter().all(past).then_some(())
        })
        .await;
        let finished = observed_calls();
        eventually("these calls are on the disk", async || {
            let durable = interceptor.labelled_metric("cascade_store_rows_total", "calls");
            (durable >= finished).then_some(())
        })
        .await;
        observed.push(from + 1..=to);
        interceptor.kill();
        // Nobody watches: the ledger must find these.
        direct
            .put("/registry/pods/default/unseen", "x", None)
            .await
            .unwrap();
        interceptor = start();
        sender.send_replace(Some(interceptor.endpoint()));
    }
    interceptor.ready().await;
    sender.send_replace(None);
    let mut acknowledged = Vec::new();
    for worker in workers.drain(..) {
        acknowledged.extend(worker.await.unwrap());
    }
    let last = revision(&mut direct).await;
    interceptor.ledger_reached(last).await;
    assert_eq!(interceptor.stop().code(), Some(0));

    let changes = trace::changes(trace.path());
    assert_complete(&changes, 2, last);
    assert_eq!(recorded(&changes), watched(&mut direct, 2, last).await);
    let calls: Vec<Call> = trace::rows(trace.path());
    assert_true(&calls, &changes);
    let committed: HashSet<_> = calls
        .iter()
        .map(|call| (call.revision, call.key.as_deref()))
        .collect();
    for (revision, key) in acknowledged {
        if observed.iter().any(|range| range.contains(&revision)) {
            let call = (Some(revision), Some(key.as_str()));
            assert!(committed.contains(&call), "no call for {call:?}");
        }
    }
    let gaps = trace::gaps(trace.path());
    let restarts = kinds(&gaps)
        .iter()
        .filter(|kind| **kind == GapKind::Restart)
        .count();
    assert_eq!(restarts, 3, "{gaps:?}");
    assert!(gaps.iter().all(|gap| !gap.covers_revisions), "{gaps:?}");
}

async fn an_outage_of_etcd_is_survived_and_told(mut etcd: Site) {
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[]);
    interceptor.ready().await;
    interceptor
        .client()
        .await
        .put("a", "1", None)
        .await
        .unwrap();
    etcd.kill();
    eventually("the loss is told", async || {
        let (status, body) = interceptor.page("/readyz");
        (status == 503 && body.contains("[-]ledger failed")).then_some(())
    })
    .await;
    assert_eq!(interceptor.page("/healthz").0, 200);
    etcd.run();
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    client.put("a", "2", None).await.unwrap();
    let last = revision(&mut client).await;
    interceptor.ledger_reached(last).await;
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));
    assert_complete(&trace::changes(trace.path()), 2, last);
}

/// An etcd that does not answer any more cannot keep the interceptor from ending in order.
async fn a_frozen_etcd_does_not_hold_up_the_end(etcd: Site) {
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[]);
    interceptor.ready().await;
    let mut client = interceptor.client().await;
    client.put("a", "1", None).await.unwrap();
    let last = revision(&mut client).await;
    interceptor.ledger_reached(last).await;
    etcd.freeze();
    let pending = tokio::spawn(async move { client.put("a", "2", None).await });
    eventually("the call is under way", async || {
        (interceptor.metric("cascade_observer_open_calls") > 0.0).then_some(())
    })
    .await;
    let ended = tokio::task::spawn_blocking(move || interceptor.stop());
    assert_eq!(ended.await.unwrap().code(), Some(0));
    etcd.thaw();
    assert!(pending.await.unwrap().is_err());
    assert_complete(&trace::changes(trace.path()), 2, last);
    let calls: Vec<Call> = trace::rows(trace.path());
    let outcomes: Vec<_> = calls.iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, [CallOutcome::Committed, CallOutcome::Unknown]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_records_changes_and_relays_nothing() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let mut client = etcd.client().await;
    let before = Workload::new(3).writes(&mut client, 50).await;
    let interceptor = Interceptor::start(&[
        "tail",
        "--etcd",
        &etcd.endpoint(),
        "--trace-dir",
        trace.path().to_str().unwrap(),
    ]);
    assert!(interceptor.listeners().is_empty());
    interceptor.ready().await;
    let last = Workload::new(4).writes(&mut client, 50).await;
    interceptor.ledger_reached(last).await;
    interceptor.signal("HUP");
    interceptor.signal("INT");
    assert_eq!(interceptor.wait().code(), Some(0));
    assert_complete(&trace::changes(trace.path()), before + 1, last);
    assert!(!trace::states(trace.path()).is_empty());
    assert_eq!(trace::rows::<Call>(trace.path()), []);
    assert_eq!(trace::gaps(trace.path()), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn stages_can_be_switched_off() {
    let etcd = Etcd::start();
    let put_and_stop = async |trace: &Path, off: &str| {
        let interceptor = Interceptor::serve(&etcd, trace, &[off]);
        interceptor.ready().await;
        let mut client = interceptor.client().await;
        client
            .put("/registry/pods/default/a", "x", None)
            .await
            .unwrap();
        let last = revision(&mut client).await;
        if off != "--ledger=off" {
            interceptor.ledger_reached(last).await;
        }
        drop(client);
        assert_eq!(interceptor.stop().code(), Some(0));
    };
    let only_calls = TempDir::new().unwrap();
    put_and_stop(only_calls.path(), "--ledger=off").await;
    let calls: Vec<Call> = trace::rows(only_calls.path());
    assert_eq!(calls.len(), 1);
    assert!(calls[0].cluster_id.is_some(), "told by the answer");
    assert_eq!(trace::changes(only_calls.path()), []);

    let only_changes = TempDir::new().unwrap();
    put_and_stop(only_changes.path(), "--observe=off").await;
    assert_eq!(trace::rows::<Call>(only_changes.path()), []);
    assert_eq!(trace::changes(only_changes.path()).len(), 1);
    let gaps = trace::gaps(only_changes.path());
    assert_eq!(kinds(&gaps), [GapKind::ObservationOff]);
}

/// The traffic of many clients at once is recorded as completely as that of one.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_clients_are_recorded_completely() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[]);
    interceptor.ready().await;
    let mut clients = Vec::new();
    for client in 0..4 {
        let connection = interceptor.client().await;
        for stream in 0..16 {
            let mut connection = connection.clone();
            clients.push(tokio::spawn(async move {
                for number in 0..20 {
                    let key = format!("/registry/pods/ns{client}/{stream}-{number}");
                    connection.put(key, vec![b'x'; 3000], None).await.unwrap();
                }
            }));
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    let last = revision(&mut etcd.client().await).await;
    interceptor.ledger_reached(last).await;
    assert_eq!(interceptor.stop().code(), Some(0));
    let changes = trace::changes(trace.path());
    assert_complete(&changes, 2, last);
    let calls: Vec<Call> = trace::rows(trace.path());
    assert_true(&calls, &changes);
    let of_call: HashSet<_> = calls
        .iter()
        .map(|call| (call.revision, call.key.clone()))
        .collect();
    let of_change: HashSet<_> = changes
        .iter()
        .map(|change| (Some(change.revision), Some(change.key.clone())))
        .collect();
    assert_eq!(of_call, of_change);
    assert_eq!(calls.len(), 4 * 16 * 20);
    assert_eq!(trace::gaps(trace.path()), []);
}
