//! Which request made an etcd call, where memory is limited.
//!
//! Maps of all spans would be looked up at random, which no cache of pages helps. So links, requests and calls are put into
//! parts by the name of the span that they are matched by, in a file; of one part at a time the map fits into memory. Spans
//! are divided, not their traces: of a privileged client's trace there may be nearly all.

use std::hash::Hasher;

use bytemuck::{Pod, Zeroable};
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::callers::{self, Callers, RequestColumns, RequestFacts};
use super::links::{self, LinkColumns, keys};
use super::span_map::SpanMap;
use super::spans::{SpanKey, Spans};
use crate::causality::kernel::{FastHasher, blocks};
use crate::error::Error;
use crate::storage::{List, Record, Storage};

/// Spans of a part. They fill nearly three quarters of 2^20 slots, and take 43 MiB with what is known of each.
const PART_SPANS: usize = 750_000;

/// How many parts there are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts(usize);

impl Parts {
    /// So many; at least one.
    pub(super) fn new(parts: usize) -> Self {
        Self(parts.max(1))
    }

    /// As many as so many links need.
    pub(super) fn for_links(links: usize) -> Self {
        Self::new(links.div_ceil(PART_SPANS))
    }

    /// The part that a span is in.
    fn of(self, (high, low): SpanKey) -> usize {
        let mut hasher = FastHasher::default();
        hasher.write_u64(high);
        hasher.write_u64(low);
        // The map takes the low bits of the same hash.
        ((hasher.finish() >> 40) as usize * self.0) >> 24
    }

    /// A list for each part.
    fn lists<T: Record>(self, storage: &Storage) -> Divided<T> {
        Divided {
            parts: self,
            lists: (0..self.0).map(|_| List::new(storage)).collect(),
        }
    }
}

/// A list that is divided into parts.
#[derive(Debug)]
struct Divided<T: Record> {
    parts: Parts,
    lists: Vec<List<T>>,
}

impl<T: Record> Divided<T> {
    fn push(&mut self, span: SpanKey, entry: T) {
        if let Some(list) = self.lists.get_mut(self.parts.of(span)) {
            list.push(entry);
        }
    }
}

/// What is matched by the name of a span.
trait Named {
    fn span(&self) -> SpanKey;
}

impl Named for [u64; 2] {
    fn span(&self) -> SpanKey {
        (*self).into()
    }
}

/// A call, and the request it belongs to.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Link {
    request: [u64; 2],
    call: [u64; 2],
}

impl Named for Link {
    fn span(&self) -> SpanKey {
        self.request.into()
    }
}

/// A request, by its own span or that of a call it made.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Request {
    span: [u64; 2],
    facts: RequestFacts,
}

impl Named for Request {
    fn span(&self) -> SpanKey {
        self.span.into()
    }
}

/// The requests that made calls, in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct PartedLinks {
    answers: Divided<RequestFacts>,
    /// Answers of each part that have been taken.
    taken: Vec<usize>,
}

impl PartedLinks {
    /// Reads `request_calls` and `requests`, and finds the requests of some calls.
    pub(super) async fn read(
        context: &SessionContext,
        (storage, parts): (&Storage, Parts),
        spans: &Spans,
        callers: &mut Callers,
        calls: impl Iterator<Item = SpanKey>,
    ) -> Result<Self, Error> {
        let links = read_links(context, parts.lists(storage), spans).await?;
        let requests = read_requests(context, parts.lists(storage), spans, callers).await?;
        let mut claims = parts.lists(storage);
        for (links, requests) in links.lists.into_iter().zip(requests.lists) {
            claim(&links, &requests, callers, &mut claims);
        }
        let mut asked = parts.lists::<[u64; 2]>(storage);
        calls.for_each(|call| asked.push(call, call.into()));
        let mut answers = parts.lists(storage);
        let each = claims.lists.into_iter().zip(asked.lists);
        for ((claims, asked), answers) in each.zip(&mut answers.lists) {
            answer(&claims, &asked, callers, answers);
        }
        Ok(Self {
            answers,
            taken: vec![0; parts.0],
        })
    }

