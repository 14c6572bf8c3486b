//! From spans and audit events to rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cascade_proto::tables::{Moment, Request, RequestCall};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::held::{Fact, Held, HeldLimits};
use super::metrics::OtlpMetrics;
use super::span::{self, Malformed, Role, Served, Source, Span, SpanKey};
use super::tree::{Place, Tree, TreeLimits, Undelivered};
use crate::collectors::audit::AuditEvent;

/// Bounds of memory and waiting.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a request's row waits for the rest of its spans.
    pub settle: Duration,
    /// How long in all it waits for its audit event; `None` when no audit log is read.
    pub audit: Option<Duration>,
    /// How long a call waits for its request; longer than requests last (60 s by default in
    /// kube-apiserver).
    pub wait: Duration,
    /// How long spans are remembered for children that arrive after them.
    pub remember: Duration,
    /// How long requests and calls are remembered, so that a batch that is sent again, which
    /// exporters do for a minute, gives no second rows.
    pub remember_ends: Duration,
    /// Spans that are remembered at most, about 100 bytes each.
    pub spans: usize,
    /// Calls that wait for their request at most.
    pub waiting: usize,
    /// Requests that wait at most, about 1 kB each.
    pub requests: usize,
}

/// About what is kept of one remembered span, in bytes, its places in maps and queues included.
const SPAN_BYTES: usize = 120;
/// About what one waiting call takes.
const WAITING_BYTES: usize = 240;
/// About what one waiting request, or one audit event, takes: twice what those of a real cluster
/// have.
const REQUEST_BYTES: usize = 960;

impl Limits {
    /// The default times, and numbers that about `bytes` of memory are enough for.
    #[must_use]
    pub fn within(bytes: usize) -> Self {
        let part = bytes / 8;
        Self {
            spans: part * 3 / SPAN_BYTES,
            waiting: part / WAITING_BYTES,
            // As many audit events.
            requests: part * 2 / REQUEST_BYTES,
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(1),
            audit: None,
            wait: Duration::from_secs(120),
            remember: Duration::from_secs(10),
            remember_ends: Duration::from_secs(90),
            spans: 600_000,
            waiting: 100_000,
            requests: 50_000,
        }
    }
}

/// Rows that are ready, and what was lost.
#[derive(Debug, Default, PartialEq)]
pub struct Assembled {
    /// Rows of `requests`.
    pub requests: Vec<Request>,
    /// Rows of `request_calls`.
    pub calls: Vec<RequestCall>,
    /// Calls to etcd whose request will not be known because there was no room to wait for it.
    pub dropped: u64,
}

/// What goes up the tree to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// A call to etcd; its span id where it is a row of `request_calls`.
    Call {
        mutating: Option<[u8; 8]>,
        begin: i64,
        end: i64,
    },
    /// Something else about the request.
    Fact(Fact),
}

/// Puts requests together. Does no I/O and reads no clock.
#[derive(Debug)]
pub struct Assembler {
    instance: Arc<str>,
    metrics: OtlpMetrics,
    tree: Tree<Part>,
    held: Held,
    calls: Vec<RequestCall>,
}

impl Assembler {
    /// An assembler that knows nothing yet, of an interceptor's `instance`.
    #[must_use]
    pub fn new(instance: Arc<str>, limits: &Limits, metrics: OtlpMetrics) -> Self {
        Self {
            instance,
            metrics,
            tree: Tree::new(TreeLimits {
                remember: limits.remember,
                remember_ends: limits.remember_ends,
                wait: limits.wait,
                spans: limits.spans,
                waiting: limits.waiting,
            }),
            held: Held::new(HeldLimits {
                settle: limits.settle,
                audit: limits.audit,
                event: limits.remember_ends,
                requests: limits.requests,
                events: limits.requests,
            }),
            calls: Vec::new(),
        }
    }

    /// Takes a message; returns how many of its spans are malformed, and what is wrong with the
    /// first of them. `peer` stands for an apiserver that does not name itself.
    pub fn take(
        &mut self,
        message: &ExportTraceServiceRequest,
        peer: Option<&str>,
        received: Moment,
        now: Instant,
    ) -> (u64, Option<String>) {
        let (mut refused, mut reason) = (0, None);
        for resource_spans in &message.resource_spans {
            let mut source = Source::read(resource_spans.resource.as_ref());
            if source.instance_id.is_none() {
                source.instance_id = peer.map(ToOwned::to_owned);
            }
            for span in resource_spans
                .scope_spans
                .iter()
                .flat_map(|scope| &scope.spans)
            {
                match span::read(span, &source) {
                    Ok(span) => self.take_span(span, &source, received, now),
                    Err(malformed) => {
                        refused += 1;
                        reason.get_or_insert_with(|| Malformed::to_string(&malformed));
                    }
                }
            }
        }
        self.metrics.refused_spans.inc_by(refused);
        (refused, reason)
    }

    /// Takes an audit event.
    pub fn take_event(&mut self, event: AuditEvent, now: Instant) {
        self.held.add_event(event, now);
    }

    /// Rows that are ready by now.
    pub fn take_ready(&mut self, now: Instant) -> Assembled {
        let requests = self.held.take_complete(now);
        let undelivered = self.tree.expire(now);
        self.assembled(requests, &undelivered)
    }

