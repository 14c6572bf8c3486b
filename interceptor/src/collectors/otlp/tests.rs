//! What becomes of spans, recorded and made up.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cascade_proto::tables::{Moment, Request};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;
use prost::Message;

use super::{Assembled, Assembler, Limits, OtlpMetrics};
use crate::collectors::audit::{self, AuditEvent};

mod audited;
mod made_up;
mod recorded;

const RECEIVED: Moment = Moment {
    unix_nano: 1_700_000_000_000_000_000,
};

fn assembler(limits: &Limits) -> (Assembler, OtlpMetrics) {
    let metrics = OtlpMetrics::default();
    (
        Assembler::new(Arc::from("test"), limits, metrics.clone()),
        metrics,
    )
}

/// A folder of `testdata`.
fn testdata(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(name)
}

/// The recorded messages, in order.
fn recording() -> Vec<ExportTraceServiceRequest> {
    let mut files: Vec<_> = std::fs::read_dir(testdata("otlp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "bin"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let read = |path| ExportTraceServiceRequest::decode(&*std::fs::read(path).unwrap()).unwrap();
    files.into_iter().map(read).collect()
}

/// The recorded audit events, in order.
fn recorded_events() -> Vec<AuditEvent> {
    let log = std::fs::read_to_string(testdata("otlp/audit.log")).unwrap();
    log.lines()
        .filter_map(|line| audit::read(line.as_bytes()).unwrap())
        .collect()
}

/// A message of spans that all came from one kube-apiserver.
fn message(spans: Vec<Span>) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("service.name", "apiserver"),
                    text("service.instance.id", "apiserver-1"),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            schema_url: String::new(),
        }],
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// A span of trace 1; parent 0 is none.
fn span(id: u8, parent: u8, kind: SpanKind, name: &str) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
        name: name.to_owned(),
        kind: kind as i32,
        start_time_unix_nano: 1_000 + u64::from(id),
        end_time_unix_nano: 2_000 + u64::from(id),
        ..Span::default()
    }
}

fn server(id: u8, parent: u8, target: &str) -> Span {
    Span {
        attributes: vec![text("http.method", "POST"), text("http.target", target)],
        ..span(id, parent, SpanKind::Server, "POST")
    }
}

fn internal(id: u8, parent: u8) -> Span {
    span(id, parent, SpanKind::Internal, "authorization")
}

fn txn(id: u8, parent: u8) -> Span {
    Span {
        attributes: vec![
            text("rpc.service", "etcdserverpb.KV"),
            text("rpc.method", "Txn"),
        ],
        ..span(id, parent, SpanKind::Client, "etcdserverpb.KV/Txn")
    }
}

/// `call>request` of each row, the first byte of their ids, in order.
fn links(assembled: &Assembled) -> Vec<String> {
    let mut links: Vec<_> = assembled
        .calls
        .iter()
        .map(|call| format!("{}>{}", &call.call_span_id[..2], &call.request_span_id[..2]))
        .collect();
    links.sort();
    links
}
