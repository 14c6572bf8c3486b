//! What the view `changes` adds to the raw table.

use cascade_proto::tables::{CallOutcome, Change, Object, Request, RequestCall, Timestamp, Writer};

use crate::catalog::{number, open, rows};
use crate::support::{Random, TraceFolder, call, change, delete, moment, update};

#[tokio::test]
async fn a_commit_is_dated_by_whoever_knew_first() {
    let mut trace = TraceFolder::new();
    let by_call = change(10, "a");
    let by_ledger = change(20, "b");
    let mut slow_call = call(&by_ledger);
    slow_call.response = Some(moment(25));
    let alone = change(30, "c");
    trace.write(&[by_call.clone(), by_ledger, alone]);
    trace.write(&[call(&by_call), slow_call]);
    let session = open(&[&trace]).await;
    let query = "SELECT key, commit_source, commit_unix_nano - 1767322800000000000, \
        extract(millisecond FROM commit_time), call_id, storage_ns, \
        call_unix_nano - 1767322800000000000 FROM changes ORDER BY key";
    let expected = [
        "a|call|9000000|9|call-10|1000000|8000000",
        "b|ledger|20000000|20|call-20|2000000|18000000",
        "c|ledger|30000000|30|||",
    ];
    assert_eq!(rows(&session, query).await, expected);
}

#[tokio::test]
async fn only_committed_calls_of_that_revision_and_key_join() {
    let mut trace = TraceFolder::new();
    let row = change(10, "a");
    let mut conflict = call(&row);
    conflict.call_id = "conflict".to_owned();
    conflict.outcome = CallOutcome::Conflict;
    let mut other_key = call(&row);
    other_key.key = Some("b".to_owned());
    let mut other_epoch = call(&row);
    other_epoch.epoch = Some(1);
    let mut other_cluster = call(&row);
    other_cluster.cluster_id = Some("cd34".to_owned());
    trace.write(&[row]);
    trace.write(&[conflict, other_key, other_epoch, other_cluster]);
    let session = open(&[&trace]).await;
    assert_eq!(
        rows(&session, "SELECT call_id IS NULL FROM changes").await,
        ["true"]
    );
}

/// Rows with every kind of partner: none, one, several that claim the same change.
#[tokio::test]
async fn the_number_of_rows_does_not_change() {
    let mut random = Random::new(3);
    let mut trace = TraceFolder::new();
    let mut changes: Vec<Change> = Vec::new();
    let mut calls = Vec::new();
    let mut links = Vec::new();
    let mut requests = Vec::new();
    for revision in 2..400 {
        let row = change(revision, &format!("key {}", random.below(50)));
        for copy in 0..random.below(4) {
            let mut call = call(&row);
            call.call_id = format!("{revision}-{copy}");
            call.span_id = (random.below(3) > 0).then(|| format!("span {}", random.below(100)));
            call.trace_id = Some("trace".to_owned());
            calls.push(call);
        }
        changes.push(row);
    }
    for number in 0..100 {
        for _ in 0..random.below(3) {
            links.push(RequestCall {
                cluster_id: None,
                instance: "test".to_owned(),
                call_span_id: format!("span {number}"),
                request_span_id: format!("request {number}"),
                trace_id: "trace".to_owned(),
            });
        }
        for _ in 0..random.below(3) {
            requests.push(request(&format!("request {number}")));
        }
    }
    trace.write(&changes);
    trace.write(&calls);
    trace.write(&links);
    trace.write(&requests);
    let session = open(&[&trace]).await;
    let raw = number(&session, "SELECT count(*) FROM raw.changes").await;
    assert_eq!(raw, 398);
    // count(*) alone could be answered without the joins.
    let all = "SELECT count(*) FROM (SELECT revision, call_id, request_unix_nano, actor \
        FROM changes ORDER BY revision)";
    assert_eq!(number(&session, all).await, raw);
    let keys = "SELECT count(DISTINCT revision) FROM changes WHERE call_id IS NOT NULL \
        OR call_id IS NULL";
    assert_eq!(number(&session, keys).await, raw);
    assert!(number(&session, "SELECT count(request_unix_nano) FROM changes").await > 0);
}

