//! Looks for items in the order that they are in.

use std::iter::Peekable;

/// Items in ascending order, looked for in that order.
pub(super) struct InOrder<I: Iterator, P> {
    items: Peekable<I>,
    place: P,
}

impl<I: Iterator, P, K> InOrder<I, P>
where
    P: Fn(&I::Item) -> K,
    K: Ord,
{
    /// `place` tells what an item is looked for by.
    pub(super) fn of(items: I, place: P) -> Self {
        Self {
            items: items.peekable(),
            place,
        }
    }

    /// The item at a place that is not before those asked for so far.
    pub(super) fn at(&mut self, wanted: K) -> Option<&I::Item> {
        let Self { items, place } = self;
        while items.next_if(|item| place(item) < wanted).is_some() {}
        items.peek().filter(|item| place(item) == wanted)
    }
}
