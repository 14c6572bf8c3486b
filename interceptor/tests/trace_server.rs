//! The trace server of a running interceptor, over the network.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cascade_proto::tables::{self, CauseType};
use cascade_proto::wire::mergelog::{Mergelog, PostSpansRequest};
use futures::future::join_all;
use support::mergelogs::{
    TraceServerClient, cpid, made, mergelog, post, span, trace_server, trace_server_client,
};
use support::{Etcd, Interceptor, eventually, trace};
use tempfile::TempDir;
use tonic::Code;

const LISTEN: &str = "--mergelog-listen=127.0.0.1:0";

/// The fixture of the authors' own test: merges, and the roots they are made of.
fn fixture() -> Vec<Mergelog> {
    let merges = [
        ("3", ["1", "2"]),
        ("5", ["2", "4"]),
        ("6", ["3", "5"]),
        ("8", ["3", "7"]),
        ("11", ["9", "10"]),
    ];
    let roots = ["1", "2", "4", "7", "9", "10", "12"];
    let merges = merges.map(|(new_cpid, sources)| mergelog(new_cpid, &sources));
    let roots = roots.map(|new_cpid| mergelog(new_cpid, &[]));
    // The sources last: that must not matter.
    merges.into_iter().rev().chain(roots).collect()
}

/// Descendants in the authors' fixture, breadth first.
const DESCENDANTS: &[(&str, &[&str])] = &[
    ("1", &["1", "3", "6", "8"]),
    ("2", &["2", "3", "5", "6", "8"]),
    ("4", &["4", "5", "6"]),
    ("7", &["7", "8"]),
    ("12", &["12"]),
    ("never posted", &[]),
];

async fn assert_fixture(client: &mut TraceServerClient) {
    for (of, expected) in DESCENDANTS {
        let answer = client.get_relevant_mergelogs(cpid(*of)).await.unwrap();
        let mergelogs = answer.into_inner().mergelogs;
        let mut found = made(&mergelogs);
        // The root comes first; within one generation any order is breadth first.
        assert_eq!(found.first().map(String::as_str), expected.first().copied());
        found.sort();
        let mut expected: Vec<_> = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "descendants of {of}");
        for mergelog in mergelogs {
            assert!(fixture().contains(&mergelog), "{mergelog:?}");
        }
    }
    let spans = client.get_relevant_spans(cpid("4")).await.unwrap();
    let spans = spans.into_inner().spans;
    assert_eq!(spans, [span("4", "d"), span("6", "f")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authors_fixture_is_answered_as_by_their_server() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let mut client = trace_server_client(&interceptor).await;
    let empty = client.get_all_mergelogs(()).await.unwrap().into_inner();
    assert!(empty.mergelogs.is_empty());

    for mergelog in fixture() {
        client.post_mergelogs(post(vec![mergelog])).await.unwrap();
    }
    let spans = vec![span("6", "f"), span("4", "d"), span("9", "i")];
    let request = PostSpansRequest { spans };
    client.post_spans(request.clone()).await.unwrap();
    assert_fixture(&mut client).await;

    // Posted again, all at once: stored once.
    client.post_mergelogs(post(fixture())).await.unwrap();
    client.post_spans(request.clone()).await.unwrap();
    assert_fixture(&mut client).await;
    let all = client.get_all_mergelogs(()).await.unwrap().into_inner();
    assert_eq!(all.mergelogs, fixture(), "in the order of arrival");
    let all_spans = client.get_all_spans(()).await.unwrap().into_inner();
    assert_eq!(all_spans.spans, request.spans);
    assert_eq!(
        interceptor.labelled_metric("cascade_trace_server_repeated_rows_total", "mergelogs"),
        fixture().len() as f64
    );
    assert_eq!(
        interceptor.metric("cascade_trace_server_violations"),
        0.0,
        "the fixture keeps the rules"
    );
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));

    // Another process knows it from the disk.
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let mut client = trace_server_client(&interceptor).await;
    assert_fixture(&mut client).await;
    client.post_mergelogs(post(fixture())).await.unwrap();
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));

    let rows: Vec<tables::Mergelog> = trace::rows(trace.path());
    assert_eq!(rows.len(), fixture().len());
    let root = rows.iter().find(|row| row.new_cpid == "12").unwrap();
    assert_eq!(root.cause_type, CauseType::NewChange);
    assert!(root.source_cpids.is_empty());
    let merge = rows.iter().find(|row| row.new_cpid == "3").unwrap();
    assert_eq!(merge.source_cpids, ["1", "2"]);
    assert_eq!(merge.sent.unwrap().0.unix_nano, 1_700_000_000_123_456_789);
}

