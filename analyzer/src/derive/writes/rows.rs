//! The rows of `writes` in memory.

use bytemuck::{CheckedBitPattern, NoUninit, Pod, Zeroable};

use super::clocks::ClockCode;
use super::words::Word;
use crate::derive::histories::HistoryName;
use crate::storage::List;

/// Where the last row was found: the next one is usually near.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    pub(super) history: usize,
    pub(super) row: usize,
}

impl Cursor {
    /// Goes to a history, to its first row unless it is there already; `None` if there is no such history.
    pub(super) fn enter(
        &mut self,
        histories: &[History],
        cluster_id: &str,
        epoch: i32,
    ) -> Option<()> {
        let is_same =
            |History { name, .. }: &History| name.epoch == epoch && *name.cluster_id == *cluster_id;
        if !histories.get(self.history).is_some_and(is_same) {
            self.history = histories.iter().position(is_same)?;
            self.row = 0;
        }
        Some(())
    }
}

/// The changes of one cluster and epoch.
#[derive(Debug)]
pub(super) struct History {
    pub(super) name: HistoryName,
    /// By revision and ordinal, each once.
    pub(super) rows: List<Row>,
}

/// Nanoseconds since the Unix epoch, or unknown; half the size of an `Option<i64>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Nanos(i64);

impl Nanos {
    /// Not known.
    pub(super) const UNKNOWN: Self = Self(i64::MIN);

    pub(super) fn new(nanos: Option<i64>) -> Self {
        nanos.map_or(Self::UNKNOWN, Self)
    }

    pub(super) fn get(self) -> Option<i64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }
}

/// What became of the CPID on the object, with the knowledge of the whole trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, NoUninit, CheckedBitPattern)]
#[repr(u8)]
pub(super) enum Transition {
    /// There is neither a CPID nor a previous one.
    Nothing,
    Start,
    Adopt,
    Carry,
    Merge,
    Replace,
    Drop,
    End,
}

impl Transition {
    pub(super) const fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Self::Nothing => return None,
            Self::Start => "start",
            Self::Adopt => "adopt",
            Self::Carry => "carry",
            Self::Merge => "merge",
            Self::Replace => "replace",
            Self::Drop => "drop",
            Self::End => "end",
        })
    }
}

/// One change. There are as many as in the trace, so it is kept small.
#[derive(Debug, Clone, Copy, NoUninit, CheckedBitPattern)]
#[repr(C)]
pub(super) struct Row {
    pub(super) revision: i64,
    /// The ledger saw it.
    pub(super) seen: Nanos,
    /// The call's answer came.
    pub(super) answered: Nanos,
    /// The call's request came.
    pub(super) called: Nanos,
    /// kube-apiserver received the request; its clock until [`super::clocks`] corrects it, then ours.
    pub(super) requested: Nanos,
    pub(super) call: CallId,
    /// Hash of the key, by which calls find the change among the few of its revision.
    pub(super) key: u32,
    pub(super) ordinal: i32,
    /// Index into the callers plus one; 0 without a request.
    pub(super) caller: u32,
    /// Field manager that wrote last.
    pub(super) manager: Word,
    /// CPID that this write carries by itself; until [`super::cpids`] has looked at the objects, that in the baggage of the
    /// call.
    pub(super) reported: Word,
    /// The clocks that dated the request and the call.
    pub(super) clock: ClockCode,
    pub(super) transition: Transition,
    /// What would be padding.
    rest: u8,
}

impl Row {
    /// A change that only the ledger knows.
    pub(super) fn new(revision: i64, ordinal: i32, key: u32, seen: Nanos, manager: Word) -> Self {
        Self {
            revision,
            key,
            seen,
            answered: Nanos::UNKNOWN,
            called: Nanos::UNKNOWN,
            requested: Nanos::UNKNOWN,
            call: CallId::default(),
            ordinal,
            caller: 0,
            manager,
            reported: Word::NONE,
            clock: ClockCode::default(),
            transition: Transition::Nothing,
            rest: 0,
        }
    }

    /// Revision and ordinal, which name a change of a history.
    pub(super) fn place(&self) -> (i64, i32) {
        (self.revision, self.ordinal)
    }

    /// Sorts recordings of one change by when they saw it.
    pub(super) fn first_seen(&self) -> (bool, Option<i64>) {
        let seen = self.seen.get();
        (seen.is_none(), seen)
    }

    /// When it was committed: the call's answer and the ledger's event tell the same commit, so it is
    /// dated by whichever came first.
    pub(super) fn committed(&self) -> Option<i64> {
        match (self.answered.get(), self.seen.get()) {
            (Some(answered), Some(seen)) => Some(answered.min(seen)),
            (answered, seen) => answered.or(seen),
        }
    }

