//! Spans as kube-apiserver sends them, at a fixed rate of requests.
//!
//! Each request is a copy of a recorded one with ids and times of its own: the same spans, attributes
//! and events, in the same order. They are sent in messages of as many spans as kube-apiserver's
//! exporter puts into one, one message at a time, as it does.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde::Serialize;
use uuid::Uuid;

/// What load to give.
#[derive(Debug, Clone)]
pub struct OtlpLoadOptions {
    /// The receiver's URL.
    pub receiver: String,
    /// Requests per second.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
    /// Spans of a message; kube-apiserver's exporter sends at most 512.
    pub batch: usize,
}

/// What was sent.
#[derive(Debug, Clone, Serialize)]
pub struct OtlpLoadResult {
    /// Requests whose spans were all sent.
    pub requests: u64,
    /// Spans sent.
    pub spans: u64,
    /// Messages sent.
    pub messages: u64,
    /// Bytes of the messages.
    pub bytes: u64,
    /// For how long.
    pub seconds: f64,
    /// Requests per second that were reached; below the rate asked for when the receiver is slow.
    pub rate: f64,
    /// Median time until a message was answered, in microseconds.
    pub p50_us: f64,
    /// 99th percentile of the same.
    pub p99_us: f64,
    /// Spans that the receiver refused.
    pub refused: i64,
}

/// One recorded request: its spans in the order they were sent, each with its scope.
#[derive(Debug, Clone)]
struct Template {
    spans: Vec<(usize, Span)>,
    /// Begin of the server span, nanoseconds since the Unix epoch.
    begin: u64,
}

/// Recorded requests to make copies of.
#[derive(Debug, Clone)]
pub struct Templates {
    /// Resource and scopes without spans, as the first message has them.
    resource: ResourceSpans,
    requests: Vec<Template>,
}

impl Templates {
    /// Reads the messages (`*.bin`) of a folder, and takes the whole requests that called etcd.
    ///
    /// # Errors
    /// The folder cannot be read, a message is none, or no request is whole.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)
            .with_context(|| format!("cannot read the folder {}", folder.display()))?
        {
            paths.push(entry?.path());
        }
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
        paths.sort();
        let mut messages = Vec::new();
        for path in paths {
            let bytes = std::fs::read(&path)?;
            let message = ExportTraceServiceRequest::decode(&*bytes)
                .with_context(|| format!("{} is no OTLP message", path.display()))?;
            messages.push(message);
        }
        Self::new(messages)
            .with_context(|| format!("the messages in {} cannot be used", folder.display()))
    }

    fn new(messages: Vec<ExportTraceServiceRequest>) -> anyhow::Result<Self> {
        let mut resource = None;
        let mut scopes: Vec<ScopeSpans> = Vec::new();
        let mut traces: HashMap<Vec<u8>, Vec<(usize, Span)>> = HashMap::new();
        let mut order = Vec::new();
        for mut of_resource in messages
            .into_iter()
            .flat_map(|message| message.resource_spans)
        {
            for mut of_scope in std::mem::take(&mut of_resource.scope_spans) {
                let spans = std::mem::take(&mut of_scope.spans);
                let known = scopes
                    .iter()
                    .position(|scope| scope.scope == of_scope.scope);
                let scope = known.unwrap_or_else(|| {
                    scopes.push(of_scope);
                    scopes.len() - 1
                });
                for span in spans {
                    let trace = traces.entry(span.trace_id.clone()).or_insert_with(|| {
                        order.push(span.trace_id.clone());
                        Vec::new()
                    });
                    trace.push((scope, span));
                }
            }
            resource.get_or_insert(of_resource);
        }
        let mut resource = resource.context("there are no spans")?;
        resource.scope_spans = scopes;
        let whole = order
            .iter()
            .filter_map(|trace| Template::new(traces.remove(trace)?));
        let requests: Vec<_> = whole.collect();
        ensure!(
            !requests.is_empty(),
            "there is no trace of one request with a call to etcd"
        );
        Ok(Self { resource, requests })
    }

    /// Spans of a request, on average.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a handful
    pub fn spans_per_request(&self) -> f64 {
        let spans: usize = self
            .requests
            .iter()
            .map(|request| request.spans.len())
            .sum();
        spans as f64 / self.requests.len() as f64
    }

    /// A copy of the request number `number`, that begins at `begin`.
    fn copy(&self, number: usize, begin: u64) -> impl Iterator<Item = (usize, Span)> {
        let template = &self.requests[number % self.requests.len()];
        let trace_id = Uuid::new_v4();
        let audit_id = Uuid::new_v4().to_string();
        let shift = move |time: u64| time.wrapping_sub(template.begin).wrapping_add(begin);
        template.spans.iter().map(move |(scope, span)| {
            let mut span = span.clone();
            // New within its trace is as good as new: ids are of their trace only.
            span.trace_id = trace_id.as_bytes().to_vec();
            span.start_time_unix_nano = shift(span.start_time_unix_nano);
            span.end_time_unix_nano = shift(span.end_time_unix_nano);
            for event in &mut span.events {
                event.time_unix_nano = shift(event.time_unix_nano);
            }
            for attribute in &mut span.attributes {
                if attribute.key == "audit-id" {
                    let value = Some(Value::StringValue(audit_id.clone()));
                    attribute.value = Some(AnyValue { value });
                }
            }
            (*scope, span)
        })
    }

    fn message(&self, spans: Vec<(usize, Span)>) -> ExportTraceServiceRequest {
        let mut resource = self.resource.clone();
        for (scope, span) in spans {
            resource.scope_spans[scope].spans.push(span);
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
        ExportTraceServiceRequest {
            resource_spans: vec![resource],
        }
    }
}

