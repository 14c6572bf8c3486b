//! How far kube-apiserver's clock and the interceptor's are apart.
//!
//! kube-apiserver dates requests, the interceptor the calls to etcd that they make. A call lies within its
//! request, so every pair of the two bounds what must be added to kube-apiserver's times to get the interceptor's:
//! not so much that the request begins after the call, and not so little that it ends before the call is answered.
//! What most pairs allow is Marzullo's algorithm, by which NTP chooses among servers: a few contradicting pairs,
//! such as calls that outlive a request that timed out, do no harm. Clocks drift and are set, so the bounds are those
//! of windows of time.
//!
//! Where the bounds allow no difference at all there is none: both programs usually run on one host, and a
//! correction by less than what is known would only add noise.

use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};

use super::rows::{Nanos, Row};
use super::words::{Word, Words};
use crate::causality::kernel::FastMap;
use crate::storage::List;

/// Calls are gathered by spans of 10 s: clocks kept by NTP move by microseconds meanwhile.
const BUCKET_NS: i64 = 10_000_000_000;
/// Buckets are put together until a window has so many pairs: the more, the closer the bounds.
const WINDOW_PAIRS: u64 = 64;
/// So many of the tightest bounds are kept on each side. With at most so many contradicting pairs the result is
/// the same as if all bounds had been kept.
const KEPT: usize = 16;

/// From when to when, nanoseconds since 1970 by one of the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) begin: i64,
    pub(super) end: i64,
}

/// Names a pair of clocks; the default names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct ClockCode(u16);

/// All pairs of clocks.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    codes: FastMap<(Word, Word), ClockCode>,
    pairs: Vec<ClockPair>,
}

/// The clock of an interceptor and that of a kube-apiserver.
#[derive(Debug)]
struct ClockPair {
    instance: Word,
    apiserver: Word,
    /// By the time of the call; empty once they are windows.
    buckets: BTreeMap<i64, Gathered>,
    windows: Vec<Window>,
}

/// What is known of two clocks during some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first and the last call, nanoseconds since 1970, interceptor's clock.
    pub(crate) from_unix_nano: i64,
    pub(crate) to_unix_nano: i64,
    /// Calls and their requests.
    pub(crate) pairs: u64,
    /// Pairs that no offset within the bounds reconciles.
    pub(crate) contradicting: u64,
    /// Pairs of which the uncorrected clocks say that the call began before its request, or ended after it.
    pub(crate) negative_before: u64,
    /// What the pairs allow; `None` where they contradict each other too much.
    pub(crate) bounds: Option<Bounds>,
}

/// How much the interceptor's clock can be ahead of kube-apiserver's, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) lower_ns: i64,
    pub(crate) upper_ns: i64,
}

impl Bounds {
    /// The estimate: none where there need not be any, else the middle, which is off by at most half the distance
    /// of the bounds.
    pub(crate) fn offset_ns(self) -> i64 {
        if self.lower_ns <= 0 && self.upper_ns >= 0 {
            0
        } else {
            self.lower_ns
                .saturating_add(self.upper_ns.saturating_sub(self.lower_ns) / 2)
        }
    }

    /// Distance from zero.
    fn distance(self) -> u64 {
        let below = self.lower_ns.max(0).unsigned_abs();
        below.max(self.upper_ns.min(0).unsigned_abs())
    }
}

/// A window of a pair of clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedWindow<'a> {
    /// Instance of the interceptor.
    pub(crate) instance: Option<&'a str>,
    pub(crate) apiserver: Option<&'a str>,
    pub(crate) window: Window,
}

impl Clocks {
    /// What names the clocks of an interceptor and a kube-apiserver.
    pub(super) fn code(&mut self, instance: Word, apiserver: Word) -> ClockCode {
        if let Some(known) = self.codes.get(&(instance, apiserver)) {
            return *known;
        }
        // A trace of 65,535 kube-apiservers: the last ones' clocks are taken as they are.
        let Ok(code) = u16::try_from(self.pairs.len() + 1).map(ClockCode) else {
            return ClockCode::default();
        };
        self.codes.insert((instance, apiserver), code);
        self.pairs.push(ClockPair {
            instance,
            apiserver,
            buckets: BTreeMap::new(),
            windows: Vec::new(),
        });
        code
    }

