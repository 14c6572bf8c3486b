//! Which request made an etcd call: kube-apiserver's own spans.
//!
//! A call names the span that kube-apiserver's etcd client was in, `request_calls` says which server
//! span that belongs to, and `requests` describes it. Both ids of a span count, the trace's and its own:
//! kube-apiserver keeps the trace id of privileged clients for many requests.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::actor;
use super::clocks::Span;
use super::words::{Word, Words};
use crate::catalog::Trace;
use crate::derive::columns::{int64, int64s, stream, text, texts};
use crate::error::Error;
use crate::session::STORED_SCHEMA;

/// Who made a request, and how: few are different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Caller {
    pub(super) actor: Word,
    pub(super) user: Word,
    pub(super) verb: Word,
    pub(super) subresource: Word,
}

/// A request as far as a write is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestFacts {
    /// Received, nanoseconds since the Unix epoch, kube-apiserver's clock.
    pub(super) start_unix_nano: i64,
    /// Answered, likewise.
    pub(super) end_unix_nano: i64,
    /// The kube-apiserver whose clock this is.
    pub(super) apiserver: Word,
    /// Index into the callers plus one.
    pub(super) caller: u32,
}

impl RequestFacts {
    /// From when to when kube-apiserver served it.
    pub(super) fn span(&self) -> Span {
        Span {
            begin: self.start_unix_nano,
            end: self.end_unix_nano,
        }
    }
}

/// Names a span in 16 bytes instead of 48 characters: two hashes under keys of their own, so that
/// two spans are taken for one in less than one of 10^20 traces.
type SpanKey = (u64, u64);

/// The requests behind calls.
#[derive(Debug, Default)]
pub(super) struct Callers {
    hashers: (RandomState, RandomState),
    by_call: HashMap<SpanKey, RequestFacts>,
    callers: Vec<Caller>,
    codes: HashMap<Caller, u32>,
}

impl Callers {
    /// Reads `request_calls` and `requests`.
    pub(super) async fn read(
        context: &SessionContext,
        trace: &Trace,
        words: &mut Words,
    ) -> Result<Self, Error> {
        let mut callers = Self::default();
        let has_links = trace
            .table("request_calls")
            .is_some_and(|table| table.rows > 0);
        if !has_links {
            return Ok(callers);
        }
        let links = callers.links(context).await?;
        let wanted: HashSet<SpanKey> = links.iter().map(|(_, request)| *request).collect();
        let requests = callers.requests(context, &wanted, words).await?;
        for (call, request) in links {
            if let Some(facts) = requests.get(&request) {
                keep_first(&mut callers.by_call, call, *facts);
            }
        }
        Ok(callers)
    }

    /// The request that made the call with these ids.
    pub(super) fn of_call(&self, trace_id: &str, span_id: &str) -> Option<RequestFacts> {
        self.by_call.get(&self.span(trace_id, span_id)).copied()
    }

    /// Whether no call has a request.
    pub(super) fn is_empty(&self) -> bool {
        self.by_call.is_empty()
    }

    /// All callers, by index.
    pub(super) fn into_list(self) -> Vec<Caller> {
        self.callers
    }

    fn span(&self, trace_id: &str, span_id: &str) -> SpanKey {
        let span = (trace_id, span_id);
        (self.hashers.0.hash_one(span), self.hashers.1.hash_one(span))
    }

    /// Spans of calls and of the requests they belong to.
    async fn links(&self, context: &SessionContext) -> Result<Vec<(SpanKey, SpanKey)>, Error> {
        let query = format!(
            "SELECT trace_id, call_span_id, request_span_id FROM {STORED_SCHEMA}.request_calls"
        );
        let mut links = Vec::new();
        let mut batches = stream(context, &query).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let traces = texts(&batch, "trace_id")?;
            let calls = texts(&batch, "call_span_id")?;
            let requests = texts(&batch, "request_span_id")?;
            links.extend((0..batch.num_rows()).map(|row| {
                let trace = traces.value(row);
                let call = self.span(trace, calls.value(row));
                (call, self.span(trace, requests.value(row)))
            }));
        }
        Ok(links)
    }

    /// The requests that made calls.
    async fn requests(
        &mut self,
        context: &SessionContext,
        wanted: &HashSet<SpanKey>,
        words: &mut Words,
    ) -> Result<HashMap<SpanKey, RequestFacts>, Error> {
        let query = format!(
            "SELECT trace_id, span_id, apiserver, start_unix_nano, end_unix_nano, method, name, subresource,
                user_agent, \"user\"
            FROM {STORED_SCHEMA}.requests"
        );
        let mut requests = HashMap::with_capacity(wanted.len());
        let mut batches = stream(context, &query).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let (traces, spans) = (texts(&batch, "trace_id")?, texts(&batch, "span_id")?);
            let starts = int64s(&batch, "start_unix_nano")?;
            let ends = int64s(&batch, "end_unix_nano")?;
            let apiservers = texts(&batch, "apiserver")?;
            let (methods, names) = (texts(&batch, "method")?, texts(&batch, "name")?);
            let subresources = texts(&batch, "subresource")?;
            let (agents, users) = (texts(&batch, "user_agent")?, texts(&batch, "user")?);
            for row in 0..batch.num_rows() {
                let span = self.span(traces.value(row), spans.value(row));
                let times = int64(starts, row).zip(int64(ends, row));
                let Some((start_unix_nano, end_unix_nano)) =
                    times.filter(|_| wanted.contains(&span))
                else {
                    continue;
                };
                let verb = text(methods, row).map(|method| verb(method, text(names, row)));
                let caller = Caller {
                    actor: words.of(text(agents, row).and_then(actor::of_user_agent)),
                    user: words.of(text(users, row)),
                    verb: words.of(verb.as_deref()),
                    subresource: words.of(text(subresources, row)),
                };
                let facts = RequestFacts {
                    start_unix_nano,
                    end_unix_nano,
                    apiserver: words.of(text(apiservers, row)),
                    caller: self.code(caller),
                };
                keep_first(&mut requests, span, facts);
            }
        }
        Ok(requests)
    }

    fn code(&mut self, caller: Caller) -> u32 {
        *self.codes.entry(caller).or_insert_with(|| {
            self.callers.push(caller);
            // Callers are far fewer than requests, and more than four billion fit into no memory.
            u32::try_from(self.callers.len()).unwrap_or(0)
        })
    }
}

/// The entry at an index plus one; nothing at 0.
pub(super) fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?.checked_sub(1)?)
}

/// Of several that claim the same span the first received counts, whatever order they are read in.
fn keep_first(found: &mut HashMap<SpanKey, RequestFacts>, span: SpanKey, facts: RequestFacts) {
    found
        .entry(span)
        .and_modify(|kept| *kept = (*kept).min(facts))
        .or_insert(facts);
}

/// Kubernetes' verb for an HTTP method: a DELETE that names no object deletes a collection.
fn verb(method: &str, name: Option<&str>) -> String {
    match (method, name) {
        ("POST", _) => "create".to_owned(),
        ("PUT", _) => "update".to_owned(),
        ("PATCH", _) => "patch".to_owned(),
        ("DELETE", Some(_)) => "delete".to_owned(),
        ("DELETE", None) => "deletecollection".to_owned(),
        _ => method.to_lowercase(),
    }
}
