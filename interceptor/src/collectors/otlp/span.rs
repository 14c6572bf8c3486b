//! What is of interest of one span.

use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as wire;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::path::{self, ResourcePath};

/// Longest text that is kept of an attribute, in bytes. Names in Kubernetes have at most 253.
const MAX_TEXT: usize = 1024;
/// Name of the resource attribute `service.name` of kube-apiserver.
const APISERVER: &str = "apiserver";
/// Services of etcd, as `rpc.service` has them, begin with this.
const ETCD_SERVICES: &str = "etcdserverpb.";
/// Methods of etcd whose calls are rows of `calls`, each with its service.
const MUTATING_METHODS: [&str; 6] = [
    "KV/Txn",
    "KV/Put",
    "KV/DeleteRange",
    "KV/Compact",
    "Lease/LeaseGrant",
    "Lease/LeaseRevoke",
];

/// Identity of a span. A trace id is not unique to a request, a span id only within its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SpanKey {
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
}

impl SpanKey {
    /// The trace id as tables have it.
    pub(super) fn trace_id(&self) -> String {
        hex(&self.trace)
    }

    /// The span id as tables have it.
    pub(super) fn span_id(&self) -> String {
        hex(&self.span)
    }

    /// A span of the same trace.
    pub(super) fn sibling(&self, span: [u8; 8]) -> Self {
        Self { span, ..*self }
    }
}

/// Lowercase hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The begin of a text, cut where a character ends.
pub(super) fn bounded(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// One span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) key: SpanKey,
    /// Span above it in the same trace.
    pub(super) parent: Option<[u8; 8]>,
    /// Begin and end, nanoseconds since the Unix epoch, the sender's clock.
    pub(super) start_unix_nano: i64,
    pub(super) end_unix_nano: i64,
    pub(super) role: Role,
}

/// What a span tells us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// kube-apiserver served a request.
    Request(Box<Served>),
    /// kube-apiserver called etcd.
    Call {
        /// Whether such a call is a row of `calls`.
        mutating: bool,
    },
    /// kube-apiserver stored one object: time from the value that an update builds on until the
    /// new one was encoded, summed over the attempts.
    Stored {
        /// `None` for a create, which builds on nothing.
        preparing_ns: Option<i64>,
    },
    /// kube-apiserver handled a write: when it began to admit and store the object.
    Handled {
        /// Nanoseconds since the Unix epoch.
        storing_unix_nano: i64,
    },
    /// Anything else; only its place in the tree counts.
    Other,
}

/// What a server span says about its request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Served {
    pub(super) method: Option<String>,
    /// The path with its query, to tell requests of one audit id apart.
    pub(super) target: Option<String>,
    pub(super) resource: Option<ResourcePath>,
    pub(super) user_agent: Option<String>,
    pub(super) audit_id: Option<String>,
    pub(super) status_code: Option<i32>,
}

/// Why a span is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// OTLP: 16 bytes, not all zero.
    #[error("a trace id that is not 16 bytes, or all zero")]
    TraceId,
    /// OTLP: 8 bytes, not all zero.
    #[error("a span id that is not 8 bytes, or all zero")]
    SpanId,
    /// OTLP: 8 bytes or none.
    #[error("a parent span id that is not 8 bytes")]
    ParentSpanId,
    /// No begin, an end before the begin, or beyond the year 2262.
    #[error("times that are missing, reversed or out of range")]
    Times,
}

/// Who sent spans.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Source {
    /// `service.instance.id`.
    pub(super) instance_id: Option<String>,
    is_apiserver: bool,
}

impl Source {
    /// Reads the resource that spans came with.
    pub(super) fn read(resource: Option<&Resource>) -> Self {
        let mut source = Self::default();
        for attribute in resource
            .into_iter()
            .flat_map(|resource| &resource.attributes)
        {
            match attribute.key.as_str() {
                "service.instance.id" => source.instance_id = text(attribute).map(bounded),
                "service.name" => source.is_apiserver = text(attribute) == Some(APISERVER),
                _ => {}
            }
        }
        source
    }
}

/// Reads a span.
///
/// # Errors
/// [`Malformed`] when it breaks the rules of OTLP.
pub(super) fn read(span: &wire::Span, source: &Source) -> Result<Span, Malformed> {
    let key = SpanKey {
        trace: id(&span.trace_id).ok_or(Malformed::TraceId)?,
        span: id(&span.span_id).ok_or(Malformed::SpanId)?,
    };
    let parent = match span.parent_span_id.as_slice() {
        [] => None,
        parent => match <[u8; 8]>::try_from(parent).map_err(|_| Malformed::ParentSpanId)? {
            [0, 0, 0, 0, 0, 0, 0, 0] => None,
            parent => Some(parent),
        },
    };
    let start_unix_nano = nanos(span.start_time_unix_nano).ok_or(Malformed::Times)?;
    let end_unix_nano = nanos(span.end_time_unix_nano).ok_or(Malformed::Times)?;
    if end_unix_nano < start_unix_nano {
        return Err(Malformed::Times);
    }
    Ok(Span {
        key,
        parent,
        start_unix_nano,
        end_unix_nano,
        role: role(span, source),
    })
}