    /// Takes notice of a request, by kube-apiserver's clock, and of its call, by the interceptor's.
    pub(super) fn observe(&mut self, clock: ClockCode, request: Span, call: Span) {
        let index = usize::from(clock.0).checked_sub(1);
        if let Some(pair) = index.and_then(|index| self.pairs.get_mut(index)) {
            let bucket = call.begin.div_euclid(BUCKET_NS);
            pair.buckets.entry(bucket).or_default().add(request, call);
        }
    }

    /// Makes windows of what was observed.
    pub(super) fn estimate(&mut self) {
        for pair in &mut self.pairs {
            pair.windows = windows(std::mem::take(&mut pair.buckets));
        }
    }

    /// Puts the requests of rows into terms of the interceptor's clock.
    pub(super) fn correct(&self, rows: &mut List<Row>) {
        for index in 0..rows.len() {
            let offset = |row: Row| row.requested.get().zip(self.offset_of(&row));
            // Usually the clocks are the same, and no row changes.
            if let Some((requested, offset)) = rows.get(index).and_then(offset)
                && offset != 0
            {
                let corrected = Nanos::new(Some(requested.saturating_add(offset)));
                rows.update(index, |row| row.requested = corrected);
            }
        }
    }

    /// By how much the interceptor's clock was ahead when the call of a row was made; `None` without a request,
    /// or where nothing reconciles the clocks.
    pub(super) fn offset_of(&self, row: &Row) -> Option<i64> {
        let pair = self.pairs.get(usize::from(row.clock.0).checked_sub(1)?)?;
        let called = row.called.get()?;
        let next = pair
            .windows
            .partition_point(|window| window.from_unix_nano <= called);
        let window = pair.windows.get(next.saturating_sub(1))?;
        window.bounds.map(Bounds::offset_ns)
    }

    /// All windows, by clocks and time.
    pub(super) fn windows<'a>(&'a self, words: &'a Words) -> impl Iterator<Item = NamedWindow<'a>> {
        self.pairs.iter().flat_map(move |pair| {
            let named = move |window: &Window| NamedWindow {
                instance: words.text(pair.instance),
                apiserver: words.text(pair.apiserver),
                window: *window,
            };
            pair.windows.iter().map(named)
        })
    }
}

/// What the pairs of some time say.
#[derive(Debug, Default)]
struct Gathered {
    calls: Option<Span>,
    pairs: u64,
    negative: u64,
    /// Calls that lasted longer than their requests: no offset reconciles these.
    impossible: u64,
    uppers: Tightest,
    /// Negated, so that the tightest ones are the smallest here too.
    lowers: Tightest,
}

/// The smallest of many numbers, ascending.
#[derive(Debug, Default)]
struct Tightest(Vec<i64>);

impl Tightest {
    fn add(&mut self, value: i64) {
        let position = self.0.partition_point(|kept| *kept <= value);
        if position < KEPT {
            self.0.truncate(KEPT - 1);
            self.0.insert(position, value);
        }
    }
}

impl Gathered {
    fn add(&mut self, request: Span, call: Span) {
        self.add_calls(Span {
            begin: call.begin,
            end: call.begin,
        });
        self.pairs += 1;
        let upper = call.begin.saturating_sub(request.begin);
        let lower = call.end.saturating_sub(request.end);
        if upper < 0 || lower > 0 {
            self.negative += 1;
        }
        if lower > upper {
            self.impossible += 1;
            return;
        }
        self.uppers.add(upper);
        self.lowers.add(lower.saturating_neg());
    }

    fn add_calls(&mut self, calls: Span) {
        let known = self.calls.get_or_insert(calls);
        known.begin = known.begin.min(calls.begin);
        known.end = known.end.max(calls.end);
    }

    fn merge(&mut self, other: Self) {
        if let Some(calls) = other.calls {
            self.add_calls(calls);
        }
        self.pairs += other.pairs;
        self.negative += other.negative;
        self.impossible += other.impossible;
        other
            .uppers
            .0
            .into_iter()
            .for_each(|value| self.uppers.add(value));
        other
            .lowers
            .0
            .into_iter()
            .for_each(|value| self.lowers.add(value));
    }