    /// Who told [`Self::committed`].
    pub(super) fn commit_source(&self) -> Option<&'static str> {
        match (self.answered.get(), self.seen.get()) {
            (Some(answered), Some(seen)) if seen < answered => Some("ledger"),
            (Some(_), _) => Some("call"),
            (None, Some(_)) => Some("ledger"),
            (None, None) => None,
        }
    }

    /// Call → commit, one clock.
    pub(super) fn storage_ns(&self) -> Option<i64> {
        self.committed()?.checked_sub(self.called.get()?)
    }

    /// Request → call; negative where the clocks cannot be reconciled.
    pub(super) fn api_ns(&self) -> Option<i64> {
        self.called.get()?.checked_sub(self.requested.get()?)
    }
}

/// Id of a call. The ids of a connection's calls differ in the number at their end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(C)]
pub(super) struct CallId {
    /// What stands before the number and its hyphen; the whole id if it has none.
    pub(super) head: Word,
    number: u32,
}

/// Stands for no number.
const NO_NUMBER: u32 = u32::MAX;

impl CallId {
    /// An id with this head and number.
    pub(super) fn new(head: Word, number: Option<u32>) -> Self {
        let number = number.unwrap_or(NO_NUMBER);
        Self { head, number }
    }

    /// The number after the head.
    pub(super) fn number(self) -> Option<u32> {
        (self.number != NO_NUMBER).then_some(self.number)
    }

    /// Splits an id into head and number. Numbers with leading zeros or signs, and larger ones than fit, are not numbers
    /// here.
    pub(super) fn split(id: &str) -> (&str, Option<u32>) {
        let number = id.rsplit_once('-').and_then(|(head, tail)| {
            let is_plain = tail.bytes().all(|byte| byte.is_ascii_digit())
                && (tail == "0" || !tail.starts_with('0'));
            let number = tail.parse().ok().filter(|number| *number != NO_NUMBER);
            Some((head, Some(number.filter(|_| is_plain)?)))
        });
        number.unwrap_or((id, None))
    }
}

/// Index of the first row that is not before `wanted` (revision and ordinal), searched from `near`
/// with growing steps: one step for rows that are asked for in order.
pub(super) fn first_at(rows: &List<Row>, near: usize, wanted: (i64, i32)) -> usize {
    let is_before = |index: usize| rows.get(index).is_some_and(|row| row.place() < wanted);
    let mut step = 1;
    let (mut from, mut to) = (near.min(rows.len()), near.min(rows.len()));
    if is_before(near) {
        // All up to `from` are before; find one that is not.
        while is_before(to) {
            from = to + 1;
            to = (to + step).min(rows.len());
            step *= 2;
        }
    } else {
        // `to` is not before; find one that is.
        while from > 0 && !is_before(from) {
            to = from;
            from = from.saturating_sub(step);
            step *= 2;
        }
    }
    while from < to {
        let middle = usize::midpoint(from, to);
        if is_before(middle) {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Random;

    #[test]
    fn rows_are_found_from_anywhere() {
        let mut random = Random::new(5);
        for length in [0, 1, 2, 3, 50] {
            let mut rows = Vec::new();
            let mut revision = 1;
            while rows.len() < length {
                revision += i64::try_from(random.below(3)).unwrap() + 1;
                for ordinal in 0..=i32::try_from(random.below(3)).unwrap() {
                    rows.push(Row::new(revision, ordinal, 0, Nanos::UNKNOWN, Word::NONE));
                }
            }
            let list = List::from(rows.clone());
            for near in 0..=rows.len() + 1 {
                for revision in 0..=revision + 1 {
                    for ordinal in -1..4 {
                        let expected = rows.partition_point(|row| {
                            (row.revision, row.ordinal) < (revision, ordinal)
                        });
                        let found = first_at(&list, near, (revision, ordinal));
                        assert_eq!(found, expected, "{revision}/{ordinal} from {near}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_is_small() {
        assert!(size_of::<Row>() <= 72, "{}", size_of::<Row>());
    }

    #[test]
    fn call_ids_are_split_so_that_they_can_be_joined() {
        for (id, expected) in [
            ("a-b-17", ("a-b", Some(17))),
            ("a-0", ("a", Some(0))),
            ("a-017", ("a-017", None)),
            ("a-+7", ("a-+7", None)),
            ("a-", ("a-", None)),
            ("17", ("17", None)),
            ("a-4294967294", ("a", Some(4_294_967_294))),
            ("a-4294967295", ("a-4294967295", None)),
            ("a-99999999999999999999", ("a-99999999999999999999", None)),
        ] {
            assert_eq!(CallId::split(id), expected, "{id}");
        }
    }
}
