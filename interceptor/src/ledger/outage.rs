//! How long to wait between attempts, and how often to complain.

use std::time::{Duration, Instant};

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Time after which the same complaint is repeated.
const REMINDER: Duration = Duration::from_secs(60);

/// The attempts since something last worked.
#[derive(Debug, Default)]
pub(super) struct Outage {
    attempts: u32,
    since: Option<Instant>,
    logged: Option<(Instant, String)>,
    /// Whether the log says that it works again.
    recovered: bool,
}

impl Outage {
    /// Notes a failed attempt. Returns whether it deserves a line in the log: the first one does,
    /// another reason does, and after a minute a reminder does.
    pub(super) fn failed(&mut self, now: Instant, reason: &str) -> bool {
        self.attempts = self.attempts.saturating_add(1);
        self.since.get_or_insert(now);
        let known = self.logged.as_ref().is_some_and(|(at, logged)| {
            logged == reason && now.saturating_duration_since(*at) < REMINDER
        });
        if !known {
            self.logged = Some((now, reason.to_owned()));
            self.recovered = false;
        }
        !known
    }

    /// Number of failed attempts.
    #[must_use]
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How long to wait before the next attempt; doubles with each.
    #[must_use]
    pub(super) fn delay(&self) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        FIRST_DELAY
            .saturating_mul(1 << doublings)
            .min(LONGEST_DELAY)
    }

    /// Notes a success that may not last. Returns how long the outage lasted if that deserves a
    /// line in the log: once after every complaint.
    pub(super) fn recovered(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since?;
        if std::mem::replace(&mut self.recovered, true) {
            return None;
        }
        Some(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit() {
        let mut outage = Outage::default();
        let now = Instant::now();
        let delays: Vec<u128> = (0..9)
            .map(|_| {
                outage.failed(now, "down");
                outage.delay().as_millis()
            })
            .collect();
        assert_eq!(delays, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn the_same_reason_is_logged_once_a_minute() {
        let mut outage = Outage::default();
        let start = Instant::now();
        assert!(outage.failed(start, "down"));
        assert!(!outage.failed(start + Duration::from_secs(59), "down"));
        assert!(outage.failed(start + Duration::from_secs(60), "down"));
        assert!(!outage.failed(start + Duration::from_secs(61), "down"));
        assert!(outage.failed(start + Duration::from_secs(62), "refused"));
        assert_eq!(outage.attempts(), 5);
    }

    #[test]
    fn recovery_is_logged_once_after_each_complaint() {
        let mut outage = Outage::default();
        let start = Instant::now();
        assert_eq!(outage.recovered(start), None);
        outage.failed(start, "down");
        let second = start + Duration::from_secs(1);
        assert_eq!(outage.recovered(second), Some(Duration::from_secs(1)));
        // It works for a moment only, again and again.
        assert!(!outage.failed(second, "down"));
        assert_eq!(outage.recovered(second), None);
        assert!(outage.failed(second, "refused"));
        assert_eq!(outage.recovered(second), Some(Duration::from_secs(1)));
    }
}
