//! Which request made an etcd call: kube-apiserver's own spans.
//!
//! A call names the span that kube-apiserver's etcd client was in, `request_calls` says which server
//! span that belongs to, and `requests` describes it. Both ids of a span count, the trace's and its own:
//! kube-apiserver keeps the trace id of privileged clients for many requests.

use std::ops::Range;

use arrow::array::StringArray;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::callers::{self, Callers, RequestColumns, RequestFacts};
use super::span_map::SpanMap;
use super::spans::{SpanKey, Spans};
use super::words::Translation;
use crate::causality::kernel::{block_at, blocks};
use crate::derive::columns::{stream, texts};
use crate::error::Error;
use crate::session::STORED_SCHEMA;

/// The requests behind calls, in memory.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Call → position of its request.
    by_call: SpanMap,
    requests: Vec<RequestFacts>,
}

/// What is looked up while `request_calls` and `requests` are read.
#[derive(Debug)]
struct Reading {
    spans: Spans,
    /// Request → its position.
    positions: SpanMap,
    /// Calls that several requests claim, with the requests after the first.
    rivals: Vec<(SpanKey, u32)>,
}

impl Links {
    /// Reads `request_calls`, of which there are so many, and `requests`.
    pub(super) async fn read(
        context: &SessionContext,
        links: usize,
        spans: Spans,
    ) -> Result<(Self, Callers), Error> {
        let mut callers = Callers::default();
        if links == 0 {
            return Ok((Self::default(), callers));
        }
        let mut read = Self {
            by_call: SpanMap::with_capacity(links),
            requests: Vec::new(),
        };
        let mut reading = Reading {
            spans,
            positions: SpanMap::with_capacity(links),
            rivals: Vec::new(),
        };
        read.links(context, &mut reading).await?;
        read.requests = vec![RequestFacts::NOT_READ; reading.positions.len()];
        read.requests(context, &reading, &mut callers).await?;
        read.settle(&reading.rivals, &callers);
        Ok((read, callers))
    }

    /// The requests that made some calls.
    pub(super) fn of_calls(&self, calls: &[SpanKey]) -> Vec<Option<RequestFacts>> {
        self.by_call.fetch(calls);
        let of_call = |call: &SpanKey| self.request(self.by_call.get(*call)?);
        calls.iter().map(of_call).collect()
    }

    /// Puts words into terms of the collection that the callers' were translated to.
    pub(super) fn translate(&mut self, translation: &Translation) {
        for request in &mut self.requests {
            request.apiserver = translation.of(request.apiserver);
        }
    }

    fn request(&self, position: u32) -> Option<RequestFacts> {
        self.requests.get(position as usize)?.read()
    }

    /// Calls, and the requests they belong to.
    async fn links(
        &mut self,
        context: &SessionContext,
        reading: &mut Reading,
    ) -> Result<(), Error> {
        let mut batches = links(context).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let columns = LinkColumns::of(&batch)?;
            for rows in blocks(batch.num_rows()) {
                let (requests, calls) = columns.keys(rows, &reading.spans);
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
        reading: &Reading,
        callers: &mut Callers,
    ) -> Result<(), Error> {
        let mut batches = callers::requests(context).await?;
        while let Some(batch) = batches.next().await.transpose()? {
            let columns = RequestColumns::of(&batch)?;
            let mut names = Vec::new().into_iter();
            for row in 0..batch.num_rows() {
                if let Some(block) = block_at(row, batch.num_rows()) {
                    let keys = keys(block, columns.traces, columns.spans, &reading.spans);
                    reading.positions.fetch(&keys);
                    names = keys.into_iter();
                }
                let position = names.next().and_then(|span| reading.positions.get(span));
                if let Some(position) = position
                    && let Some(facts) = columns.facts(row, callers)
                    && let Some(known) = self.requests.get_mut(position as usize)
                {
                    callers.keep_first(known, facts);
                }
            }
        }
        Ok(())
    }

    /// Gives calls that several requests claim to the one that was received first.
    fn settle(&mut self, rivals: &[(SpanKey, u32)], callers: &Callers) {
        for (call, rival) in rivals {
            let Some(known) = self.by_call.get(*call) else {
                continue;
            };
            let Some(rival_facts) = self.request(*rival) else {
                continue;
            };
            let mut first = self.request(known).unwrap_or(RequestFacts::NOT_READ);
            callers.keep_first(&mut first, rival_facts);
            if first == rival_facts {
                self.by_call.replace(*call, *rival);
            }
        }
    }
}

/// All links, to be taken in by [`LinkColumns`].
pub(super) async fn links(context: &SessionContext) -> Result<SendableRecordBatchStream, Error> {
    let query = format!(
        "SELECT trace_id, call_span_id, request_span_id FROM {STORED_SCHEMA}.request_calls"
    );
    stream(context, &query).await
}

/// Some of the links.
pub(super) struct LinkColumns<'b> {
    traces: &'b StringArray,
    calls: &'b StringArray,
    requests: &'b StringArray,
}

impl<'b> LinkColumns<'b> {
    pub(super) fn of(batch: &'b RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            traces: texts(batch, "trace_id")?,
            calls: texts(batch, "call_span_id")?,
            requests: texts(batch, "request_span_id")?,
        })
    }

    /// The requests and the calls in some rows.
    pub(super) fn keys(&self, rows: Range<usize>, spans: &Spans) -> (Vec<SpanKey>, Vec<SpanKey>) {
        let requests = keys(rows.clone(), self.traces, self.requests, spans);
        (requests, keys(rows, self.traces, self.calls, spans))
    }
}

/// The names of the spans in some rows.
pub(super) fn keys(
    rows: Range<usize>,
    traces: &StringArray,
    ids: &StringArray,
    spans: &Spans,
) -> Vec<SpanKey> {
    rows.map(|row| spans.key(traces.value(row), ids.value(row)))
        .collect()
}
