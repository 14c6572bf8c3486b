//! The real interceptor receives spans over the network and reads an audit log: the rows are there
//! afterwards, and nothing that is sent to it harms the traffic.

// Helpers of tests fail by panicking, but clippy's exemption covers `#[test]` functions only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use cascade_proto::tables::{Call, Gap, Request, RequestCall};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use support::{Etcd, Interceptor, eventually, trace};
use tempfile::TempDir;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/otlp")
}

/// What a kube-apiserver sent, in order.
fn recording() -> Vec<ExportTraceServiceRequest> {
    let mut files: Vec<_> = fs::read_dir(testdata())
        .expect("the folder testdata/otlp")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let read = |path| ExportTraceServiceRequest::decode(&*fs::read(path).unwrap()).unwrap();
    files.into_iter().map(read).collect()
}

async fn exporter(interceptor: &Interceptor) -> TraceServiceClient<Channel> {
    let address = interceptor.collector("receiving spans");
    TraceServiceClient::connect(format!("http://{address}"))
        .await
        .expect("a connection to the receiver")
}

async fn export_recording(exporter: &mut TraceServiceClient<Channel>) {
    for message in recording() {
        let answer = exporter.export(message).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
    }
}

/// Rows of `requests` with their names and users, in the order of their begin.
fn requests(trace: &Path) -> Vec<Request> {
    let mut requests = trace::rows::<Request>(trace);
    requests.sort_by_key(|request| request.start.unix_nano);
    requests
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_become_rows() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(&etcd, folder.path(), &["--otlp-listen=127.0.0.1:0"]);
    interceptor.ready().await;
    let mut exporter = exporter(&interceptor).await;
    export_recording(&mut exporter).await;
    // All 16 wait for a second, so they are in memory still: the end must not lose them.
    assert!(interceptor.stop().success());

    let requests = requests(folder.path());
    let calls = trace::rows::<RequestCall>(folder.path());
    assert_eq!(requests.len(), 16);
    assert_eq!(calls.len(), 11);
    let cluster_id = requests[0].cluster_id.clone().expect("a cluster id");
    for request in &requests {
        assert_eq!(request.cluster_id.as_ref(), Some(&cluster_id));
        assert_eq!(request.user, None);
    }
    for call in &calls {
        assert_eq!(call.cluster_id.as_ref(), Some(&cluster_id));
        let owners = requests.iter().filter(|request| {
            request.span_id == call.request_span_id && request.trace_id == call.trace_id
        });
        assert_eq!(owners.count(), 1, "{call:?}");
    }
    let binding = requests
        .iter()
        .find(|request| request.subresource.as_deref() == Some("binding"))
        .expect("the binding of a Pod");
    assert_eq!(binding.name.as_deref(), Some("web-85d49fd46d-5zmhw"));
    assert_eq!(binding.etcd_ns, Some(13_361_267));
    assert_eq!(trace::rows::<Gap>(folder.path()), []);
}