fn request(span_id: &str) -> Request {
    Request {
        cluster_id: None,
        instance: "test".to_owned(),
        trace_id: "trace".to_owned(),
        span_id: span_id.to_owned(),
        parent_span_id: None,
        apiserver: None,
        method: None,
        api_group: None,
        api_version: None,
        resource: None,
        subresource: None,
        namespace: None,
        name: None,
        user_agent: None,
        audit_id: None,
        status_code: None,
        start: moment(1),
        end: moment(2),
        received_unix_nano: 0,
        admission_ns: None,
        etcd_ns: None,
        user: None,
        groups: None,
        source_ip: None,
        decision: None,
    }
}

#[tokio::test]
async fn the_actor_is_the_newest_writer() {
    let writer = |manager: &str, seconds: Option<i64>| Writer {
        manager: manager.to_owned(),
        operation: "Update".to_owned(),
        subresource: None,
        time: seconds.map(|seconds| Timestamp(seconds * 1_000_000)),
    };
    let with = |revision: i64, writers: Option<Vec<Writer>>| {
        let mut row = change(revision, &format!("key {revision}"));
        row.object = Object {
            writers,
            ..Object::default()
        };
        row
    };
    let mut trace = TraceFolder::new();
    trace.write(&[
        with(2, None),
        with(3, Some(Vec::new())),
        with(4, Some(vec![writer("a", Some(5))])),
        with(
            5,
            Some(vec![writer("new", Some(9)), writer("old", Some(5))]),
        ),
        with(
            6,
            Some(vec![writer("first", Some(5)), writer("last", Some(5))]),
        ),
        with(
            7,
            Some(vec![writer("timed", Some(5)), writer("timeless", None)]),
        ),
    ]);
    let session = open(&[&trace]).await;
    let query = "SELECT revision, actor, actor_source FROM changes ORDER BY revision";
    let expected = [
        "2||",
        "3||",
        "4|a|manager",
        "5|new|manager",
        "6|last|manager",
        "7|timed|manager",
    ];
    assert_eq!(rows(&session, query).await, expected);
}

#[tokio::test]
async fn filters_on_the_view_reach_the_files() {
    let mut trace = TraceFolder::new();
    let a = change(2, "a");
    let b = update(3, &a);
    let c = delete(4, &b);
    trace.write(&[a, b.clone(), c]);
    trace.write(&[call(&b)]);
    let session = open(&[&trace]).await;
    let query = "SELECT revision, call_id FROM changes WHERE op = 'update' AND key = 'a'";
    assert_eq!(rows(&session, query).await, ["3|call-3"]);
    let plan = rows(&session, &format!("EXPLAIN {query}")).await.join("\n");
    assert!(
        plan.contains("predicate=op@"),
        "the Parquet scan filters:\n{plan}"
    );
    assert!(
        !plan.contains("FilterExec: op@"),
        "and nothing filters after it:\n{plan}"
    );
}

#[tokio::test]
async fn columns_have_the_same_types_with_and_without_requests() {
    let row = change(2, "a");
    let mut alone = TraceFolder::new();
    alone.write(&[row]);
    let mut with_requests = TraceFolder::new();
    with_requests.write(&[request("request")]);
    with_requests.write(&[RequestCall {
        cluster_id: None,
        instance: "test".to_owned(),
        call_span_id: "span".to_owned(),
        request_span_id: "request".to_owned(),
        trace_id: "trace".to_owned(),
    }]);
    let columns = "SELECT column_name, data_type FROM information_schema.columns \
        WHERE table_schema = 'public' AND table_name = 'changes'";
    let expected = rows(&open(&[&with_requests]).await, columns).await;
    assert!(
        expected
            .iter()
            .any(|column| column.starts_with("request_time|Timestamp("))
    );
    assert_eq!(rows(&open(&[&alone]).await, columns).await, expected);
}
