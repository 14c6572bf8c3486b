//! Which request made an etcd call: kube-apiserver's own spans.
//!
//! A call names the span that kube-apiserver's etcd client was in, `request_calls` says which server
//! span that belongs to, and `requests` describes it. Both ids of a span count, the trace's and its own:
//! kube-apiserver keeps the trace id of privileged clients for many requests.

use std::borrow::Cow;
use std::ops::Range;

use arrow::array::StringArray;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::actor;
use super::clocks::Span;
use super::span_map::SpanMap;
use super::spans::{SpanKey, Spans};
use super::words::{Word, Words};
use crate::catalog::Trace;
use crate::causality::kernel::{FastMap, Interner, block_at, blocks};
use crate::derive::columns::{flags, int64, int64s, stream, text, texts};
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

/// What `caller` is of a request that was not read.
const NO_CALLER: u32 = 0;

const NOT_READ: RequestFacts = RequestFacts {
    start_unix_nano: 0,
    end_unix_nano: 0,
    apiserver: Word::NONE,
    caller: NO_CALLER,
};

/// The requests behind calls.
#[derive(Debug, Default)]
pub(super) struct Callers {
    spans: Spans,
    /// Call → position of its request.
    by_call: SpanMap,
    requests: Vec<RequestFacts>,
    callers: Vec<Caller>,
    codes: FastMap<Caller, u32>,
    words: Words,
}

/// What is looked up while `request_calls` and `requests` are read.
#[derive(Debug, Default)]
struct Reading {
    /// Request → its position.
    positions: SpanMap,
    /// Calls that several requests claim, with the requests after the first.
    rivals: Vec<(SpanKey, u32)>,
    /// User agents, and who each names.
    agents: Interner,
    actors: Vec<Word>,
}

impl Callers {
    /// Reads `request_calls` and `requests`.
    pub(super) async fn read(
        context: &SessionContext,
        trace: &Trace,
        spans: Spans,
    ) -> Result<Self, Error> {
        let links = trace.table("request_calls").map_or(0, |table| table.rows);
        if links == 0 {
            return Ok(Self::default());
        }
        let links = usize::try_from(links).unwrap_or(0);
        let mut callers = Self {
            spans,
            by_call: SpanMap::with_capacity(links),
            ..Self::default()
        };
        let mut reading = Reading {
            positions: SpanMap::with_capacity(links),
            ..Reading::default()
        };
        callers.links(context, &mut reading).await?;
        callers.requests = vec![NOT_READ; reading.positions.len()];
        callers.requests(context, &mut reading).await?;
        callers.settle(&reading.rivals);
        Ok(callers)
    }

    /// The request that made the call of this name.
    pub(super) fn of_call(&self, call: SpanKey) -> Option<RequestFacts> {
        self.request(self.by_call.get(call)?)
    }

    /// Makes the requests of some calls quick to find.
    pub(super) fn fetch(&self, calls: &[SpanKey]) {
        self.by_call.fetch(calls);
    }

    /// Puts its words into terms of another collection, which they were read beside.
    pub(super) fn translate(&mut self, words: &mut Words) {
        let translation = std::mem::take(&mut self.words).translation(words);
        for caller in &mut self.callers {
            *caller = Caller {
                actor: translation.of(caller.actor),
                user: translation.of(caller.user),
                verb: translation.of(caller.verb),
                subresource: translation.of(caller.subresource),
            };
        }
        for request in &mut self.requests {
            request.apiserver = translation.of(request.apiserver);
        }
    }

    /// All callers, by index.
    pub(super) fn into_list(self) -> Vec<Caller> {
        self.callers
    }

    fn request(&self, position: u32) -> Option<RequestFacts> {
        let found = self.requests.get(position as usize).copied();
        found.filter(|request| request.caller != NO_CALLER)
    }

    /// The names of the spans in some rows.
    fn keys(&self, rows: Range<usize>, traces: &StringArray, spans: &StringArray) -> Vec<SpanKey> {
        rows.map(|row| self.spans.key(traces.value(row), spans.value(row)))
            .collect()
    }

