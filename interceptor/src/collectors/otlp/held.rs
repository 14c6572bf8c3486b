//! Requests that wait for what belongs to them: the rest of their spans, and their audit event.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use cascade_proto::tables::Request;

use super::span::SpanKey;
use crate::collectors::audit::AuditEvent;

/// Bounds of [`Held`].
#[derive(Debug, Clone)]
pub(super) struct HeldLimits {
    /// How long a request waits for the rest of its spans.
    pub(super) settle: Duration,
    /// How long in all it waits for its audit event; `None` when there is no source of them.
    pub(super) audit: Option<Duration>,
    /// How long an audit event waits for its request.
    pub(super) event: Duration,
    /// Requests that wait at most.
    pub(super) requests: usize,
    /// Audit events that wait at most.
    pub(super) events: usize,
}

/// A request whose row is not complete.
#[derive(Debug)]
struct Pending {
    row: Request,
    /// The path with its query.
    target: Option<String>,
    /// Begin and end of its calls to etcd.
    calls: Vec<(i64, i64)>,
    /// When it began to admit and store its object.
    handled: Option<i64>,
    /// When the first object was stored.
    stored: Option<i64>,
    /// Time from the values that updates were based on to their encoding.
    prepared: Option<i64>,
    settled: bool,
    has_event: bool,
}

/// What is known to belong to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// A call to etcd: begin and end, nanoseconds since the Unix epoch.
    Call(i64, i64),
    /// When its handler began to admit and store an object.
    Handled(i64),
    /// When an object was stored, admitted or not.
    Stored(i64),
    /// Time that an update took from the value it was based on to its encoding.
    Prepared(i64),
}

/// Requests and audit events that wait.
#[derive(Debug)]
pub(super) struct Held {
    limits: HeldLimits,
    requests: HashMap<SpanKey, Pending>,
    /// When requests are settled, in order; each request is in one of the two.
    settling: VecDeque<(Instant, SpanKey)>,
    /// When settled requests are given up for, in order; may name some that are gone.
    auditing: VecDeque<(Instant, SpanKey)>,
    /// Requests without their event, by audit id.
    by_audit_id: HashMap<String, Vec<SpanKey>>,
    /// Events without their request, by audit id, each with its number.
    events: HashMap<String, Vec<(u64, AuditEvent)>>,
    /// When to forget which event, in order; may name some that are gone.
    forget: VecDeque<(Instant, String, u64)>,
    waiting_events: usize,
    /// Number of the next event.
    next_event: u64,
    complete: Vec<Request>,
    /// Events whose request was not received.
    unmatched: u64,
}

impl Held {
    pub(super) fn new(limits: HeldLimits) -> Self {
        Self {
            limits,
            requests: HashMap::new(),
            settling: VecDeque::new(),
            auditing: VecDeque::new(),
            by_audit_id: HashMap::new(),
            events: HashMap::new(),
            forget: VecDeque::new(),
            waiting_events: 0,
            next_event: 0,
            complete: Vec::new(),
            unmatched: 0,
        }
    }

    /// A request has arrived.
    pub(super) fn add(&mut self, key: SpanKey, row: Request, target: Option<String>, now: Instant) {
        let mut pending = Pending {
            row,
            target,
            calls: Vec::new(),
            handled: None,
            stored: None,
            prepared: None,
            settled: false,
            has_event: false,
        };
        if let Some(event) = self.take_event(&pending) {
            pending.take(event);
        } else if let Some(audit_id) = pending.row.audit_id.clone()
            && self.limits.audit.is_some()
        {
            self.by_audit_id.entry(audit_id).or_default().push(key);
        }
        self.requests.insert(key, pending);
        self.settling.push_back((now + self.limits.settle, key));
        while self.requests.len() > self.limits.requests && self.release_oldest() {}
    }

