//! Time as the interceptor measures it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use cascade_proto::tables::Moment;

/// One reading of both clocks: the wall clock for moments, the monotonic clock for durations.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Wall clock.
    pub moment: Moment,
    /// Monotonic clock.
    pub instant: Instant,
}

impl Reading {
    /// Reads both clocks now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            moment: wall_clock(),
            instant: Instant::now(),
        }
    }

    /// The monotonic clock as it was read just now, and the wall clock read with it.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        Self {
            moment: wall_clock(),
            instant,
        }
    }

    /// Nanoseconds from `earlier` to this reading, by the monotonic clock; 0 if `earlier` is later.
    #[must_use]
    pub fn nanos_since(&self, earlier: &Self) -> i64 {
        let elapsed = self.instant.saturating_duration_since(earlier.instant);
        i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// The wall clock in nanoseconds since the Unix epoch, UTC.
#[must_use]
pub fn wall_clock() -> Moment {
    let unix_nano = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    };
    Moment { unix_nano }
}
