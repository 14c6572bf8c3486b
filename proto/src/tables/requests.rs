//! `requests` and `request_calls`: kube-apiserver's own spans.

use super::define::columns;
use super::{Moment, Table};

columns! {
    /// A row of `requests`.
    #[derive(Debug, Clone, PartialEq)]
    pub struct Request / RequestBuilder / RequestView {
        /// etcd cluster id, lowercase hex.
        cluster_id: Option<String>,
        /// Interceptor instance.
        instance: String,
        /// Trace id, lowercase hex; not unique to a request.
        trace_id: String,
        /// Span id of the server span, lowercase hex.
        span_id: String,
        /// Span id of its parent; NULL for a root.
        parent_span_id: Option<String>,
        /// kube-apiserver that served it: service.instance.id, or its address.
        apiserver: Option<String>,
        /// HTTP method.
        method: Option<String>,
        /// API group from the path; the core group is the empty text. NULL, like the other parts of
        /// the path, when it names no resource.
        api_group: Option<String>,
        /// API version from the path.
        api_version: Option<String>,
        /// Resource from the path.
        resource: Option<String>,
        /// Subresource from the path.
        subresource: Option<String>,
        /// Namespace from the path; NULL for a Namespace itself.
        namespace: Option<String>,
        /// Object name from the path.
        name: Option<String>,
        /// User agent of the client; a loop of kube-controller-manager is named at its end.
        user_agent: Option<String>,
        /// Audit id. A client may choose it, and so may give many requests one.
        audit_id: Option<String>,
        /// HTTP status code.
        status_code: Option<i32>,
        /// Request received, kube-apiserver's clock.
        start: Moment,
        /// Answer sent, kube-apiserver's clock.
        end: Moment,
        /// Arrival of the span, nanoseconds since the Unix epoch, interceptor's clock.
        received_unix_nano: i64,
        /// Time in admission, mutation and validation included, nanoseconds; NULL for deletes and
        /// requests that store nothing.
        admission_ns: Option<i64>,
        /// Time during which a call to etcd was under way, reads included, nanoseconds; NULL
        /// without any.
        etcd_ns: Option<i64>,
        /// User who authenticated, from an audit event; NULL, like the three below, without one.
        user: Option<String>,
        /// Groups of the user, from an audit event.
        groups: Option<Vec<String>>,
        /// First source address, from an audit event.
        source_ip: Option<String>,
        /// Authorization decision (`allow` or `forbid`), from an audit event.
        decision: Option<String>,
    }
}

impl Table for Request {
    const NAME: &'static str = "requests";
    const DOCUMENTATION: &'static str =
        "One row per kube-apiserver server span that was received over OTLP.";

    fn revision(&self) -> Option<i64> {
        None
    }
}

columns! {
    /// A row of `request_calls`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RequestCall / RequestCallBuilder / RequestCallView {
        /// etcd cluster id, lowercase hex.
        cluster_id: Option<String>,
        /// Interceptor instance.
        instance: String,
        /// Span id of kube-apiserver's etcd client span: equals `calls.span_id`.
        call_span_id: String,
        /// Span id of the server span it belongs to: equals `requests.span_id`.
        request_span_id: String,
        /// Trace id of both.
        trace_id: String,
    }
}

impl Table for RequestCall {
    const NAME: &'static str = "request_calls";
    const DOCUMENTATION: &'static str = "Which etcd call belongs to which request, found by \
        walking each etcd client span's parents up to its server span. Calls that cannot change \
        anything are left out, as in `calls`.";

    fn revision(&self) -> Option<i64> {
        None
    }
}
