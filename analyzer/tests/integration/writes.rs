//! The derived table `writes`: who made each change, and when.

use cascade_proto::tables::{Change, Object, Writer};

use crate::catalog::{open, rows};
use crate::support::{Random, TraceFolder, call, change, link, moment, request, update};

const LOOP: &str =
    "kube-controller-manager/v1.34.4 (linux/amd64) kubernetes/abc1234/replicaset-controller";

fn written_by(mut change: Change, manager: &str) -> Change {
    change.object.writers = Some(vec![Writer {
        manager: manager.to_owned(),
        operation: "Update".to_owned(),
        subresource: None,
        time: None,
    }]);
    change
}

#[tokio::test]
async fn a_request_names_the_loop_and_the_object_only_the_program() {
    let mut trace = TraceFolder::new();
    let by_loop = written_by(change(10, "a"), "kube-controller-manager");
    let by_manager = written_by(change(20, "b"), "kubectl-edit");
    let nobody = change(30, "c");
    let mut called = call(&by_loop);
    let mut made = request(&by_loop, LOOP);
    made.subresource = Some("status".to_owned());
    made.user = Some("system:serviceaccount:kube-system:replicaset-controller".to_owned());
    let linked = link(&mut called, &made);
    trace.write(&[by_loop, by_manager.clone(), nobody]);
    trace.write(&[called, call(&by_manager)]);
    trace.write(&[made]);
    trace.write(&[linked]);
    let session = open(&[&trace]).await;
    let columns = "revision, actor, actor_source, \"user\", verb, subresource, \
        request_unix_nano - 1767322800000000000, api_ns, storage_ns";
    let expected = [
        "10|replicaset-controller|request|system:serviceaccount:kube-system:replicaset-controller\
        |update|status|7000000|1000000|1000000",
        "20|kubectl-edit|manager||||||1000000",
        "30||||||||",
    ];
    for table in ["writes", "changes"] {
        let query = format!("SELECT {columns} FROM {table} ORDER BY revision");
        assert_eq!(rows(&session, &query).await, expected, "{table}");
    }
}

/// Privileged clients keep one trace id for many requests: each call belongs to its own request.
#[tokio::test]
async fn requests_of_one_trace_id_are_told_apart() {
    let mut trace = TraceFolder::new();
    let (mut changes, mut calls, mut requests, mut links) = (vec![], vec![], vec![], vec![]);
    for revision in 10..20 {
        let made = change(revision, &format!("key {revision}"));
        let mut called = call(&made);
        let mut sent = request(&made, &format!("client-{revision}/1.0"));
        sent.trace_id = "one".to_owned();
        let mut linked = link(&mut called, &sent);
        if revision == 19 {
            // A link of another trace with the same span ids is about something else.
            linked.trace_id = "other".to_owned();
        }
        changes.push(made);
        calls.push(called);
        requests.push(sent);
        links.push(linked);
    }
    trace.write(&changes);
    trace.write(&calls);
    trace.write(&requests);
    trace.write(&links);
    let session = open(&[&trace]).await;
    let mut expected: Vec<String> = (10..19)
        .map(|revision| format!("{revision}|client-{revision}"))
        .collect();
    expected.push("19|".to_owned());
    let query = "SELECT revision, actor FROM changes ORDER BY revision";
    assert_eq!(rows(&session, query).await, expected);
}

#[tokio::test]
async fn clocks_that_nothing_reconciles_show_as_a_negative_time() {
    let mut trace = TraceFolder::new();
    let made = change(10, "a");
    let mut called = call(&made);
    let mut sent = request(&made, "kubectl/v1");
    let linked = link(&mut called, &sent);
    sent.start = moment(11);
    trace.write(&[made]);
    trace.write(&[called]);
    trace.write(&[sent]);
    trace.write(&[linked]);
    let session = open(&[&trace]).await;
    // The request ends before it begins, whatever the clocks.
    assert_eq!(
        rows(&session, "SELECT api_ns, clock_offset_ns FROM changes").await,
        ["-3000000|"]
    );
}