/// Posts mergelogs with CPIDs `<name>-<number>`, one at a time, until the server is gone. Adds those
/// that were acknowledged.
async fn post_until_gone(
    mut client: TraceServerClient,
    name: usize,
    acknowledged: Arc<Mutex<Vec<Mergelog>>>,
    gone: Arc<AtomicBool>,
) {
    for number in 0.. {
        let new_cpid = format!("{name}-{number}");
        let mergelog = mergelog(&new_cpid, &["a", "b"]);
        if client
            .post_mergelogs(post(vec![mergelog.clone()]))
            .await
            .is_err()
        {
            assert!(gone.load(Ordering::SeqCst), "refused without a reason");
            return;
        }
        acknowledged.lock().unwrap().push(mergelog);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill_and_is_there_once() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    for round in 0..2 {
        let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
        let gone = Arc::new(AtomicBool::new(false));
        let mut posting = Vec::new();
        for name in 0..8 {
            let client = trace_server_client(&interceptor).await;
            posting.push(tokio::spawn(post_until_gone(
                client,
                round * 100 + name,
                Arc::clone(&acknowledged),
                Arc::clone(&gone),
            )));
        }
        let wanted = (round + 1) * 400;
        eventually("enough posts are acknowledged", async || {
            (acknowledged.lock().unwrap().len() >= wanted).then_some(())
        })
        .await;
        gone.store(true, Ordering::SeqCst);
        interceptor.kill();
        for task in posting {
            task.await.unwrap();
        }
    }

    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let mut client = trace_server_client(&interceptor).await;
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert_complete(&mut client, &acknowledged).await;
    // Who got no answer posts again, and may post what was stored all the same.
    let repeated = acknowledged.iter().take(100).cloned().collect();
    client.post_mergelogs(post(repeated)).await.unwrap();
    assert_complete(&mut client, &acknowledged).await;
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));

    let rows: Vec<tables::Mergelog> = trace::rows(trace.path());
    let stored: HashSet<&str> = rows.iter().map(|row| row.new_cpid.as_str()).collect();
    assert_eq!(stored.len(), rows.len(), "none twice");
    for cpid in made(&acknowledged) {
        assert!(stored.contains(cpid.as_str()), "{cpid} is lost");
    }
}

