//! From a span up to the request it belongs to.
//!
//! A span is sent when it ends, so it mostly arrives before its parent. What is to reach the request
//! therefore waits at the parent that has not arrived yet, and is handed up from parent to parent
//! as they do. Spans that have arrived are remembered for a while, for children that come late.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::span::SpanKey;

/// Ancestors that are walked at once. Real trees have about ten; a cycle has no end.
const MAX_DEPTH: usize = 64;
/// Outdated entries of a queue that are not worth removing.
const COMPACT_ABOVE: usize = 1024;

/// Bounds of a [`Tree`].
#[derive(Debug, Clone)]
pub(super) struct TreeLimits {
    /// How long an arrived span is remembered.
    pub(super) remember: Duration,
    /// How long an arrived request or call is remembered, so that none is taken twice.
    pub(super) remember_ends: Duration,
    /// How long something waits for the spans above it; longer than requests last.
    pub(super) wait: Duration,
    /// Spans that are remembered at most.
    pub(super) spans: usize,
    /// Things that wait at most.
    pub(super) waiting: usize,
}

/// Where a span that has arrived leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Request,
    Below(Option<SpanKey>),
}

/// What was not delivered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Undelivered<P> {
    /// The spans above did not arrive in time.
    pub(super) late: Vec<P>,
    /// There was no room to wait, or the spans above may have been forgotten for lack of room.
    pub(super) overflow: Vec<P>,
}

/// Where a new span's parts go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<P> {
    /// The span has arrived before.
    Duplicate,
    /// To this request; the parts that waited at the span and its own.
    Request(SpanKey, Vec<P>),
    /// Nowhere yet, or there are none.
    Waiting,
    /// Nowhere ever: no request is above.
    Background(Vec<P>),
}

/// Spans of all traces.
#[derive(Debug)]
pub(super) struct Tree<P> {
    limits: TreeLimits,
    known: HashMap<SpanKey, Known>,
    /// When to forget spans, in order. Each known span is in one of the two.
    forget: VecDeque<(Instant, SpanKey)>,
    forget_ends: VecDeque<(Instant, SpanKey)>,
    waiting: HashMap<SpanKey, Waiting<P>>,
    /// When something has waited for too long, in order.
    give_up: VecDeque<(Instant, SpanKey)>,
    waiting_parts: usize,
    /// When a span was last forgotten before its time, for lack of room.
    forgotten_early: Option<Instant>,
    undelivered: Undelivered<P>,
}

/// What waits for one span.
#[derive(Debug)]
struct Waiting<P> {
    /// The last to come set it anew: rarely is there more than one.
    until: Instant,
    parts: Vec<P>,
}

impl<P> Tree<P> {
    pub(super) fn new(limits: TreeLimits) -> Self {
        Self {
            limits,
            known: HashMap::new(),
            forget: VecDeque::new(),
            forget_ends: VecDeque::new(),
            waiting: HashMap::new(),
            give_up: VecDeque::new(),
            waiting_parts: 0,
            forgotten_early: None,
            undelivered: Undelivered {
                late: Vec::new(),
                overflow: Vec::new(),
            },
        }
    }

    /// A request's span has arrived: what waited for it, or `None` if it had arrived before.
    pub(super) fn add_request(&mut self, key: SpanKey, now: Instant) -> Option<Vec<P>> {
        if !self.remember(key, Known::Request, true, now) {
            return None;
        }
        Some(self.take_waiting(key))
    }

    /// Another span has arrived, and has `own` to tell. `is_end` is to be true for spans that must
    /// not be taken twice even if they come again late.
    pub(super) fn add(
        &mut self,
        key: SpanKey,
        parent: Option<[u8; 8]>,
        is_end: bool,
        own: impl IntoIterator<Item = P>,
        now: Instant,
    ) -> Place<P> {
        let parent = parent.map(|parent| key.sibling(parent));
        if !self.remember(key, Known::Below(parent), is_end, now) {
            return Place::Duplicate;
        }
        let mut parts = self.take_waiting(key);
        parts.extend(own);
        if parts.is_empty() {
            return Place::Waiting;
        }
        let mut cursor = parent;
        for _ in 0..MAX_DEPTH {
            let Some(above) = cursor else {
                return Place::Background(parts);
            };
            match self.known.get(&above) {
                Some(Known::Request) => return Place::Request(above, parts),
                Some(Known::Below(next)) => cursor = *next,
                None => {
                    self.wait(above, parts, now);
                    return Place::Waiting;
                }
            }
        }
        self.undelivered.late.extend(parts);
        Place::Waiting
    }

    /// Forgets what is old, and returns what will never be delivered.
    pub(super) fn expire(&mut self, now: Instant) -> Undelivered<P> {
        for queue in [&mut self.forget, &mut self.forget_ends] {
            while let Some((_, key)) = queue.pop_front_if(|(due, _)| *due <= now) {
                self.known.remove(&key);
            }
        }
        while let Some((_, key)) = self.give_up.pop_front_if(|(due, _)| *due <= now) {
            if let Entry::Occupied(entry) = self.waiting.entry(key)
                && entry.get().until <= now
            {
                let parts = entry.remove().parts;
                self.waiting_parts -= parts.len();
                self.undelivered.late.extend(parts);
            }
        }
        self.blame_forgetting(now);
        self.take_undelivered()
    }