    /// Something more is known of a request; of one that is complete, it is too late.
    pub(super) fn tell(&mut self, key: SpanKey, fact: Fact) {
        let Some(pending) = self.requests.get_mut(&key) else {
            return;
        };
        match fact {
            Fact::Call(begin, end) => pending.calls.push((begin, end)),
            Fact::Handled(time) => pending.handled = Some(time),
            Fact::Stored(time) => {
                pending.stored = Some(pending.stored.map_or(time, |first| first.min(time)));
            }
            Fact::Prepared(taken) => {
                let total = pending.prepared.unwrap_or_default();
                pending.prepared = Some(total.saturating_add(taken));
            }
        }
    }

    /// An audit event has arrived.
    pub(super) fn add_event(&mut self, event: AuditEvent, now: Instant) {
        let candidates = self.by_audit_id.get(&event.audit_id);
        let best = candidates.into_iter().flatten().filter_map(|key| {
            let distance = self.requests.get(key)?.distance(&event)?;
            Some((distance, *key))
        });
        let Some((_, key)) = best.min() else {
            self.keep_event(event, now);
            return;
        };
        self.forget_audit_id(&event.audit_id, key);
        if let Some(pending) = self.requests.get_mut(&key) {
            pending.take(event);
            if pending.settled {
                self.release(key);
            }
        }
    }

    /// Requests that are complete, or have waited for long enough.
    pub(super) fn take_complete(&mut self, now: Instant) -> Vec<Request> {
        while let Some((_, key)) = self.settling.pop_front_if(|(due, _)| *due <= now) {
            let Some(pending) = self.requests.get_mut(&key) else {
                continue;
            };
            pending.settled = true;
            match self.limits.audit {
                Some(wait) if !pending.has_event && pending.row.audit_id.is_some() => {
                    let rest = wait.saturating_sub(self.limits.settle);
                    self.auditing.push_back((now + rest, key));
                }
                _ => self.release(key),
            }
        }
        while let Some((_, key)) = self.auditing.pop_front_if(|(due, _)| *due <= now) {
            self.release(key);
        }
        while let Some((_, audit_id, number)) = self.forget.pop_front_if(|(due, ..)| *due <= now) {
            self.forget_event(&audit_id, number);
        }
        std::mem::take(&mut self.complete)
    }

    /// All requests, as they are.
    pub(super) fn finish(&mut self) -> Vec<Request> {
        let mut keys: Vec<_> = self.requests.keys().copied().collect();
        keys.sort_unstable();
        for key in keys {
            self.release(key);
        }
        self.settling.clear();
        self.auditing.clear();
        std::mem::take(&mut self.complete)
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Takes the number of audit events whose request was not received.
    pub(super) fn take_unmatched(&mut self) -> u64 {
        std::mem::take(&mut self.unmatched)
    }

    /// False when there is none.
    fn release_oldest(&mut self) -> bool {
        let oldest = self
            .auditing
            .pop_front()
            .or_else(|| self.settling.pop_front());
        if let Some((_, key)) = oldest {
            self.release(key);
        }
        oldest.is_some()
    }

    /// A request's row is as complete as it will be.
    fn release(&mut self, key: SpanKey) {
        let Some(pending) = self.requests.remove(&key) else {
            return;
        };
        if !pending.has_event
            && let Some(audit_id) = &pending.row.audit_id
        {
            self.forget_audit_id(&audit_id.clone(), key);
        }
        self.complete.push(pending.complete());
    }

    fn forget_audit_id(&mut self, audit_id: &str, key: SpanKey) {
        if let Some(keys) = self.by_audit_id.get_mut(audit_id) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_audit_id.remove(audit_id);
            }
        }
    }

    /// The event of a request that has just arrived, if it is there already.
    fn take_event(&mut self, pending: &Pending) -> Option<AuditEvent> {
        let audit_id = pending.row.audit_id.as_ref()?;
        let events = self.events.get_mut(audit_id)?;
        let distances = events.iter().enumerate();
        let (_, index) = distances
            .filter_map(|(index, (_, event))| Some((pending.distance(event)?, index)))
            .min()?;
        let (_, event) = events.remove(index);
        if events.is_empty() {
            self.events.remove(audit_id);
        }
        self.waiting_events -= 1;
        Some(event)
    }

    fn keep_event(&mut self, event: AuditEvent, now: Instant) {
        let number = self.next_event;
        self.next_event += 1;
        let audit_id = event.audit_id.clone();
        self.forget
            .push_back((now + self.limits.event, audit_id.clone(), number));
        self.events
            .entry(audit_id)
            .or_default()
            .push((number, event));
        self.waiting_events += 1;
        while self.waiting_events > self.limits.events || self.forget.len() > 4 * self.limits.events
        {
            let Some((_, audit_id, number)) = self.forget.pop_front() else {
                break;
            };
            self.forget_event(&audit_id, number);
        }
    }

    /// Gives up an event, unless it has found its request.
    fn forget_event(&mut self, audit_id: &str, number: u64) {
        let Some(events) = self.events.get_mut(audit_id) else {
            return;
        };
        if let Some(index) = events.iter().position(|(other, _)| *other == number) {
            events.remove(index);
            self.waiting_events -= 1;
            self.unmatched += 1;
        }
        if events.is_empty() {
            self.events.remove(audit_id);
        }
    }
}