async fn assert_complete(client: &mut TraceServerClient, acknowledged: &[Mergelog]) {
    let all = client.get_all_mergelogs(()).await.unwrap().into_inner();
    let found: HashSet<String> = made(&all.mergelogs).into_iter().collect();
    assert_eq!(found.len(), all.mergelogs.len(), "none twice");
    for cpid in made(acknowledged) {
        assert!(found.contains(&cpid), "{cpid} is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_hides_and_never_erases() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let mut client = trace_server_client(&interceptor).await;
    client.post_mergelogs(post(fixture())).await.unwrap();
    for refused in [
        client.delete_all_mergelogs(()).await,
        client.delete_all_spans(()).await,
    ] {
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));

    let allowed = [LISTEN, "--mergelog-allow-delete"];
    let interceptor = Interceptor::serve(&etcd, trace.path(), &allowed);
    let mut client = trace_server_client(&interceptor).await;
    client.delete_all_mergelogs(()).await.unwrap();
    let all = client.get_all_mergelogs(()).await.unwrap().into_inner();
    assert!(all.mergelogs.is_empty());
    // What is posted again is new.
    let again = vec![mergelog("1", &[])];
    client.post_mergelogs(post(again.clone())).await.unwrap();
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));

    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let mut client = trace_server_client(&interceptor).await;
    let all = client.get_all_mergelogs(()).await.unwrap().into_inner();
    assert_eq!(all.mergelogs, again);
    let relevant = client.get_relevant_mergelogs(cpid("1")).await.unwrap();
    assert_eq!(made(&relevant.into_inner().mergelogs), ["1"]);
    drop(client);
    assert_eq!(interceptor.stop().code(), Some(0));
    let rows: Vec<tables::Mergelog> = trace::rows(trace.path());
    assert_eq!(rows.len(), fixture().len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_trace_cannot_be_written_posts_are_not_acknowledged() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let mut client = trace_server_client(&interceptor).await;
    // As when another volume is mounted over the folder.
    let marker = trace.path().join(".cascade/trace.json");
    let aside = trace.path().join(".cascade/aside.json");
    fs::rename(&marker, &aside).unwrap();
    for _ in 0..3 {
        let refused = client.post_mergelogs(post(fixture())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    fs::rename(&aside, &marker).unwrap();
    eventually("the trace can be written again", async || {
        client.post_mergelogs(post(fixture())).await.ok()
    })
    .await;
    let all = client.get_all_mergelogs(()).await.unwrap().into_inner();
    assert_eq!(all.mergelogs, fixture(), "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_makes_no_sense_is_refused_with_a_reason() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let limits = [
        LISTEN,
        "--mergelog-max-message-bytes=4096",
        "--mergelog-max-answer-bytes=4096",
        "--mergelog-max-index-bytes=40000",
    ];
    let interceptor = Interceptor::serve(&etcd, trace.path(), &limits);
    let mut client = trace_server_client(&interceptor).await;
    let many = |from: usize, number: usize| {
        let cpids = (from..from + number).map(|number| format!("{number:036}"));
        post(cpids.map(|cpid| mergelog(&cpid, &[])).collect())
    };

    let invalid = client.post_mergelogs(post(vec![mergelog("", &[])])).await;
    let invalid = invalid.unwrap_err();
    assert_eq!(invalid.code(), Code::InvalidArgument);
    assert!(
        invalid
            .message()
            .contains("mergelogs[0]: new_cpid is empty")
    );

    let large = client.post_mergelogs(many(0, 100)).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large}");
    client.post_mergelogs(many(0, 20)).await.unwrap();
    client.get_all_mergelogs(()).await.unwrap();
    client.post_mergelogs(many(20, 40)).await.unwrap();
    let answer = client.get_all_mergelogs(()).await;
    let answer = answer.expect_err("an answer above the limit");
    assert_eq!(answer.code(), Code::ResourceExhausted, "{answer}");
    assert!(answer.message().contains("--mergelog-max-answer-bytes"));

    let mut from = 60;
    let full = loop {
        match client.post_mergelogs(many(from, 30)).await {
            Ok(_) => from += 30,
            Err(full) => break full,
        }
    };
    assert_eq!(full.code(), Code::ResourceExhausted, "{full}");
    assert!(full.message().contains("--mergelog-max-index-bytes"));
    // What is known can be posted again all the same.
    client.post_mergelogs(many(0, 20)).await.unwrap();
    assert_eq!(interceptor.stop().code(), Some(0));
    assert_eq!(trace::rows::<tables::Mergelog>(trace.path()).len(), from);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_a_second_may_bring_are_refused_and_counted() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let flags = [LISTEN, "--mergelog-max-requests-per-second=2"];
    let interceptor = Interceptor::serve(&etcd, trace.path(), &flags);
    let client = trace_server_client(&interceptor).await;
    let answers = join_all((0..8).map(|number| {
        let mut client = client.clone();
        let mergelogs = vec![mergelog(&number.to_string(), &[])];
        async move { client.post_mergelogs(post(mergelogs)).await }
    }));
    let (taken, refused): (Vec<_>, Vec<_>) = answers.await.into_iter().partition(Result::is_ok);
    assert!(
        taken.len() >= 2,
        "what a second may bring is taken at once: {refused:?}"
    );
    let flag = "--mergelog-max-requests-per-second";
    for refused in refused.iter().map(|answer| answer.as_ref().unwrap_err()) {
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains(flag), "{refused}");
    }
    let counted = interceptor.metric("cascade_trace_server_limited_requests_total");
    assert_eq!(counted, refused.len() as f64);
    assert!(counted > 0.0 && interceptor.log().contains(flag));

    // Whether it lives can be asked all the same.
    let endpoint = format!("http://{}", trace_server(&interceptor));
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    for _ in 0..10 {
        let answer = health.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.into_inner().status, 1, "SERVING");
    }
    let mut again = client.clone();
    eventually("there is room again", async || {
        let mergelogs = vec![mergelog("again", &[])];
        again.post_mergelogs(post(mergelogs)).await.ok()
    })
    .await;
    drop((client, again, health));
    assert_eq!(interceptor.stop().code(), Some(0));
    let rows = trace::rows::<tables::Mergelog>(trace.path());
    assert_eq!(
        rows.len(),
        taken.len() + 1,
        "nothing that was refused is stored"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mergelogs_that_break_the_rules_are_kept_and_counted() {
    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let mut client = trace_server_client(&interceptor).await;
    let mut unspecified = mergelog("u", &[]);
    unspecified.cause_type = 0;
    let broken = vec![
        mergelog("twice", &["1", "2"]),
        mergelog("twice", &["1", "3"]),
        mergelog("single", &["1"]),
        unspecified,
    ];
    client.post_mergelogs(post(broken.clone())).await.unwrap();
    let all = client.get_all_mergelogs(()).await.unwrap().into_inner();
    assert_eq!(all.mergelogs, broken);
    for rule in ["made_twice", "one_source", "unspecified"] {
        assert_eq!(
            interceptor.labelled_metric("cascade_trace_server_violations", rule),
            1.0,
            "{rule}"
        );
    }
    assert!(interceptor.log().contains("breaks a rule"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_are_there() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};

    let etcd = Etcd::start();
    let trace = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, trace.path(), &[LISTEN]);
    let endpoint = format!("http://{}", trace_server(&interceptor));
    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let service = "k8scpdt.mergelog.v1.MergelogService".to_owned();
    let request = HealthCheckRequest {
        service: service.clone(),
    };
    let health = HealthClient::new(channel.clone()).check(request).await;
    assert_eq!(health.unwrap().into_inner().status, 1, "SERVING");
    interceptor.ready().await;

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(futures::stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    assert!(list.service.contains(&ServiceResponse { name: service }));
}
