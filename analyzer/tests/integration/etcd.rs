//! `cascade verify --etcd` against a real etcd.

use cascade_proto::tables::{Change, Op};
use etcd_client::{Client, DeleteOptions, EventType, Txn, TxnOp, WatchOptions};

use crate::program::{Answer, cascade};
use crate::support::{TraceFolder, change};

#[path = "../../../interceptor/tests/support/etcd.rs"]
#[allow(dead_code)] // the interceptor's tests use the rest
mod process;

#[path = "../../../interceptor/tests/support/wait.rs"]
#[allow(dead_code)]
mod wait;

use wait::{PATIENCE, end_of};

/// Writes keys, some twice, and deletes some.
async fn write_keys(client: &mut Client) {
    for round in 0..3 {
        for key in 0..20 {
            let name = format!("/registry/things/{key}");
            client.put(name, format!("{round}"), None).await.unwrap();
        }
    }
    client.delete("/registry/things/3", None).await.unwrap();
    let range = DeleteOptions::new().with_prefix();
    client
        .delete("/registry/things/1", Some(range))
        .await
        .unwrap();
    client
        .put(vec![b'a', 0xff, b'b'], "not UTF-8", None)
        .await
        .unwrap();
}

/// The whole history as etcd tells it, as rows of `changes`.
async fn history(client: &mut Client) -> (String, Vec<Change>) {
    let status = client.status().await.unwrap();
    let cluster_id = format!("{:x}", status.header().unwrap().cluster_id());
    let last = status.header().unwrap().revision();
    let options = WatchOptions::new()
        .with_all_keys()
        .with_start_revision(1)
        .with_prev_key();
    let mut watch = client.watch("", Some(options)).await.unwrap();
    let mut rows: Vec<Change> = Vec::new();
    while rows.last().is_none_or(|row| row.revision < last) {
        let message = watch.message().await.unwrap().unwrap();
        for event in message.events() {
            let entry = event.kv().unwrap();
            let key: String =
                String::from_utf8(entry.key().to_vec()).unwrap_or_else(|_| "a\\xffb".to_owned());
            let previous = event.prev_kv();
            let op = match (event.event_type(), previous) {
                (EventType::Delete, _) => Op::Delete,
                (EventType::Put, None) => Op::Create,
                (EventType::Put, Some(_)) => Op::Update,
            };
            // A delete has the numbers of the deleted value.
            let value = if op == Op::Delete {
                previous.unwrap()
            } else {
                entry
            };
            rows.push(Change {
                cluster_id: cluster_id.clone(),
                op,
                prev_revision: previous.map(|previous| previous.mod_revision()),
                create_revision: Some(value.create_revision()),
                version: Some(value.version()),
                ..change(entry.mod_revision(), &key)
            });
        }
    }
    for revision in rows.chunk_by_mut(|left, right| left.revision == right.revision) {
        let size = i32::try_from(revision.len()).unwrap();
        for (row, ordinal) in revision.iter_mut().zip(0..) {
            row.revision_size = size;
            row.ordinal = ordinal;
        }
    }
    (cluster_id, rows)
}

fn verify(trace: &TraceFolder, etcd: &str) -> (Answer, serde_json::Value) {
    let folder = trace.argument();
    let answer = cascade(&["verify", &folder, "--etcd", etcd, "--format", "json"]);
    let found = serde_json::from_str(&answer.stdout).unwrap_or_default();
    (answer, found)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_compared_with_etcd_at_its_last_revision() {
    let etcd = process::Etcd::start();
    let mut client = etcd.client().await;
    write_keys(&mut client).await;
    let (_, rows) = history(&mut client).await;
    let mut trace = TraceFolder::new();
    trace.write(&rows);
    let (answer, found) = verify(&trace, &etcd.endpoint());
    assert_eq!(answer.code, 0, "{found:#}{}", answer.stderr);
    // 20 keys, without 3, 1 and 10 to 19, and the one that is no text.
    assert_eq!(
        (&found["etcd"]["keys"], &found["etcd"]["behind"]),
        (&9.into(), &0.into())
    );

    // What etcd wrote since is not missing, only not recorded yet.
    client
        .put("/registry/things/0", "later", None)
        .await
        .unwrap();
    client
        .put("/registry/things/new", "later", None)
        .await
        .unwrap();
    let (answer, found) = verify(&trace, &etcd.endpoint());
    assert_eq!(
        (answer.code, &found["etcd"]["behind"]),
        (0, &2.into()),
        "{found:#}"
    );

    // A trace that says something else of a key that still exists.
    let mut other = TraceFolder::new();
    let mut changed = rows.clone();
    let is_key = |row: &&mut Change| row.key == "/registry/things/2";
    let last = changed.iter_mut().rfind(is_key).unwrap();
    last.version = last.version.map(|version| version + 1);
    other.write(&changed);
    let (answer, found) = verify(&other, &etcd.endpoint());
    assert_eq!(answer.code, 1, "{found:#}");
    assert_eq!(found["etcd"]["mismatches"]["count"], 1, "{found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyspace_of_several_pages_is_read_whole() {
    // One more than fits on a page, and the smallest key that can follow the last one of the page.
    let mut keys: Vec<String> = (0..10_001)
        .map(|number| format!("key {number:05}"))
        .collect();
    keys.push(format!("{}\0", keys[9_999]));
    let etcd = process::Etcd::start();
    let mut client = etcd.client().await;
    for some in keys.chunks(100) {
        let puts: Vec<TxnOp> = some
            .iter()
            .map(|key| TxnOp::put(key.as_str(), "", None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    let (_, rows) = history(&mut client).await;
    let mut trace = TraceFolder::new();
    trace.write(&rows);
    let (answer, found) = verify(&trace, &etcd.endpoint());
    assert_eq!(
        (answer.code, &found["etcd"]["keys"]),
        (0, &10_002.into()),
        "{found:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_cannot_be_compared_is_explained() {
    let etcd = process::Etcd::start();
    let mut client = etcd.client().await;
    write_keys(&mut client).await;
    let (_, rows) = history(&mut client).await;
    let mut trace = TraceFolder::new();
    trace.write(&rows);
    let explained = |trace: &TraceFolder, url: &str, expected: &str| {
        let (answer, _) = verify(trace, url);
        assert_eq!(answer.code, 2, "{}{}", answer.stdout, answer.stderr);
        assert!(answer.stderr.contains(expected), "{}", answer.stderr);
    };

    let mut foreign = TraceFolder::new();
    foreign.write(&[change(2, "a")]);
    explained(&foreign, &etcd.endpoint(), "the trace is of ab12");

    let mut ahead = TraceFolder::new();
    let mut future = rows.clone();
    let mut later = rows.last().unwrap().clone();
    later.revision += 1;
    later.key = "later".to_owned();
    later.create_revision = Some(later.revision);
    future.push(later);
    ahead.write(&future);
    explained(&ahead, &etcd.endpoint(), "restored from a backup");

    let last = rows.last().unwrap().revision;
    client.put("a", "b", None).await.unwrap();
    client.compact(last + 1, None).await.unwrap();
    explained(&trace, &etcd.endpoint(), "has compacted revision");

    let secure = etcd.endpoint().replace("http:", "https:");
    explained(&trace, &secure, "TLS is not built in");
    drop(etcd);
    explained(
        &trace,
        "http://127.0.0.1:1",
        "127.0.0.1:1: Connection refused",
    );
}
