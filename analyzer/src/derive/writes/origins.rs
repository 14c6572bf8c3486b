//! In which span of kube-apiserver each call was made, until it is known to which request that belongs: calls are read beside
//! requests, which takes as long.

use super::callers::Callers;
use super::clocks::{Clocks, Span};
use super::rows::{History, Nanos, Row};
use super::spans::SpanKey;
use super::words::Word;
use crate::causality::kernel::BLOCK_ROWS;

/// W3C Trace Context has no span of this name.
const NO_SPAN: SpanKey = (0, 0);

/// Where a call came from, and who saw it.
#[derive(Debug, Clone, Copy)]
struct Origin {
    span: SpanKey,
    instance: Word,
}

const UNKNOWN: Origin = Origin {
    span: NO_SPAN,
    instance: Word::NONE,
};

/// The origins of the calls of all rows.
#[derive(Debug)]
pub(super) struct Origins {
    /// Per history and row.
    histories: Vec<Vec<Origin>>,
}

impl Origins {
    /// Of the rows of some histories, none of them known.
    pub(super) fn of(histories: &[History]) -> Self {
        let of_rows = |history: &History| vec![UNKNOWN; history.rows.len()];
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
        let rows = self.histories.get_mut(history);
        if let Some(origin) = rows.and_then(|rows| rows.get_mut(row)) {
            *origin = Origin {
                span: span.unwrap_or(NO_SPAN),
                instance,
            };
        }
    }

    /// Adds the requests that calls belong to, which tell about the clocks of both.
    pub(super) fn resolve(
        &self,
        histories: &mut [History],
        callers: &Callers,
        clocks: &mut Clocks,
    ) {
        for (history, origins) in histories.iter_mut().zip(&self.histories) {
            let blocks = history.rows.chunks_mut(BLOCK_ROWS);
            for (rows, origins) in blocks.zip(origins.chunks(BLOCK_ROWS)) {
                let spans: Vec<SpanKey> = origins.iter().map(|origin| origin.span).collect();
                callers.fetch(&spans);
                for (row, origin) in rows.iter_mut().zip(origins) {
                    if origin.span != NO_SPAN {
                        origin.resolve(row, callers, clocks);
                    }
                }
            }
        }
    }
}

impl Origin {
    fn resolve(&self, row: &mut Row, callers: &Callers, clocks: &mut Clocks) {
        let Some(request) = callers.of_call(self.span) else {
            return;
        };
        row.requested = Nanos::new(Some(request.start_unix_nano));
        row.caller = request.caller;
        row.clock = clocks.code(self.instance, request.apiserver);
        if let Some((begin, end)) = row.called.get().zip(row.answered.get()) {
            clocks.observe(row.clock, request.span(), Span { begin, end });
        }
    }
}
