//! From watch responses to whole revisions.
//!
//! etcd sends the events of a watch in revision order. One revision (a transaction, an expired
//! lease) can hold many events; they come in one response, unless the watch allows fragments: then
//! a response is cut anywhere, and all parts but the last are marked. A watch of the whole keyspace
//! sees every revision, since etcd raises the revision only when a key changes. So a number that is
//! left out is a loss, and is reported as one.

use thiserror::Error;

/// All items (one per key) of one revision, in etcd's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WholeRevision<T> {
    /// etcd revision.
    pub(super) revision: i64,
    /// What happened in it; never empty.
    pub(super) items: Vec<T>,
}

/// Revisions that the watch left out, which a correct watch of the whole keyspace cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("revision {expected} should follow, but etcd's watch went on with {found}")]
pub(super) struct Hole {
    /// The first missing revision.
    pub(super) expected: i64,
    /// The revision that came instead.
    pub(super) found: i64,
}

/// Collects the items of revisions until they are whole.
#[derive(Debug)]
pub(super) struct Assembler<T> {
    /// Every revision up to this one was handed out, or was there before.
    handed_out: i64,
    /// The revision under way.
    open: Option<WholeRevision<T>>,
}

impl<T> Assembler<T> {
    /// Starts after `revision`: what a watch repeats up to it is ignored.
    #[must_use]
    pub(super) fn after(revision: i64) -> Self {
        Self {
            handed_out: revision,
            open: None,
        }
    }

    /// The last revision that was handed out.
    #[must_use]
    pub(super) fn handed_out(&self) -> i64 {
        self.handed_out
    }

    /// Whether an event of `revision` is news. Others need not be decoded.
    #[must_use]
    pub(super) fn wants(&self, revision: i64) -> bool {
        revision > self.handed_out
    }

    /// Takes the next event; a revision that becomes whole by it goes to `out`.
    ///
    /// # Errors
    /// [`Hole`] when a revision is missing; `out` has what was whole before it, and the assembler
    /// must not be used on.
    pub(super) fn push(
        &mut self,
        revision: i64,
        item: T,
        out: &mut Vec<WholeRevision<T>>,
    ) -> Result<(), Hole> {
        if !self.wants(revision) {
            return Ok(());
        }
        if let Some(open) = &mut self.open
            && open.revision == revision
        {
            open.items.push(item);
            return Ok(());
        }
        self.close(out);
        let expected = self.handed_out.saturating_add(1);
        if revision != expected {
            return Err(Hole {
                expected,
                found: revision,
            });
        }
        self.open = Some(WholeRevision {
            revision,
            items: vec![item],
        });
        Ok(())
    }

    /// Ends a response. Unless it was marked as a `fragment`, its last revision is whole.
    pub(super) fn end_response(&mut self, fragment: bool, out: &mut Vec<WholeRevision<T>>) {
        if !fragment {
            self.close(out);
        }
    }