impl Template {
    /// `None` unless it is one request with a call to etcd, and no span but the root is missing.
    fn new(spans: Vec<(usize, Span)>) -> Option<Self> {
        let ids: HashSet<_> = spans.iter().map(|(_, span)| span.span_id.clone()).collect();
        let of_kind = |kind: SpanKind| {
            spans
                .iter()
                .map(|(_, span)| span)
                .filter(move |span| span.kind == kind as i32)
        };
        let mut servers = of_kind(SpanKind::Server);
        let (server, None) = (servers.next()?, servers.next()) else {
            return None;
        };
        let calls = of_kind(SpanKind::Client).any(|span| span.name.starts_with("etcdserverpb."));
        let roots = spans
            .iter()
            .filter(|(_, span)| !ids.contains(&span.parent_span_id));
        (calls && roots.count() == 1).then(|| Self {
            begin: server.start_time_unix_nano,
            spans: spans.clone(),
        })
    }
}

/// Gives the load and measures.
///
/// # Errors
/// The receiver cannot be reached, or refuses a message.
pub async fn otlp_load(
    options: &OtlpLoadOptions,
    templates: &Templates,
) -> anyhow::Result<OtlpLoadResult> {
    ensure!(options.batch > 0, "a message needs a span");
    ensure!(
        options.rate.is_finite() && options.rate > 0.0,
        "the rate must be above zero"
    );
    let mut client = TraceServiceClient::connect(options.receiver.clone())
        .await
        .with_context(|| format!("cannot connect to {}", options.receiver))?;
    let begin = Instant::now();
    let mut requests: u32 = 0;
    let (mut spans, mut messages, mut bytes, mut refused) = (0, 0, 0, 0);
    let mut latencies = Vec::new();
    let mut batch = Vec::new();
    while begin.elapsed() < options.duration {
        let due = begin + Duration::from_secs_f64(f64::from(requests) / options.rate);
        // Behind the schedule there is no pause until it is caught up with.
        tokio::time::sleep_until(due.into()).await;
        while batch.len() < options.batch {
            batch.extend(templates.copy(requests as usize, unix_nano()));
            requests += 1;
        }
        let rest = batch.split_off(options.batch);
        let message = templates.message(std::mem::replace(&mut batch, rest));
        spans += options.batch as u64;
        messages += 1;
        bytes += message.encoded_len() as u64;
        let sent = Instant::now();
        let answer = client.export(message).await?.into_inner();
        latencies.push(sent.elapsed());
        refused += answer
            .partial_success
            .map_or(0, |partial| partial.rejected_spans);
    }
    let seconds = begin.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let microseconds = |percent: usize| {
        let rank = (latencies.len() * percent).div_ceil(100).max(1);
        latencies.get(rank - 1).map_or(0.0, Duration::as_secs_f64) * 1e6
    };
    Ok(OtlpLoadResult {
        requests: requests.into(),
        spans,
        messages,
        bytes,
        seconds,
        rate: f64::from(requests) / seconds,
        p50_us: microseconds(50),
        p99_us: microseconds(99),
        refused,
    })
}

fn unix_nano() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn templates() -> Templates {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/otlp");
        Templates::read(&folder).unwrap()
    }

    #[test]
    fn whole_requests_are_taken() {
        let templates = templates();
        // Not: three requests with one trace id, those without a call, and what is no request.
        assert_eq!(templates.requests.len(), 10);
        assert!((10.0..13.0).contains(&templates.spans_per_request()));
    }

    #[test]
    fn copies_differ_in_ids_and_times_only() {
        let templates = templates();
        let begin = 1_800_000_000_000_000_000;
        let one: Vec<_> = templates.copy(3, begin).collect();
        let other: Vec<_> = templates
            .copy(3 + templates.requests.len(), begin)
            .collect();
        assert_eq!(one.len(), other.len());
        for ((_, one), (_, other)) in one.iter().zip(&other) {
            assert_ne!(one.trace_id, other.trace_id);
            assert_eq!(one.name, other.name);
            assert_eq!(one.start_time_unix_nano, other.start_time_unix_nano);
            assert!(one.end_time_unix_nano >= one.start_time_unix_nano);
            assert!(one.start_time_unix_nano.abs_diff(begin) < 60_000_000_000);
        }
        let server = |spans: &[(usize, Span)]| {
            let mut servers = spans
                .iter()
                .filter(|(_, span)| span.kind == SpanKind::Server as i32);
            servers.next().unwrap().1.clone()
        };
        assert_eq!(server(&one).start_time_unix_nano, begin);
        assert_ne!(server(&one).attributes, server(&other).attributes);
    }

    #[test]
    fn a_folder_without_messages_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Templates::read(folder.path()).unwrap_err();
        assert!(
            format!("{error:#}").contains("there are no spans"),
            "{error:#}"
        );
    }
}
