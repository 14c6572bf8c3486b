//! When the transactions of a given rate are due.

use std::time::{Duration, Instant};

use anyhow::ensure;

/// A schedule of transactions at equal distances, dealt out to workers in turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// When the first one is due.
    begin: Instant,
    /// Transactions per second, of all workers together.
    rate: f64,
    /// Number of workers.
    workers: usize,
}

impl Pace {
    /// # Errors
    /// The rate is no positive number.
    pub(super) fn new(begin: Instant, rate: f64, workers: usize) -> anyhow::Result<Self> {
        ensure!(
            rate.is_finite() && rate > 0.0,
            "--rate must be above 0, not {rate}"
        );
        Ok(Self {
            begin,
            rate,
            workers,
        })
    }

    /// When a worker's transaction `number` is due, both counted from 0.
    pub(super) fn due(&self, worker: usize, number: usize) -> Instant {
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        let place = (number * self.workers + worker) as f64;
        self.begin + Duration::from_secs_f64(place / self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_take_turns_at_the_rate_that_is_asked_for() {
        let begin = Instant::now();
        let pace = Pace::new(begin, 1000.0, 4).unwrap();
        let after = |worker, number| pace.due(worker, number) - begin;
        assert_eq!(after(0, 0), Duration::ZERO);
        assert_eq!(after(3, 0), Duration::from_millis(3));
        assert_eq!(after(0, 1), Duration::from_millis(4));
        assert_eq!(after(2, 250), Duration::from_millis(1002));
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Pace::new(Instant::now(), rate, 1).is_err(), "{rate}");
        }
    }
}
