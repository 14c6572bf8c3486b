//! What comes out of a run.

use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct LoadResult {
    /// Number of transactions that were answered while measuring.
    pub operations: usize,
    /// For how long was measured.
    pub seconds: f64,
    /// Operations per second.
    pub throughput: f64,
    /// Median latency in microseconds (nearest rank, as all percentiles here).
    pub p50_us: f64,
    /// 90th percentile of the latency in microseconds.
    pub p90_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99_us: f64,
    /// Largest latency in microseconds.
    pub max_us: f64,
}

impl LoadResult {
    /// Of the latencies of all that was measured for `duration`.
    pub(super) fn of(mut latencies: Vec<Duration>, duration: Duration) -> anyhow::Result<Self> {
        latencies.sort_unstable();
        let operations = latencies.len();
        ensure!(
            operations > 0,
            "not one operation was answered in {duration:?}"
        );
        let microseconds = |percent: usize| {
            let rank = (operations * percent).div_ceil(100).max(1);
            latencies[rank - 1].as_secs_f64() * 1e6
        };
        Ok(LoadResult {
        operations,
        seconds: duration.as_secs_f64(),
        #[allow(clippy::cast_precision_loss)] // far below 2^53
        throughput: operations as f64 / duration.as_secs_f64(),
        p50_us: microseconds(50),
        p90_us: microseconds(90),
        p99_us: microseconds(99),
        max_us: microseconds(100),
    })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let latencies = (1..=10).rev().map(Duration::from_micros).collect();
        let result = LoadResult::of(latencies, Duration::from_secs(2)).unwrap();
        assert_eq!(
            (result.p50_us, result.p90_us, result.p99_us, result.max_us),
            (5.0, 9.0, 10.0, 10.0)
        );
        assert_eq!(result.throughput, 5.0);
        assert!(LoadResult::of(Vec::new(), Duration::from_secs(2)).is_err());
    }
}
