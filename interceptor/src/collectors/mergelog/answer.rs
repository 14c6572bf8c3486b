//! Collects what was asked for. Answers are one message each, by the protocol, so they have a limit.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use prost::Message;
use tonic::Status;

use super::collection::Visit;

/// Bytes that a message costs in a list besides its own: a tag and a length.
const LIST_OVERHEAD: usize = 6;

/// An answer under construction.
pub(super) struct Answer<T, M> {
    message: fn(T) -> M,
    /// Place of a row in the answer; 0 keeps the order of arrival.
    place: Box<dyn Fn(&T) -> usize + Send>,
    found: Vec<(usize, M)>,
    bytes: usize,
    max_bytes: usize,
}

impl<T, M: Message> Answer<T, M> {
    /// An answer in the order of arrival.
    pub(super) fn in_order(message: fn(T) -> M, max_bytes: usize) -> Self {
        Self::by_place(message, max_bytes, |_| 0)
    }

    /// An answer in the order of places.
    pub(super) fn by_place(
        message: fn(T) -> M,
        max_bytes: usize,
        place: impl Fn(&T) -> usize + Send + 'static,
    ) -> Self {
        Self {
            message,
            place: Box::new(place),
            found: Vec::new(),
            bytes: 0,
            max_bytes,
        }
    }

    /// The messages.
    ///
    /// # Errors
    /// There are more than the limit allows.
    pub(super) fn finish(mut self) -> Result<Vec<M>, Status> {
        if self.bytes > self.max_bytes {
            return Err(Status::resource_exhausted(format!(
                "the answer would have more than {} bytes: ask for the descendants of one CPID, read \
                 the trace itself (cascade sql), or raise --mergelog-max-answer-bytes",
                self.max_bytes
            )));
        }
        // Stable: rows of one place stay in order of arrival.
        self.found.sort_by_key(|(place, _)| *place);
        Ok(self.found.into_iter().map(|(_, message)| message).collect())
    }
}

impl<T: 'static, M: Message + 'static> Visit<T> for Answer<T, M> {
    fn row(&mut self, row: T) -> ControlFlow<()> {
        let place = (self.place)(&row);
        let message = (self.message)(row);
        self.bytes += message.encoded_len() + LIST_OVERHEAD;
        if self.bytes > self.max_bytes {
            return ControlFlow::Break(());
        }
        self.found.push((place, message));
        ControlFlow::Continue(())
    }
}

/// CPIDs with their places in an answer.
#[derive(Clone)]
pub(super) struct Places(Arc<HashMap<String, usize>>);

impl Places {
    /// In the order given.
    pub(super) fn of(cpids: Vec<String>) -> Self {
        let places = cpids.into_iter().enumerate();
        Self(Arc::new(
            places.map(|(place, cpid)| (cpid, place)).collect(),
        ))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, cpid: &str) -> bool {
        self.0.contains_key(cpid)
    }

    /// The place of a CPID that is among them.
    pub(super) fn place(&self, cpid: &str) -> usize {
        self.0.get(cpid).copied().unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_order_an_answer_and_arrival_what_shares_one() {
        let places = Places::of(vec!["b".to_owned(), "a".to_owned()]);
        let mut answer = Answer::by_place(
            |text: String| text,
            1000,
            move |text: &String| places.place(text.get(..1).unwrap_or_default()),
        );
        for text in ["a1", "b1", "a2", "b2"] {
            assert!(answer.row(text.to_owned()).is_continue());
        }
        assert_eq!(answer.finish().unwrap(), ["b1", "b2", "a1", "a2"]);
    }

    #[test]
    fn an_answer_that_is_too_large_is_refused_before_it_is_collected() {
        let mut answer = Answer::in_order(|text: String| text, 100);
        let mut taken = 0;
        while answer.row("x".repeat(20)).is_continue() {
            taken += 1;
        }
        assert_eq!(taken, 3);
        let status = answer.finish().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    }
}