    /// All rows there can be.
    pub fn finish(&mut self) -> Assembled {
        let requests = self.held.finish();
        let undelivered = self.tree.finish();
        self.assembled(requests, &undelivered)
    }

    fn assembled(&mut self, requests: Vec<Request>, undelivered: &Undelivered<Part>) -> Assembled {
        let (late, dropped) = (mutating(&undelivered.late), mutating(&undelivered.overflow));
        self.metrics.unresolved_calls.inc_by(late);
        self.metrics.dropped_calls.inc_by(dropped);
        self.metrics
            .unmatched_events
            .inc_by(self.held.take_unmatched());
        self.metrics.remembered_spans.set(gauge(self.tree.spans()));
        self.metrics.waiting_requests.set(gauge(self.held.len()));
        Assembled {
            requests,
            calls: std::mem::take(&mut self.calls),
            dropped,
        }
    }

    fn take_span(&mut self, span: Span, source: &Source, received: Moment, now: Instant) {
        let Span {
            key,
            parent,
            start_unix_nano: begin,
            end_unix_nano: end,
            role,
        } = span;
        let is_end = matches!(role, Role::Call { mutating: true });
        self.metrics.count(&role);
        let place = match role {
            Role::Request(served) => {
                let Some(parts) = self.tree.add_request(key, now) else {
                    self.metrics.duplicate_spans.inc();
                    return;
                };
                let target = served.target.clone();
                let mut row = self.row(key, *served, source);
                row.parent_span_id = parent.map(|parent| span::hex(&parent));
                row.start.unix_nano = begin;
                row.end.unix_nano = end;
                row.received_unix_nano = received.unix_nano;
                self.held.add(key, row, target, now);
                Place::Request(key, parts)
            }
            role => {
                let own = tell(key, (begin, end), &role);
                self.tree
                    .add(key, parent, is_end, own.into_iter().flatten(), now)
            }
        };
        match place {
            Place::Request(request, parts) => self.deliver(request, parts),
            Place::Background(parts) => {
                self.metrics.background_calls.inc_by(mutating(&parts));
            }
            Place::Duplicate => {
                self.metrics.duplicate_spans.inc();
            }
            Place::Waiting => {}
        }
    }

    fn deliver(&mut self, request: SpanKey, parts: Vec<Part>) {
        for part in parts {
            match part {
                Part::Call {
                    mutating,
                    begin,
                    end,
                } => {
                    self.held.tell(request, Fact::Call(begin, end));
                    if let Some(call) = mutating {
                        self.calls.push(RequestCall {
                            cluster_id: None,
                            instance: self.instance.to_string(),
                            call_span_id: span::hex(&call),
                            request_span_id: request.span_id(),
                            trace_id: request.trace_id(),
                        });
                    }
                }
                Part::Fact(fact) => self.held.tell(request, fact),
            }
        }
    }

    /// A row with what the server span says; times are filled in by the caller.
    fn row(&self, key: SpanKey, served: Served, source: &Source) -> Request {
        let resource = served.resource;
        let of_resource = |part: fn(&super::path::ResourcePath) -> &Option<String>| {
            resource
                .as_ref()
                .and_then(|resource| part(resource).clone())
        };
        Request {
            cluster_id: None,
            instance: self.instance.to_string(),
            trace_id: key.trace_id(),
            span_id: key.span_id(),
            parent_span_id: None,
            apiserver: source.instance_id.clone(),
            method: served.method,
            subresource: of_resource(|resource| &resource.subresource),
            namespace: of_resource(|resource| &resource.namespace),
            name: of_resource(|resource| &resource.name),
            api_group: resource.as_ref().map(|resource| resource.api_group.clone()),
            api_version: resource
                .as_ref()
                .map(|resource| resource.api_version.clone()),
            resource: resource.map(|resource| resource.resource),
            user_agent: served.user_agent,
            audit_id: served.audit_id,
            status_code: served.status_code,
            start: Moment { unix_nano: 0 },
            end: Moment { unix_nano: 0 },
            received_unix_nano: 0,
            admission_ns: None,
            etcd_ns: None,
            user: None,
            groups: None,
            source_ip: None,
            decision: None,
        }
    }
}

/// What a span that is no request has to tell the request above it.
fn tell(key: SpanKey, (begin, end): (i64, i64), role: &Role) -> [Option<Part>; 2] {
    match *role {
        Role::Call { mutating } => [
            Some(Part::Call {
                mutating: mutating.then_some(key.span),
                begin,
                end,
            }),
            None,
        ],
        Role::Stored { preparing_ns } => [
            Some(Part::Fact(Fact::Stored(begin))),
            preparing_ns.map(|taken| Part::Fact(Fact::Prepared(taken))),
        ],
        Role::Handled { storing_unix_nano } => {
            [Some(Part::Fact(Fact::Handled(storing_unix_nano))), None]
        }
        Role::Request(_) | Role::Other => [None, None],
    }
}

/// Number of calls that would be rows of `request_calls`.
fn mutating(parts: &[Part]) -> u64 {
    let is_row = |part: &&Part| {
        matches!(
            part,
            Part::Call {
                mutating: Some(_),
                ..
            }
        )
    };
    parts.iter().filter(is_row).count() as u64
}

fn gauge(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