    /// The bounds that contradict the fewest pairs, with the number of these.
    fn bounds(&self) -> Option<(Bounds, u64)> {
        let (uppers, lowers) = (&self.uppers.0, &self.lowers.0);
        for dropped in 0..(uppers.len() + lowers.len()) {
            let without = |dropped_uppers: usize| {
                let dropped_lowers = dropped.checked_sub(dropped_uppers)?;
                let bounds = Bounds {
                    lower_ns: lowers.get(dropped_lowers)?.saturating_neg(),
                    upper_ns: *uppers.get(dropped_uppers)?,
                };
                (bounds.lower_ns <= bounds.upper_ns).then_some(bounds)
            };
            // Of equals the ones that are nearest to no difference.
            let best = (0..=dropped)
                .filter_map(without)
                .min_by_key(|bounds| bounds.distance());
            if let Some(bounds) = best {
                return Some((bounds, dropped as u64));
            }
        }
        None
    }

    fn window(&self) -> Option<Window> {
        let calls = self.calls?;
        let found = self.bounds();
        let dropped = found.map_or(self.pairs - self.impossible, |(_, dropped)| dropped);
        Some(Window {
            from_unix_nano: calls.begin,
            to_unix_nano: calls.end,
            pairs: self.pairs,
            contradicting: dropped + self.impossible,
            negative_before: self.negative,
            bounds: found.map(|(bounds, _)| bounds),
        })
    }
}

