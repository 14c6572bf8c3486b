//! Steps of the wall clock: moments in the trace before and after one cannot be compared.
//!
//! Durations come from the monotonic clock and are right all the same. A clock that is slewed, as NTP
//! does it, is not stepped: it gains or loses half a millisecond in a second at most.

use std::time::Duration;

use cascade_proto::tables::Moment;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use crate::clock::Reading;

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Smaller differences are no step, nanoseconds.
const SMALLEST_STEP: i64 = 100_000_000;
/// The two clocks are read so shortly after one another, nanoseconds, or again.
const READING_TIME: Duration = Duration::from_millis(1);

/// A step of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClockStep {
    /// What the clock would have shown.
    pub(super) expected: Moment,
    /// What it shows.
    pub(super) found: Moment,
}

impl ClockStep {
    /// Nanoseconds that it was set forward; negative: back.
    pub(super) fn forward(self) -> i64 {
        self.found.unix_nano.saturating_sub(self.expected.unix_nano)
    }
}

/// Compares the two clocks.
#[derive(Debug)]
struct ClockWatch {
    last: Reading,
}

impl ClockWatch {
    /// Takes another reading; the step between the last one and this, if there was one.
    fn look(&mut self, now: Reading) -> Option<ClockStep> {
        let elapsed = now.nanos_since(&self.last);
        let expected = self.last.moment.unix_nano.saturating_add(elapsed);
        self.last = now;
        let step = ClockStep {
            expected: Moment {
                unix_nano: expected,
            },
            found: now.moment,
        };
        (step.forward().saturating_abs() >= SMALLEST_STEP).then_some(step)
    }
}

/// Tells `noticed` of each step. Never ends.
pub(super) async fn keep_watching(steps: Counter, noticed: impl Fn(ClockStep)) {
    let mut watch = ClockWatch {
        last: steady_reading().await,
    };
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if let Some(step) = watch.look(steady_reading().await) {
            steps.inc();
            noticed(step);
        }
    }
}

/// Adds the metric to `registry`.
pub(super) fn register(registry: &mut Registry) -> Counter {
    let steps = Counter::default();
    registry.register(
        "cascade_clock_steps",
        "Steps of the wall clock of 0.1 s and more",
        steps.clone(),
    );
    steps
}

/// A reading of the wall clock between two of the monotonic clock that are close together.
async fn steady_reading() -> Reading {
    loop {
        let (first, second) = (Reading::now(), Reading::now());
        if second.instant.saturating_duration_since(first.instant) <= READING_TIME {
            return second;
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_a_step_is_one() {
        let start = Instant::now();
        let at = |wall: i64, monotonic: u64| Reading {
            moment: Moment { unix_nano: wall },
            instant: start + Duration::from_nanos(monotonic),
        };
        let second = 1_000_000_000;
        let mut watch = ClockWatch {
            last: at(100 * second, 0),
        };
        // Later than planned, by both clocks; and slewed.
        assert_eq!(watch.look(at(107 * second, 7_000_000_000)), None);
        assert_eq!(watch.look(at(108 * second + 500_000, 8_000_000_000)), None);
        // Forward, and what is normal again.
        let step = watch.look(at(112 * second, 9_000_000_000)).unwrap();
        assert_eq!(step.expected.unix_nano, 109 * second + 500_000);
        assert_eq!(step.forward(), 3 * second - 500_000);
        assert_eq!(watch.look(at(113 * second, 10_000_000_000)), None);
        // Back, before what it showed last.
        let step = watch.look(at(50 * second, 11_000_000_000)).unwrap();
        assert_eq!(step.forward(), -64 * second);
        assert_eq!(watch.look(at(51 * second, 12_000_000_000)), None);
    }
}