    /// What comes late while spans are forgotten for lack of room may have waited for one of those: then
    /// the loss is ours and not the sender's.
    fn blame_forgetting(&mut self, now: Instant) {
        let waited = self.limits.wait + self.limits.remember;
        let is_ours = self
            .forgotten_early
            .is_some_and(|last| now.saturating_duration_since(last) <= waited);
        if is_ours {
            let late = std::mem::take(&mut self.undelivered.late);
            self.undelivered.overflow.extend(late);
        }
    }

    /// Gives up waiting for anything.
    pub(super) fn finish(&mut self) -> Undelivered<P> {
        for (_, waiting) in self.waiting.drain() {
            self.undelivered.late.extend(waiting.parts);
        }
        self.waiting_parts = 0;
        self.give_up.clear();
        self.take_undelivered()
    }

    /// Number of spans remembered.
    pub(super) fn spans(&self) -> usize {
        self.known.len()
    }

    fn take_undelivered(&mut self) -> Undelivered<P> {
        Undelivered {
            late: std::mem::take(&mut self.undelivered.late),
            overflow: std::mem::take(&mut self.undelivered.overflow),
        }
    }

    /// Notes that a span has arrived; false if it had before.
    fn remember(&mut self, key: SpanKey, known: Known, is_end: bool, now: Instant) -> bool {
        match self.known.entry(key) {
            Entry::Occupied(_) => return false,
            Entry::Vacant(entry) => entry.insert(known),
        };
        if is_end {
            let due = now + self.limits.remember_ends;
            self.forget_ends.push_back((due, key));
        } else {
            self.forget.push_back((now + self.limits.remember, key));
        }
        if self.known.len() > self.limits.spans {
            // Rather the oldest: the rest of its tree is most likely to be there.
            let oldest = self
                .forget
                .pop_front()
                .or_else(|| self.forget_ends.pop_front());
            if let Some((_, oldest)) = oldest {
                self.known.remove(&oldest);
                self.forgotten_early = Some(now);
            }
        }
        true
    }

    fn take_waiting(&mut self, key: SpanKey) -> Vec<P> {
        let Some(waiting) = self.waiting.remove(&key) else {
            return Vec::new();
        };
        self.waiting_parts -= waiting.parts.len();
        waiting.parts
    }

    fn wait(&mut self, above: SpanKey, parts: Vec<P>, now: Instant) {
        let until = now + self.limits.wait;
        self.waiting_parts += parts.len();
        let waiting = self.waiting.entry(above).or_insert_with(|| Waiting {
            until,
            parts: Vec::new(),
        });
        waiting.until = until;
        waiting.parts.extend(parts);
        self.give_up.push_back((until, above));
        if self.give_up.len() > 2 * self.waiting.len() + COMPACT_ABOVE {
            // Most entries are of parts that have been handed on since.
            let waiting = &self.waiting;
            self.give_up
                .retain(|(due, key)| waiting.get(key).is_some_and(|now| now.until == *due));
        }
        while self.waiting_parts > self.limits.waiting {
            let Some((due, oldest)) = self.give_up.pop_front() else {
                break;
            };
            // An entry of something that has been handed on, or waits anew, is not its turn.
            if self
                .waiting
                .get(&oldest)
                .is_some_and(|now| now.until == due)
            {
                let parts = self.take_waiting(oldest);
                self.undelivered.overflow.extend(parts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(span: u8) -> SpanKey {
        SpanKey {
            trace: [1; 16],
            span: [span; 8],
        }
    }

    fn tree(spans: usize, waiting: usize) -> Tree<u8> {
        Tree::new(TreeLimits {
            remember: Duration::from_secs(10),
            remember_ends: Duration::from_secs(10),
            wait: Duration::from_secs(20),
            spans,
            waiting,
        })
    }

    #[test]
    fn what_waits_for_a_span_that_was_forgotten_for_lack_of_room_is_an_overflow() {
        let start = Instant::now();
        let end = start + Duration::from_secs(20);
        for (room, late, overflow) in [(2, vec![], vec![7]), (3, vec![7], vec![])] {
            let mut tree = tree(room, 10);
            for span in [1, 2] {
                tree.add(key(span), None, false, [], start);
            }
            // One more than there is room for, in the first case; its parent never comes.
            tree.add(key(3), Some([9; 8]), false, [7], start);
            assert_eq!(tree.expire(end), Undelivered { late, overflow });
        }
    }

    #[test]
    fn room_is_made_by_what_has_waited_longest_since_it_was_last_added_to() {
        let start = Instant::now();
        let mut tree = tree(100, 3);
        let later = |seconds| start + Duration::from_secs(seconds);
        tree.add(key(1), Some([8; 8]), false, [1], later(0));
        tree.add(key(2), Some([9; 8]), false, [2], later(1));
        // Waits anew.
        tree.add(key(3), Some([8; 8]), false, [3], later(2));
        tree.add(key(4), Some([7; 8]), false, [4], later(3));
        assert_eq!(tree.expire(later(3)).overflow, vec![2]);
    }
}
