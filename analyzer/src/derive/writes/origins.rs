//! In which span of kube-apiserver each call was made, until it is known to which request that belongs: calls are read beside
//! requests, which takes as long.

use bytemuck::{CheckedBitPattern, NoUninit};

use super::callers::RequestFacts;
use super::clocks::{Clocks, Span};
use super::rows::{History, Nanos, Row};
use super::spans::SpanKey;
use super::words::Word;
use crate::causality::kernel::{BLOCK_ROWS, blocks};
use crate::storage::{List, Storage};

/// W3C Trace Context has no span of this name.
const NO_SPAN: SpanKey = (0, 0);

/// Where a call came from, and who saw it.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Origin {
    span: [u64; 2],
    instance: Word,
    /// What would be padding.
    rest: u32,
}

impl Origin {
    fn new(span: Option<SpanKey>, instance: Word) -> Self {
        Self {
            span: span.unwrap_or(NO_SPAN).into(),
            instance,
            rest: 0,
        }
    }

    /// The span, if the call was made in one.
    fn span(&self) -> Option<SpanKey> {
        let span = self.span.into();
        (span != NO_SPAN).then_some(span)
    }
}

/// The origins of the calls of all rows.
#[derive(Debug)]
pub(super) struct Origins {
    /// Per history and row.
    histories: Vec<List<Origin>>,
}

impl Origins {
    /// Of the rows of some histories, none of them known.
    pub(super) fn of(histories: &[History], storage: &Storage) -> Self {
        let unknown = Origin::new(None, Word::NONE);
        let of_rows = |history: &History| List::filled(storage, unknown, history.rows.len());
        Self {
            histories: histories.iter().map(of_rows).collect(),
        }
    }

    /// Notes where the call of a row came from.
    pub(super) fn set(
        &mut self,
        (history, row): (usize, usize),
        span: Option<SpanKey>,
        instance: Word,
    ) {
        if let Some(rows) = self.histories.get_mut(history) {
            rows.set(row, Origin::new(span, instance));
        }
    }

    /// The spans that calls were made in, by row.
    pub(super) fn spans(&self) -> impl Iterator<Item = SpanKey> + '_ {
        let origins = self.histories.iter().flat_map(List::iter);
        origins.filter_map(|origin| origin.span())
    }

    /// Adds the requests that calls belong to, which tell about the clocks of both. `requests` tells those of the next ones
    /// of [`Self::spans`], one for each.
    pub(super) fn resolve(
        &self,
        histories: &mut [History],
        clocks: &mut Clocks,
        mut requests: impl FnMut(&[SpanKey]) -> Vec<Option<RequestFacts>>,
    ) {
        let mut spans: Vec<SpanKey> = Vec::with_capacity(BLOCK_ROWS);
        for (history, origins) in histories.iter_mut().zip(&self.histories) {
            for block in blocks(origins.len()) {
                let origins = origins.slice(block.clone());
                let known = || {
                    let rows = block.clone().zip(origins.iter());
                    rows.filter_map(|(row, origin)| Some((row, origin, origin.span()?)))
                };
                spans.clear();
                spans.extend(known().map(|(_, _, span)| span));
                for ((row, origin, _), request) in known().zip(requests(&spans)) {
                    if let Some(request) = request {
                        let add = |row: &mut Row| origin.resolve(row, request, clocks);
                        history.rows.update(row, add);
                    }
                }
            }
        }
    }
}

impl Origin {
    fn resolve(&self, row: &mut Row, request: RequestFacts, clocks: &mut Clocks) {
        row.requested = Nanos::new(Some(request.start_unix_nano));
        row.caller = request.caller;
        row.clock = clocks.code(self.instance, request.apiserver);
        if let Some((begin, end)) = row.called.get().zip(row.answered.get()) {
            clocks.observe(row.clock, request.span(), Span { begin, end });
        }
    }
}