/// Puts buckets together until each window has enough pairs.
fn windows(buckets: BTreeMap<i64, Gathered>) -> Vec<Window> {
    let mut gathered: Vec<Gathered> = Vec::new();
    for bucket in buckets.into_values() {
        match gathered.last_mut() {
            Some(last) if last.pairs < WINDOW_PAIRS => last.merge(bucket),
            _ => gathered.push(bucket),
        }
    }
    // What is left over at the end belongs to the window before.
    if gathered.len() > 1
        && let Some(last) = gathered.pop_if(|last| last.pairs < WINDOW_PAIRS)
        && let Some(before) = gathered.last_mut()
    {
        before.merge(last);
    }
    gathered.iter().filter_map(Gathered::window).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::Random;

    const MS: i64 = 1_000_000;

    fn random(random: &mut Random, below: i64) -> i64 {
        i64::try_from(random.below(u64::try_from(below).unwrap())).unwrap()
    }

    /// Requests with calls in them at `at` by the interceptor's clock, `offset` ahead of kube-apiserver's.
    fn pair(numbers: &mut Random, at: i64, offset: i64) -> (Span, Span) {
        let call = Span {
            begin: at,
            end: at + MS + random(numbers, 5 * MS),
        };
        let request = Span {
            begin: call.begin - MS / 2 - random(numbers, 9 * MS) - offset,
            end: call.end + MS / 4 + random(numbers, 5 * MS) - offset,
        };
        (request, call)
    }

    fn one_pair_of_clocks() -> (Clocks, ClockCode) {
        let mut clocks = Clocks::default();
        let code = clocks.code(Word::NONE, Word::NONE);
        assert_eq!(clocks.code(Word::NONE, Word::NONE), code);
        (clocks, code)
    }

    fn found(mut clocks: Clocks) -> Vec<Window> {
        clocks.estimate();
        let words = Words::default();
        clocks.windows(&words).map(|named| named.window).collect()
    }

    #[test]
    fn the_true_offset_lies_within_the_bounds_wherever_it_drifts() {
        let mut numbers = Random::new(7);
        for start in [-3_000 * MS, -2 * MS, 0, 2 * MS, 86_400_000 * MS] {
            let (mut clocks, code) = one_pair_of_clocks();
            // 20 microseconds per second, which is much.
            let offset = |at: i64| start + at / 50_000;
            for _ in 0..5_000 {
                let at = random(&mut numbers, 100_000 * MS);
                let (request, call) = pair(&mut numbers, at, offset(at));
                clocks.observe(code, request, call);
            }
            let windows = found(clocks);
            assert_eq!(windows.len(), 10);
            for window in windows {
                let bounds = window.bounds.unwrap();
                let middle = offset((window.from_unix_nano + window.to_unix_nano) / 2);
                assert!(
                    bounds.lower_ns <= middle && middle <= bounds.upper_ns,
                    "{window:?}"
                );
                let distance = (bounds.offset_ns() - middle).abs();
                assert!(distance <= bounds.upper_ns - bounds.lower_ns, "{window:?}");
                if (bounds.lower_ns..=bounds.upper_ns).contains(&0) {
                    assert_eq!(bounds.offset_ns(), 0);
                } else if start == -3_000 * MS {
                    assert_eq!(window.negative_before, window.pairs);
                }
            }
        }
    }

    #[test]
    fn a_few_pairs_that_contradict_the_others_do_no_harm() {
        let mut numbers = Random::new(8);
        let (mut clocks, code) = one_pair_of_clocks();
        for number in 0..200 {
            let at = random(&mut numbers, 9_000 * MS);
            let (request, mut call) = pair(&mut numbers, at, 40 * MS);
            if number < 5 {
                // The request timed out, and the call went on.
                call.end += 30_000 * MS;
            } else if number < 10 {
                call.begin += 900 * MS;
                call.end += 900 * MS;
            }
            clocks.observe(code, request, call);
        }
        let [window] = found(clocks)[..] else {
            panic!("several windows");
        };
        assert_eq!((window.pairs, window.contradicting), (200, 10));
        let bounds = window.bounds.unwrap();
        assert!(bounds.lower_ns <= 40 * MS && 40 * MS <= bounds.upper_ns);
        assert!((bounds.offset_ns() - 40 * MS).abs() < MS, "{bounds:?}");
    }

    #[test]
    fn a_clock_that_is_set_is_followed() {
        let mut numbers = Random::new(9);
        let (mut clocks, code) = one_pair_of_clocks();
        for number in 0..400 {
            let at = number * 100 * MS;
            let offset = if number < 200 { 0 } else { 700 * MS };
            let (request, call) = pair(&mut numbers, at, offset);
            clocks.observe(code, request, call);
        }
        let offsets: Vec<i64> = found(clocks)
            .iter()
            .map(|window| window.bounds.unwrap().offset_ns())
            .collect();
        assert_eq!(offsets.len(), 4);
        assert_eq!(offsets[..2], [0, 0]);
        assert!(
            offsets[2..]
                .iter()
                .all(|offset| (offset - 700 * MS).abs() < MS)
        );
    }

    #[test]
    fn few_calls_are_put_together_and_impossible_ones_say_nothing() {
        let mut numbers = Random::new(10);
        let (mut clocks, code) = one_pair_of_clocks();
        for number in 0..100 {
            let (request, call) = pair(&mut numbers, number * 20_000 * MS, 5 * MS);
            clocks.observe(code, request, call);
        }
        let [window] = found(clocks)[..] else {
            panic!("several windows");
        };
        assert_eq!(window.pairs, 100);

        let (mut clocks, code) = one_pair_of_clocks();
        let request = Span { begin: 11, end: 10 };
        clocks.observe(code, request, Span { begin: 8, end: 9 });
        let [window] = found(clocks)[..] else {
            panic!("several windows");
        };
        assert_eq!((window.bounds, window.contradicting), (None, 1));
    }

    /// Many bounds are forgotten; what is found is what all of them say.
    #[test]
    fn the_tightest_bounds_are_enough() {
        let mut numbers = Random::new(11);
        for _ in 0..200 {
            let mut gathered = Gathered::default();
            let mut intervals = Vec::new();
            for number in 0..60 {
                let (request, mut call) = pair(&mut numbers, number * MS, 0);
                if numbers.below(8) == 0 {
                    let shift = random(&mut numbers, 40 * MS) - 20 * MS;
                    (call.begin, call.end) = (call.begin + shift, call.end + shift);
                }
                gathered.add(request, call);
                intervals.push((call.end - request.end, call.begin - request.begin));
            }
            let reconciled = |offset: i64| {
                intervals
                    .iter()
                    .filter(|(lower, upper)| (*lower..=*upper).contains(&offset))
                    .count() as u64
            };
            let most = intervals
                .iter()
                .map(|(lower, _)| reconciled(*lower))
                .max()
                .unwrap();
            let (bounds, dropped) = gathered.bounds().unwrap();
            assert_eq!(dropped, 60 - most);
            assert_eq!(reconciled(bounds.lower_ns), most);
            assert_eq!(reconciled(bounds.upper_ns), most);
        }
    }
}
