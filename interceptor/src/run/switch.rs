//! Observation as it is switched off and on while connections are relayed.
//!
//! A connection of which bytes went by unobserved cannot be observed again: its header compression
//! is built on all headers before. So it stays unobserved until it ends, and what was missed of it
//! is told then; one that carried nothing meanwhile has missed nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cascade_proto::tables::Moment;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Numbers of connections that a list for people names before it is cut short.
const NAMED_CONNECTIONS: usize = 50;

/// Metrics of the switch; clones share their values.
#[derive(Debug, Clone, Default)]
pub(super) struct SwitchMetrics {
    on: Gauge,
    unobserved: Gauge,
}

impl SwitchMetrics {
    /// Adds the metrics to `registry`.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "cascade_observer_on",
            "1 while observation is switched on",
            self.on.clone(),
        );
        registry.register(
            "cascade_observer_unobserved_connections",
            "Open connections that stay unobserved until they end, as they carried bytes while observation was off",
            self.unobserved.clone(),
        );
    }
}

/// Whether connections are observed, and which ones cannot be any more.
#[derive(Debug)]
pub(super) struct ObservationSwitch {
    /// Read for every chunk of bytes; changed under the lock only.
    on: AtomicBool,
    state: Mutex<State>,
    metrics: SwitchMetrics,
}

#[derive(Debug)]
struct State {
    /// Since when observation is off, if it is.
    off_since: Option<Moment>,
    /// Open connections that carried bytes while observation was off, each with the moment at which
    /// it was first switched on again.
    unobserved: BTreeMap<i64, Option<Moment>>,
}

/// What switching has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Switched {
    /// Observation is off from here on.
    Off,
    /// Observation is on again.
    On {
        /// Since when it was off.
        since: Moment,
        /// Open connections that stay unobserved.
        unobserved: Vec<i64>,
    },
}

impl ObservationSwitch {
    /// A switch that is `on`, or off since `now`.
    pub(super) fn new(on: bool, now: Moment, metrics: SwitchMetrics) -> Self {
        metrics.on.set(i64::from(on));
        Self {
            on: AtomicBool::new(on),
            state: Mutex::new(State {
                off_since: (!on).then_some(now),
                unobserved: BTreeMap::new(),
            }),
            metrics,
        }
    }

    /// Whether observation is on. May be late by an instant; [`Self::leave`] is not.
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Switches; `None` if that changes nothing.
    pub(super) fn switch(&self, on: bool, now: Moment) -> Option<Switched> {
        let mut state = self.state();
        let switched = match (state.off_since, on) {
            (None, false) => {
                state.off_since = Some(now);
                Switched::Off
            }
            (Some(since), true) => {
                state.off_since = None;
                for seen_on in state.unobserved.values_mut() {
                    seen_on.get_or_insert(now);
                }
                let unobserved = state.unobserved.keys().copied().collect();
                Switched::On { since, unobserved }
            }
            _ => return None,
        };
        self.on.store(on, Ordering::Relaxed);
        self.metrics.on.set(i64::from(on));
        Some(switched)
    }

    /// Bytes of `connection` are about to go by unobserved. False if observation is on by now: then
    /// they are to be observed.
    pub(super) fn leave(&self, connection: i64) -> bool {
        let mut state = self.state();
        if state.off_since.is_none() {
            return false;
        }
        state.unobserved.insert(connection, None);
        self.metrics.unobserved.inc();
        true
    }

    /// A connection has ended. If observation was switched on again before that, since when.
    pub(super) fn ended(&self, connection: i64) -> Option<Moment> {
        let left = self.state().unobserved.remove(&connection)?;
        self.metrics.unobserved.dec();
        left
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete in itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Numbers of connections, for people.
pub(super) fn list(connections: &[i64]) -> String {
    let named = connections.iter().take(NAMED_CONNECTIONS);
    let mut text = named.map(i64::to_string).collect::<Vec<_>>().join(", ");
    let more = connections.len().saturating_sub(NAMED_CONNECTIONS);
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_nano: i64) -> Moment {
        Moment { unix_nano }
    }

    #[test]
    fn what_carries_bytes_while_it_is_off_is_told_when_it_is_on_again_and_at_its_end() {
        let metrics = SwitchMetrics::default();
        let switch = ObservationSwitch::new(true, at(0), metrics.clone());
        assert!(switch.is_on() && !switch.leave(1));
        assert_eq!(switch.switch(true, at(1)), None);
        assert_eq!(switch.switch(false, at(2)), Some(Switched::Off));
        assert_eq!(switch.switch(false, at(3)), None);
        assert!(!switch.is_on());
        assert!(switch.leave(1) && switch.leave(2) && switch.leave(3));
        // It began and ended while nothing was observed.
        assert_eq!(switch.ended(2), None);
        assert_eq!(metrics.unobserved.get(), 2);
        let on = Switched::On {
            since: at(2),
            unobserved: vec![1, 3],
        };
        assert_eq!(switch.switch(true, at(4)), Some(on));
        assert_eq!(switch.ended(3), Some(at(4)));
        // Off and on once more: what was missed of connection 1 since then goes on.
        assert_eq!(switch.switch(false, at(5)), Some(Switched::Off));
        let on = Switched::On {
            since: at(5),
            unobserved: vec![1],
        };
        assert_eq!(switch.switch(true, at(6)), Some(on));
        assert_eq!(switch.ended(1), Some(at(4)));
        assert_eq!(switch.ended(1), None);
        assert_eq!((metrics.on.get(), metrics.unobserved.get()), (1, 0));
    }

    #[test]
    fn it_can_be_off_from_the_begin() {
        let metrics = SwitchMetrics::default();
        let switch = ObservationSwitch::new(false, at(7), metrics.clone());
        assert_eq!(metrics.on.get(), 0);
        assert!(!switch.is_on() && switch.leave(1));
        let on = Switched::On {
            since: at(7),
            unobserved: vec![1],
        };
        assert_eq!(switch.switch(true, at(8)), Some(on));
    }

    #[test]
    fn long_lists_are_cut_short() {
        assert_eq!(list(&[1, 2]), "1, 2");
        let many: Vec<i64> = (0..60).collect();
        assert!(list(&many).ends_with("48, 49 and 10 more"));
    }
}