    /// Calls, and the requests they belong to.
    async fn links(
        &mut self,
        context: &SessionContext,
        reading: &mut Reading,
    ) -> Result<(), Error> {
        let query = format!(
            "SELECT trace_id, call_span_id, request_span_id FROM {STORED_SCHEMA}.request_calls"
        );
        let mut batches = stream(context, &query).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let traces = texts(&batch, "trace_id")?;
            let calls = texts(&batch, "call_span_id")?;
            let requests = texts(&batch, "request_span_id")?;
            for rows in blocks(batch.num_rows()) {
                let requests = self.keys(rows.clone(), traces, requests);
                let calls = self.keys(rows, traces, calls);
                reading.positions.fetch(&requests);
                self.by_call.fetch(&calls);
                for (request, call) in requests.into_iter().zip(calls) {
                    // More requests than 32 bits count fit into no memory.
                    let next = u32::try_from(reading.positions.len()).unwrap_or(u32::MAX);
                    let request = reading.positions.get_or_insert(request, next);
                    let known = self.by_call.get_or_insert(call, request);
                    if known != request {
                        reading.rivals.push((call, request));
                    }
                }
            }
        }
        Ok(())
    }

    /// The requests that made calls.
    async fn requests(
        &mut self,
        context: &SessionContext,
        reading: &mut Reading,
    ) -> Result<(), Error> {
        let query = format!(
            "SELECT trace_id, span_id, apiserver, start_unix_nano, end_unix_nano, method, name IS NOT NULL AS is_named,
                subresource, user_agent, \"user\"
            FROM {STORED_SCHEMA}.requests"
        );
        let mut batches = stream(context, &query).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let (traces, spans) = (texts(&batch, "trace_id")?, texts(&batch, "span_id")?);
            let starts = int64s(&batch, "start_unix_nano")?;
            let ends = int64s(&batch, "end_unix_nano")?;
            let apiservers = texts(&batch, "apiserver")?;
            let (methods, named) = (texts(&batch, "method")?, flags(&batch, "is_named")?);
            let subresources = texts(&batch, "subresource")?;
            let (agents, users) = (texts(&batch, "user_agent")?, texts(&batch, "user")?);
            let mut names = Vec::new().into_iter();
            for row in 0..batch.num_rows() {
                if let Some(block) = block_at(row, batch.num_rows()) {
                    let keys = self.keys(block, traces, spans);
                    reading.positions.fetch(&keys);
                    names = keys.into_iter();
                }
                let times = int64(starts, row).zip(int64(ends, row));
                let position = names.next().and_then(|span| reading.positions.get(span));
                let found = position.zip(times);
                let Some((position, (start_unix_nano, end_unix_nano))) = found else {
                    continue;
                };
                let verb = text(methods, row).map(|method| verb(method, named.value(row)));
                let words = &mut self.words;
                let caller = Caller {
                    actor: text(agents, row)
                        .map_or(Word::NONE, |agent| reading.actor(agent, words)),
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
                // Of several that claim the same span the first received counts, whatever order they are read in.
                if let Some(known) = self.requests.get_mut(position as usize)
                    && (known.caller == NO_CALLER || facts < *known)
                {
                    *known = facts;
                }
            }
        }
        Ok(())
    }

    /// Gives calls that several requests claim to the one that was received first.
    fn settle(&mut self, rivals: &[(SpanKey, u32)]) {
        for (call, rival) in rivals {
            let Some(known) = self.by_call.get(*call) else {
                continue;
            };
            let is_first = match (self.request(*rival), self.request(known)) {
                (Some(rival), Some(known)) => rival < known,
                (rival, _) => rival.is_some(),
            };
            if is_first {
                self.by_call.replace(*call, *rival);
            }
        }
    }

    fn code(&mut self, caller: Caller) -> u32 {
        *self.codes.entry(caller).or_insert_with(|| {
            self.callers.push(caller);
            // Callers are far fewer than requests, and more than four billion fit into no memory.
            u32::try_from(self.callers.len()).unwrap_or(NO_CALLER)
        })
    }
}

impl Reading {
    /// The actor in a user agent; there are few different ones.
    fn actor(&mut self, user_agent: &str, words: &mut Words) -> Word {
        let number = self.agents.number(user_agent) as usize;
        if number == self.actors.len() {
            self.actors.push(words.of(actor::of_user_agent(user_agent)));
        }
        self.actors.get(number).copied().unwrap_or(Word::NONE)
    }
}

/// The entry at an index plus one; nothing at 0.
pub(super) fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?.checked_sub(1)?)
}

/// Kubernetes' verb for an HTTP method: a DELETE that names no object deletes a collection.
fn verb(method: &str, is_named: bool) -> Cow<'static, str> {
    match (method, is_named) {
        ("POST", _) => "create".into(),
        ("PUT", _) => "update".into(),
        ("PATCH", _) => "patch".into(),
        ("DELETE", true) => "delete".into(),
        ("DELETE", false) => "deletecollection".into(),
        _ => method.to_lowercase().into(),
    }
}
