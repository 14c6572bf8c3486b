//! Lets an observer see the bytes of a connection without being able to harm it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::clock::Reading;

use super::RelayMetrics;

/// Sees both directions of one connection. Lives on the connection's task: it must neither wait
/// nor do I/O.
pub trait Tap: Send {
    /// Bytes from the client, before they are written to the server.
    fn request_bytes(&mut self, bytes: &[u8], now: Reading);
    /// Bytes from the server.
    fn response_bytes(&mut self, bytes: &[u8], now: Reading);
    /// The connection has ended. Called once, unless the tap panicked.
    fn closed(&mut self, now: Reading);
    /// Whether the tap wants to see more; once it does not, it is shown nothing but the end.
    fn is_active(&self) -> bool;
}

/// Makes the taps of a relay.
pub trait Observe: Send + Sync {
    /// The tap of a new connection, if it is to be observed. `connection` is its number within
    /// the instance, from 1.
    fn connection(&self, connection: i64) -> Option<Box<dyn Tap>>;
    /// The tap of a connection panicked and was dropped; the relay goes on without it.
    fn panicked(&self, connection: i64);
}

/// Observes nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observe for Unobserved {
    fn connection(&self, _connection: i64) -> Option<Box<dyn Tap>> {
        None
    }

    fn panicked(&self, _connection: i64) {}
}

/// Keeps the panics of a tap away from the traffic.
pub(super) struct GuardedTap {
    tap: Option<Box<dyn Tap>>,
    /// Whether there is a tap that wants to see more.
    active: bool,
    connection: i64,
    observe: Arc<dyn Observe>,
    metrics: RelayMetrics,
}

impl GuardedTap {
    pub(super) fn new(connection: i64, observe: Arc<dyn Observe>, metrics: RelayMetrics) -> Self {
        let mut guarded = Self {
            tap: None,
            active: false,
            connection,
            observe,
            metrics,
        };
        match catch_unwind(AssertUnwindSafe(|| guarded.observe.connection(connection))) {
            Ok(tap) => {
                guarded.active = tap.is_some();
                guarded.tap = tap;
            }
            Err(_) => guarded.count_panic(),
        }
        guarded
    }

    /// Whether there is a tap that wants to see more.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    pub(super) fn request_bytes(&mut self, bytes: &[u8], now: Reading) {
        self.show(|tap| tap.request_bytes(bytes, now));
    }

    pub(super) fn response_bytes(&mut self, bytes: &[u8], now: Reading) {
        self.show(|tap| tap.response_bytes(bytes, now));
    }

    fn show(&mut self, event: impl FnOnce(&mut dyn Tap)) {
        if !self.active {
            return;
        }
        let Some(mut tap) = self.tap.take() else {
            return;
        };
        let shown = catch_unwind(AssertUnwindSafe(move || {
            event(tap.as_mut());
            (tap.is_active(), tap)
        }));
        match shown {
            Ok((active, tap)) => {
                self.active = active;
                self.tap = Some(tap);
            }
            // The tap was dropped while unwinding.
            Err(_) => {
                self.active = false;
                self.count_panic();
            }
        }
    }

    fn count_panic(&self) {
        self.metrics.tap_panics.inc();
        tracing::error!(
            connection = self.connection,
            "observer panicked; the connection goes on unobserved. Please report this"
        );
        if catch_unwind(AssertUnwindSafe(|| self.observe.panicked(self.connection))).is_err() {
            tracing::error!(
                connection = self.connection,
                "reporting an observer's panic panicked"
            );
        }
    }
}

impl Drop for GuardedTap {
    fn drop(&mut self) {
        let Some(mut tap) = self.tap.take() else {
            return;
        };
        let closed = catch_unwind(AssertUnwindSafe(move || tap.closed(Reading::now())));
        if closed.is_err() {
            self.count_panic();
        }
    }
}