impl Pending {
    /// How far apart request and event begin, nanoseconds; `None` when they cannot be the same:
    /// clients may give many requests one audit id.
    fn distance(&self, event: &AuditEvent) -> Option<u64> {
        let same = |mine: &Option<String>, other: &Option<String>| {
            mine.is_none() || other.is_none() || mine == other
        };
        let same_request =
            same(&self.target, &event.request_uri) && same(&self.row.user_agent, &event.user_agent);
        same_request.then(|| match event.received_unix_nano {
            Some(received) => self.row.start.unix_nano.abs_diff(received),
            None => u64::MAX,
        })
    }

    fn take(&mut self, event: AuditEvent) {
        self.has_event = true;
        self.row.user = event.user;
        self.row.groups = event.groups;
        self.row.source_ip = event.source_ip;
        self.row.decision = event.decision;
    }

    fn complete(mut self) -> Request {
        self.row.etcd_ns = covered(&mut self.calls);
        self.row.admission_ns = self.admission();
        self.row
    }

    /// Time in admission. kube-apiserver has no span for it, but tells when it comes before and
    /// after: a create is admitted between its handler's begin of storing and the storage's own
    /// begin; an update, each time anew, between the value it is based on and the encoding.
    fn admission(&self) -> Option<i64> {
        let before_storing = self
            .stored
            .zip(self.handled)
            .and_then(|(stored, handled)| stored.checked_sub(handled))
            .filter(|taken| *taken >= 0);
        match (before_storing, self.prepared) {
            (None, None) => None,
            (before, prepared) => Some(
                before
                    .unwrap_or_default()
                    .saturating_add(prepared.unwrap_or_default()),
            ),
        }
    }
}

/// Time that is covered by at least one interval; `None` without any.
fn covered(intervals: &mut [(i64, i64)]) -> Option<i64> {
    intervals.sort_unstable();
    let mut total: i64 = 0;
    let (&(first, _), mut reached) = (intervals.first()?, i64::MIN);
    reached = reached.max(first);
    for &(begin, end) in intervals.iter() {
        total = total.saturating_add(end.saturating_sub(begin.max(reached)).max(0));
        reached = reached.max(end);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_covered_once() {
        assert_eq!(covered(&mut []), None);
        assert_eq!(covered(&mut [(5, 5)]), Some(0));
        assert_eq!(covered(&mut [(10, 20), (0, 5)]), Some(15));
        assert_eq!(covered(&mut [(0, 10), (5, 7), (8, 12)]), Some(12));
        assert_eq!(covered(&mut [(0, 10), (0, 10)]), Some(10));
    }
}