/// OpenTelemetry collectors, which may stand in between, compress by default. The limit is for what
/// comes out: a small message may be a large one.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_are_taken_up_to_their_true_size() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let flags = [
        "--otlp-listen=127.0.0.1:0",
        "--otlp-max-message-bytes=100000",
    ];
    let interceptor = Interceptor::serve(&etcd, folder.path(), &flags);
    interceptor.ready().await;
    let exporter = exporter(&interceptor).await;
    let mut exporter = exporter.send_compressed(CompressionEncoding::Gzip);
    export_recording(&mut exporter).await;
    let mut bomb = recording().remove(0);
    // 10 MB that compress to some kilobytes.
    bomb.resource_spans[0].scope_spans[0].spans[0].name = "x".repeat(10_000_000);
    let refused = exporter.export(bomb).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(interceptor.stop().success());
    assert_eq!(requests(folder.path()).len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_messages_than_a_second_may_bring_are_refused_and_counted() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let flags = [
        "--otlp-listen=127.0.0.1:0",
        "--otlp-max-requests-per-second=2",
    ];
    let interceptor = Interceptor::serve(&etcd, folder.path(), &flags);
    let mut exporter = exporter(&interceptor).await;
    let mut taken = 0;
    let refused = loop {
        match exporter.export(ExportTraceServiceRequest::default()).await {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(taken >= 2, "what a second may bring is taken at once");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    assert!(
        refused.message().contains("--otlp-max-requests-per-second"),
        "{refused}"
    );
    // Exporters come again only if they are told when.
    let details = String::from_utf8_lossy(refused.details()).into_owned();
    assert!(details.contains("google.rpc.RetryInfo"), "{details}");
    let counted = interceptor.metric("cascade_otlp_limited_requests_total");
    assert_eq!(counted, 1.0);
    for message in recording() {
        eventually("there is room again", async || {
            exporter.export(message.clone()).await.ok()
        })
        .await;
    }
    assert!(interceptor.stop().success());
    assert_eq!(requests(folder.path()).len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_events_add_users() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("audit.log");
    fs::write(&log, "something from before, cut").unwrap();
    let trace_dir = folder.path().join("trace");
    let interceptor = Interceptor::serve(
        &etcd,
        &trace_dir,
        &[
            "--otlp-listen=127.0.0.1:0",
            "--audit-log",
            log.to_str().unwrap(),
        ],
    );
    let mut exporter = exporter(&interceptor).await;
    let events = fs::read_to_string(testdata().join("audit.log")).unwrap();
    let half = events.len() / 2;
    let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
    write!(file, "\n{}", &events[..half]).unwrap();
    eventually("some events are read", async || {
        (interceptor.metric("cascade_audit_events_total") > 3.0).then_some(())
    })
    .await;
    export_recording(&mut exporter).await;
    // Rotated in the middle of a line: its end is written to the old file.
    let rotated = folder.path().join("audit-1.log");
    fs::rename(&log, &rotated).unwrap();
    let (line, rest) = events[half..].split_once('\n').unwrap();
    writeln!(file, "{line}").unwrap();
    fs::write(&log, format!("not JSON\n{rest}")).unwrap();
    assert!(interceptor.stop().success());

    let requests = requests(&trace_dir);
    assert_eq!(requests.len(), 16);
    for request in &requests {
        assert!(request.user.is_some(), "{request:?}");
        assert!(
            request
                .groups
                .as_ref()
                .is_some_and(|groups| !groups.is_empty())
        );
        assert_eq!(request.source_ip.as_deref(), Some("127.0.0.1"));
    }
    let decisions: Vec<_> = requests
        .iter()
        .map(|request| request.decision.as_deref().unwrap())
        .collect();
    assert_eq!(
        decisions
            .iter()
            .filter(|decision| **decision == "forbid")
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_and_harms_nothing() {
    let etcd = Etcd::start();
    let folder = TempDir::new().unwrap();
    let interceptor = Interceptor::serve(
        &etcd,
        folder.path(),
        &[
            "--otlp-listen=127.0.0.1:0",
            "--otlp-max-message-bytes=20000",
        ],
    );
    let mut exporter = exporter(&interceptor).await;

    let mut malformed = recording().remove(0);
    let span = &mut malformed.resource_spans[0].scope_spans[0].spans[0];
    span.span_id = vec![0; 8];
    let answer = exporter.export(malformed).await.unwrap().into_inner();
    let partial = answer.partial_success.expect("a partial success");
    assert_eq!(partial.rejected_spans, 1);
    assert!(partial.error_message.contains("span id"), "{partial:?}");

    let mut large = ExportTraceServiceRequest::default();
    for message in recording() {
        large.resource_spans.extend(message.resource_spans);
    }
    let refused = exporter.export(large).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::OutOfRange, "{refused}");

    // Bytes that are no HTTP/2, and a connection that says nothing.
    let address = interceptor.collector("receiving spans");
    let _silent = std::net::TcpStream::connect(address).unwrap();
    let mut garbage = std::net::TcpStream::connect(address).unwrap();
    garbage.write_all(&[0xff; 1000]).unwrap();

    let mut client = interceptor.client().await;
    client
        .put("/registry/nodes/a", "value", None)
        .await
        .unwrap();
    drop(client);
    let refused = interceptor.metric("cascade_otlp_refused_spans_total");
    assert_eq!(refused, 1.0);
    assert!(interceptor.stop().success());
    assert_eq!(trace::rows::<Call>(folder.path()).len(), 1);
}
