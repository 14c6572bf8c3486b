//! One direction of a connection: its header table, header blocks in several frames, and what its
//! sender announced.

use super::budget::Budget;
use super::frame::{
    ACK, CONTINUATION, END_HEADERS, FrameHead, LostBoundary, MAX_FRAME_SIZE, SETTINGS,
    header_fragment, setting,
};
use super::hpack::{Field, HpackDecoder};

/// Longest header block that is decoded, bytes. grpc-go refuses more than 16 MiB, other endpoints
/// a few kilobytes.
const MAX_HEADER_BLOCK: usize = 256 << 10;

/// State of one direction.
#[derive(Debug, Default)]
pub(super) struct Direction {
    headers: HpackDecoder,
    pub(super) block: HeaderBlock,
    /// Whether its first frame was seen.
    begun: bool,
    /// Longest frame that its sender announced to accept; 0 if it said nothing.
    pub(super) max_frame: u32,
}

/// A header block in several frames.
#[derive(Debug, Default)]
pub(super) struct HeaderBlock {
    /// The frame it began with, until it is complete.
    pub(super) open: Option<FrameHead>,
    pub(super) gathered: Vec<u8>,
    /// It grew beyond what is decoded, or there is no room for it.
    too_long: bool,
}

impl Direction {
    /// What must hold for every frame.
    pub(super) fn check(&mut self, head: &FrameHead) -> Result<(), LostBoundary> {
        if !self.begun {
            if head.kind != SETTINGS || head.has(ACK) {
                return Err(LostBoundary::NoSettings { kind: head.kind });
            }
            self.begun = true;
        }
        let expected = match self.block.open {
            Some(open) => head.kind == CONTINUATION && head.stream == open.stream,
            None => head.kind != CONTINUATION,
        };
        if expected {
            return Ok(());
        }
        Err(LostBoundary::HeaderBlock {
            kind: head.kind,
            open: self.block.open.is_some(),
        })
    }

    /// Takes a SETTINGS frame.
    pub(super) fn settings(&mut self, head: &FrameHead, payload: &[u8]) {
        if !head.has(ACK)
            && let Some(length) = setting(payload, MAX_FRAME_SIZE)
        {
            self.max_frame = self.max_frame.max(length);
        }
    }

    /// Forgets a header block that will not be completed.
    pub(super) fn give_up_block(&mut self, budget: &mut Budget) {
        let block = std::mem::take(&mut self.block);
        budget.release(block.gathered.len());
    }

    /// Takes a frame that carries a part of a header block; decodes the block once it is complete.
    pub(super) fn header_frame(
        &mut self,
        head: &FrameHead,
        payload: &[u8],
        budget: &mut Budget,
        field: impl FnMut(Field<'_>),
    ) -> Result<Option<CompleteBlock>, LostBoundary> {
        let fragment = header_fragment(head, payload)?;
        let began = self.block.open.unwrap_or(*head);
        if self.block.open.is_none() && head.has(END_HEADERS) && fragment.len() <= MAX_HEADER_BLOCK
        {
            let is_whole = self.headers.decode(fragment, field).is_ok();
            return Ok(Some(CompleteBlock { began, is_whole }));
        }
        self.block.open = Some(began);
        let fits = self.block.gathered.len() + fragment.len() <= MAX_HEADER_BLOCK;
        if !(self.block.too_long || fits && budget.reserve(fragment.len())) {
            self.block.too_long = true;
            budget.release(self.block.gathered.len());
            self.block.gathered = Vec::new();
        }
        if !self.block.too_long {
            self.block.gathered.extend_from_slice(fragment);
        }
        if !head.has(END_HEADERS) {
            return Ok(None);
        }
        let block = std::mem::take(&mut self.block);
        budget.release(block.gathered.len());
        let is_whole = if block.too_long {
            self.headers.forget();
            false
        } else {
            self.headers.decode(&block.gathered, field).is_ok()
        };
        Ok(Some(CompleteBlock { began, is_whole }))
    }
}

/// A header block that was decoded.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompleteBlock {
    /// The frame it began with.
    pub(super) began: FrameHead,
    /// Whether all of its fields were handed on.
    pub(super) is_whole: bool,
}