/// An id of `N` bytes that is not all zero.
fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    <[u8; N]>::try_from(bytes).ok().filter(|id| *id != [0; N])
}

/// A time that is there and fits the columns.
fn nanos(unix_nano: u64) -> Option<i64> {
    i64::try_from(unix_nano).ok().filter(|time| *time > 0)
}

fn role(span: &wire::Span, source: &Source) -> Role {
    match SpanKind::try_from(span.kind) {
        Ok(SpanKind::Server) => served(span, source).map_or(Role::Other, Role::Request),
        Ok(SpanKind::Client) => call(span),
        _ => storing(span),
    }
}

/// A server span of kube-apiserver. Attributes have had several names, by the version of the
/// semantic conventions.
fn served(span: &wire::Span, source: &Source) -> Option<Box<Served>> {
    let mut served = Served::default();
    let mut query = None;
    for attribute in &span.attributes {
        match attribute.key.as_str() {
            "http.method" | "http.request.method" => {
                served.method = text(attribute).map(bounded);
            }
            "http.target" | "url.path" => served.target = text(attribute).map(bounded),
            "url.query" => query = text(attribute).filter(|query| !query.is_empty()),
            "user_agent.original" | "http.user_agent" => {
                served.user_agent = text(attribute).map(bounded);
            }
            "audit-id" => served.audit_id = text(attribute).map(bounded),
            "http.status_code" | "http.response.status_code" => {
                served.status_code = number(attribute);
            }
            _ => {}
        }
    }
    served.method.as_ref()?;
    if !source.is_apiserver && served.audit_id.is_none() {
        // Another HTTP server: a kubelet, say.
        return None;
    }
    if let (Some(target), Some(query)) = (&mut served.target, query) {
        *target = bounded(&format!("{target}?{query}"));
    }
    served.resource = served.target.as_deref().and_then(path::read);
    Some(Box::new(served))
}

/// A client span, perhaps of a call to etcd.
fn call(span: &wire::Span) -> Role {
    let (mut service, mut method) = (None, None);
    for attribute in &span.attributes {
        match attribute.key.as_str() {
            "rpc.service" => service = text(attribute),
            "rpc.method" => method = text(attribute),
            _ => {}
        }
    }
    // Newer conventions have both in `rpc.method` only; the name of the span is always both.
    let full = match (service, method) {
        (Some(service), Some(method)) => format!("{service}/{method}"),
        _ => bounded(&span.name),
    };
    match full.strip_prefix(ETCD_SERVICES) {
        None => Role::Other,
        Some(method) => Role::Call {
            mutating: MUTATING_METHODS.contains(&method),
        },
    }
}

/// An internal span, perhaps of the handler of a write or of its storage.
fn storing(span: &wire::Span) -> Role {
    match span.name.as_str() {
        "Create" | "Update" => span
            .events
            .iter()
            .find(|event| event.name == "About to store object in database")
            .and_then(|event| nanos(event.time_unix_nano))
            .map_or(Role::Other, |storing_unix_nano| Role::Handled {
                storing_unix_nano,
            }),
        "Create etcd3" => Role::Stored { preparing_ns: None },
        "GuaranteedUpdate etcd3" => Role::Stored {
            preparing_ns: preparing(&span.events),
        },
        _ => Role::Other,
    }
}

/// Time within an optimistic update from each value that it was based on to its encoding. In
/// between lie mutation, admission and validation.
fn preparing(events: &[wire::span::Event]) -> Option<i64> {
    let mut total: Option<i64> = None;
    let mut since = None;
    for event in events {
        match event.name.as_str() {
            "initial value restored" | "Retry value restored" => {
                since = nanos(event.time_unix_nano)
            }
            "About to Encode" => {
                let prepared = nanos(event.time_unix_nano)
                    .zip(since.take())
                    .and_then(|(end, begin)| end.checked_sub(begin))
                    .filter(|taken| *taken >= 0);
                if let Some(taken) = prepared {
                    total = Some(total.unwrap_or_default().saturating_add(taken));
                }
            }
            _ => {}
        }
    }
    total
}

fn text(attribute: &KeyValue) -> Option<&str> {
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn number(attribute: &KeyValue) -> Option<i32> {
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::IntValue(number) => i32::try_from(*number).ok(),
        _ => None,
    }
}