    /// The requests that made the next ones of the calls.
    pub(super) fn of_calls(&mut self, calls: &[SpanKey]) -> Vec<Option<RequestFacts>> {
        let of_call = |call: &SpanKey| {
            let part = self.answers.parts.of(*call);
            let taken = self.taken.get_mut(part)?;
            let answer = self.answers.lists.get(part)?.get(*taken)?;
            *taken += 1;
            answer.read()
        };
        calls.iter().map(of_call).collect()
    }
}

async fn read_links(
    context: &SessionContext,
    mut read: Divided<Link>,
    spans: &Spans,
) -> Result<Divided<Link>, Error> {
    let mut batches = links::links(context).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        let (requests, calls) = LinkColumns::of(&batch)?.keys(0..batch.num_rows(), spans);
        for (request, call) in requests.into_iter().zip(calls) {
            let link = Link {
                request: request.into(),
                call: call.into(),
            };
            read.push(request, link);
        }
    }
    Ok(read)
}

async fn read_requests(
    context: &SessionContext,
    mut read: Divided<Request>,
    spans: &Spans,
    callers: &mut Callers,
) -> Result<Divided<Request>, Error> {
    let mut batches = callers::requests(context).await?;
    while let Some(batch) = batches.next().await.transpose()? {
        let columns = RequestColumns::of(&batch)?;
        let keys = keys(0..batch.num_rows(), columns.traces, columns.spans, spans);
        for (row, span) in keys.into_iter().enumerate() {
            if let Some(facts) = columns.facts(row, callers) {
                let request = Request {
                    span: span.into(),
                    facts,
                };
                read.push(span, request);
            }
        }
    }
    Ok(read)
}

/// Finds the requests that links name, all of one part, and adds them by their calls.
fn claim(
    links: &List<Link>,
    requests: &List<Request>,
    callers: &Callers,
    claims: &mut Divided<Request>,
) {
    let mut positions = SpanMap::with_capacity(links.len());
    in_blocks(links, &mut positions, |link, positions| {
        // A part has far fewer than 32 bits count.
        let next = u32::try_from(positions.len()).unwrap_or(u32::MAX);
        positions.get_or_insert(link.span(), next);
    });
    let mut found = vec![RequestFacts::NOT_READ; positions.len()];
    in_blocks(requests, &mut positions, |request, positions| {
        let position = positions.get(request.span());
        let known = position.and_then(|position| found.get_mut(position as usize));
        if let Some(known) = known {
            callers.keep_first(known, request.facts);
        }
    });
    in_blocks(links, &mut positions, |link, positions| {
        let position = positions.get(link.span());
        let facts = position.and_then(|position| found.get(position as usize)?.read());
        if let Some(facts) = facts {
            let span = link.call;
            claims.push(span.into(), Request { span, facts });
        }
    });
}

/// Tells which requests made calls, all of one part. Of several that claim a call it belongs to the one received first.
fn answer(
    claims: &List<Request>,
    calls: &List<[u64; 2]>,
    callers: &Callers,
    answers: &mut List<RequestFacts>,
) {
    let mut positions = SpanMap::with_capacity(claims.len());
    let mut found: Vec<RequestFacts> = Vec::with_capacity(claims.len());
    in_blocks(claims, &mut positions, |claim, positions| {
        let next = u32::try_from(found.len()).unwrap_or(u32::MAX);
        let position = positions.get_or_insert(claim.span(), next);
        match found.get_mut(position as usize) {
            Some(known) => callers.keep_first(known, claim.facts),
            None => found.push(claim.facts),
        }
    });
    in_blocks(calls, &mut positions, |call, positions| {
        let position = positions.get(call.span());
        let facts = position.and_then(|position| found.get(position as usize).copied());
        answers.push(facts.unwrap_or(RequestFacts::NOT_READ));
    });
}

/// Goes through a list; the spans of the entries of a block are fetched together.
fn in_blocks<T: Record + Named>(
    list: &List<T>,
    map: &mut SpanMap,
    mut visit: impl FnMut(&T, &mut SpanMap),
) {
    for block in blocks(list.len()) {
        let entries = list.slice(block);
        let spans: Vec<SpanKey> = entries.iter().map(Named::span).collect();
        map.fetch(&spans);
        entries.iter().for_each(|entry| visit(entry, map));
    }
}