/// What the table says is what joins of the raw tables say.
#[tokio::test]
async fn writes_agree_with_joins() {
    let mut random = Random::new(11);
    let mut changes: Vec<Change> = Vec::new();
    let (mut calls, mut requests, mut links) = (vec![], vec![], vec![]);
    let mut revision = 1;
    while changes.len() < 3_000 {
        revision += 1 + i64::try_from(random.below(3)).unwrap();
        for ordinal in 0..=i32::try_from(random.below(3)).unwrap() {
            let mut made = change(revision, &format!("key {}-{ordinal}", random.below(50)));
            made.ordinal = ordinal;
            if random.below(10) == 0 {
                made.seen = None;
            }
            if random.below(2) == 0 {
                made = written_by(made, &format!("manager {}", random.below(5)));
            }
            for copy in 0..random.below(3) {
                let mut called = call(&made);
                called.call_id = match random.below(3) {
                    0 => format!("connection-{}-{copy}", random.below(9)),
                    1 => format!("connection-0{}{copy}", random.below(9)),
                    _ => format!("call {} {copy}", random.below(9)),
                };
                called.request = moment(revision - i64::try_from(random.below(3)).unwrap());
                called.response = (random.below(5) > 0)
                    .then(|| moment(revision + 2 - i64::try_from(random.below(4)).unwrap()));
                if random.below(3) > 0 {
                    let mut sent = request(&made, &format!("agent{}/1", random.below(4)));
                    sent.span_id = format!("{revision}-{ordinal}-{copy}");
                    links.push(link(&mut called, &sent));
                    requests.push(sent);
                }
                calls.push(called);
            }
            changes.push(made);
        }
    }
    // Calls are stored as they are answered, not by revision.
    calls.sort_by_key(|call| call.response.map(|moment| moment.unix_nano));
    let mut trace = TraceFolder::new();
    for part in changes.chunks(700) {
        trace.write(part);
    }
    for part in calls.chunks(500) {
        trace.write(part);
    }
    trace.write(&requests);
    trace.write(&links);
    let session = open(&[&trace]).await;
    let joined = "SELECT change.revision, change.ordinal,
            least(call.response_unix_nano, change.seen_unix_nano) AS commit_unix_nano,
            CASE WHEN call.response_unix_nano <= change.seen_unix_nano
                OR (change.seen_unix_nano IS NULL AND call.response_unix_nano IS NOT NULL)
                THEN 'call' WHEN change.seen_unix_nano IS NOT NULL THEN 'ledger' END AS commit_source,
            call.call_id, call.request_unix_nano AS call_unix_nano,
            least(call.response_unix_nano, change.seen_unix_nano) - call.request_unix_nano AS storage_ns,
            request.start_unix_nano AS request_unix_nano,
            coalesce(split_part(request.user_agent, '/', 1), newest_writer(change.writers)) AS actor
        FROM raw.changes AS change
        LEFT JOIN (
            SELECT *, row_number() OVER (PARTITION BY revision, key
                ORDER BY request_unix_nano, call_id_head, call_id_number) AS number
            FROM (SELECT *,
                CASE WHEN call_id ~ '-(0|[1-9][0-9]*)$' THEN regexp_replace(call_id, '-[0-9]*$', '')
                    ELSE call_id END AS call_id_head,
                CASE WHEN call_id ~ '-(0|[1-9][0-9]*)$'
                    THEN CAST(regexp_replace(call_id, '^.*-', '') AS BIGINT) ELSE -1 END AS call_id_number
                FROM raw.calls)
        ) AS call ON call.number = 1 AND call.revision = change.revision AND call.key = change.key
        LEFT JOIN raw.request_calls AS link ON link.call_span_id = call.span_id
            AND link.trace_id = call.trace_id
        LEFT JOIN raw.requests AS request ON request.span_id = link.request_span_id
            AND request.trace_id = link.trace_id
        ORDER BY 1, 2";
    let columns = "revision, ordinal, commit_unix_nano, commit_source, call_id, call_unix_nano, \
        storage_ns, request_unix_nano - coalesce(clock_offset_ns, 0) AS request_unix_nano, actor";
    let expected = rows(&session, joined).await;
    assert_eq!(expected.len(), changes.len());
    for table in ["writes", "changes"] {
        let query = format!("SELECT {columns} FROM {table} ORDER BY revision, ordinal");
        let found = rows(&session, &query).await;
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{table}");
        }
        assert_eq!(found.len(), expected.len());
    }
}

#[tokio::test]
async fn filters_on_derived_columns_find_the_same_rows() {
    let mut trace = TraceFolder::new();
    let a = written_by(change(2, "a"), "kubectl");
    let b = update(3, &a);
    let c = written_by(change(4, "c"), "kubectl");
    trace.write(&[a, b.clone(), c]);
    trace.write(&[call(&b)]);
    let session = open(&[&trace]).await;
    for (query, expected) in [
        (
            "SELECT revision FROM changes WHERE actor = 'kubectl' ORDER BY 1",
            vec!["2", "4"],
        ),
        (
            "SELECT key FROM changes WHERE actor = 'kubectl' AND revision > 2",
            vec!["c"],
        ),
        (
            "SELECT count(*) FROM changes WHERE call_id IS NOT NULL",
            vec!["1"],
        ),
        (
            "SELECT actor FROM changes ORDER BY commit_unix_nano DESC LIMIT 1",
            vec!["kubectl"],
        ),
        ("SELECT count(*) FROM changes", vec!["3"]),
        ("SELECT count(actor) FROM writes", vec!["2"]),
        (
            "SELECT c.key FROM changes AS c JOIN writes AS w ON w.revision = c.revision \
            AND w.ordinal = c.ordinal WHERE w.call_id = 'call-3'",
            vec!["a"],
        ),
        (
            "SELECT revision FROM writes WHERE commit_source = 'call' LIMIT 5",
            vec!["3"],
        ),
    ] {
        assert_eq!(rows(&session, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn writes_are_in_order_and_are_not_sorted_again() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(2, "a"), change(3, "b")]);
    trace.write(&[Change {
        object: Object::default(),
        ..change(4, "c")
    }]);
    let session = open(&[&trace]).await;
    let query = "SELECT revision FROM writes ORDER BY cluster_id, epoch, revision, ordinal";
    assert_eq!(rows(&session, query).await, ["2", "3", "4"]);
    let plan = rows(&session, &format!("EXPLAIN {query}")).await.join("\n");
    assert!(!plan.contains("SortExec"), "{plan}");
}