    fn close(&mut self, out: &mut Vec<WholeRevision<T>>) {
        if let Some(whole) = self.open.take() {
            self.handed_out = whole.revision;
            out.push(whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Events of one response as (revision, item), and whether it is a fragment.
    type Response = (Vec<(i64, u32)>, bool);

    fn assemble(after: i64, responses: &[Response]) -> (Vec<WholeRevision<u32>>, Result<(), Hole>) {
        let mut assembler = Assembler::after(after);
        let mut out = Vec::new();
        for (events, fragment) in responses {
            for (revision, item) in events {
                if let Err(error) = assembler.push(*revision, *item, &mut out) {
                    return (out, Err(error));
                }
            }
            assembler.end_response(*fragment, &mut out);
        }
        (out, Ok(()))
    }

    fn whole(revision: i64, items: &[u32]) -> WholeRevision<u32> {
        WholeRevision {
            revision,
            items: items.to_vec(),
        }
    }

    #[test]
    fn a_response_without_fragment_mark_completes_its_last_revision() {
        let (out, result) = assemble(4, &[(vec![(5, 0), (5, 1), (6, 0)], false)]);
        assert_eq!(result, Ok(()));
        assert_eq!(out, [whole(5, &[0, 1]), whole(6, &[0])]);
    }

    #[test]
    fn a_fragment_leaves_its_last_revision_open() {
        let mut assembler = Assembler::after(4);
        let mut out = Vec::new();
        assembler.push(5, 0, &mut out).unwrap();
        assembler.push(6, 0, &mut out).unwrap();
        assembler.end_response(true, &mut out);
        assert_eq!(out, [whole(5, &[0])]);
        assembler.push(6, 1, &mut out).unwrap();
        assembler.end_response(false, &mut out);
        assert_eq!(out, [whole(5, &[0]), whole(6, &[0, 1])]);
        assert_eq!(assembler.handed_out(), 6);
    }

    #[test]
    fn an_empty_last_fragment_completes_the_revision() {
        let (out, _) = assemble(4, &[(vec![(5, 0)], true), (vec![], false)]);
        assert_eq!(out, [whole(5, &[0])]);
    }

    #[test]
    fn a_left_out_revision_is_an_error_and_what_came_before_is_kept() {
        let (out, result) = assemble(4, &[(vec![(5, 0), (7, 0)], false)]);
        let hole = Hole {
            expected: 6,
            found: 7,
        };
        assert_eq!(result, Err(hole));
        assert_eq!(out, [whole(5, &[0])]);
    }

    #[test]
    fn repeated_revisions_are_ignored() {
        let (out, result) = assemble(
            4,
            &[
                (vec![(3, 0), (4, 0), (5, 0)], false),
                (vec![(5, 0), (6, 0)], false),
            ],
        );
        assert_eq!(result, Ok(()));
        assert_eq!(out, [whole(5, &[0]), whole(6, &[0])]);
    }

    proptest! {
        /// However a history is cut into responses and fragments, and wherever the watch starts to
        /// repeat, every revision comes out once, whole and in order.
        #[test]
        fn any_cut_gives_the_same_revisions(
            sizes in prop::collection::vec(1_u32..6, 0..40),
            cuts in prop::collection::vec(0_usize..5, 0..200),
            after in 0_i64..45,
            repeat_from in 0_usize..40,
        ) {
            let history: Vec<WholeRevision<u32>> = sizes
                .iter()
                .zip(1_i64..)
                .map(|(size, revision)| whole(revision, &(0..*size).collect::<Vec<_>>()))
                .collect();
            let after = after.min(i64::try_from(history.len()).unwrap());
            // A watch sends from any revision that is not later than the one after `after`.
            let first = repeat_from.min(usize::try_from(after).unwrap());
            let events: Vec<(i64, u32)> = history[first..]
                .iter()
                .flat_map(|whole| whole.items.iter().map(|item| (whole.revision, *item)))
                .collect();
            let mut responses: Vec<Response> = Vec::new();
            let mut rest = events.as_slice();
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(cuts.next().unwrap_or(3).min(rest.len()));
                let inside_revision = match (head.last(), tail.first()) {
                    (Some(last), Some(next)) => last.0 == next.0,
                    // etcd would not send an empty response within a revision without the mark.
                    (None, Some(next)) => next.1 != 0,
                    _ => false,
                };
                responses.push((head.to_vec(), inside_revision));
                rest = tail;
            }
            let (out, result) = assemble(after, &responses);
            prop_assert_eq!(result, Ok(()));
            prop_assert_eq!(&out[..], &history[usize::try_from(after).unwrap()..]);
        }

        /// Whatever comes, what is handed out is contiguous, and nothing panics.
        #[test]
        fn nothing_is_handed_out_of_order(
            after in 0_i64..6,
            responses in prop::collection::vec(
                (prop::collection::vec((0_i64..12, any::<u32>()), 0..8), any::<bool>()),
                0..12,
            ),
        ) {
            let (out, _) = assemble(after, &responses);
            for (whole, expected) in out.iter().zip(after + 1..) {
                prop_assert_eq!(whole.revision, expected);
                prop_assert!(!whole.items.is_empty());
            }
        }
    }
}
