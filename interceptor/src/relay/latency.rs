//! A histogram that is cheap enough to count every chunk of bytes.
//!
//! Upper bounds of its buckets are powers of two of nanoseconds, so finding one is counting zeros;
//! counting is two additions without a lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// Exponent of the lowest upper bound: 2^12 ns, 4 µs.
const LOWEST: u32 = 12;
/// Number of buckets with an upper bound; the highest is 2^30 ns, 1.07 s.
const BOUNDED: usize = 19;

/// Durations, by powers of two. Clones share their values.
#[derive(Debug, Clone, Default)]
pub(super) struct Latency(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Durations up to each upper bound and above the one before; the last one has no bound.
    buckets: [AtomicU64; BOUNDED + 1],
    nanoseconds: AtomicU64,
}

impl Latency {
    /// Counts one duration.
    pub(super) fn observe(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.0.buckets.get(bucket_of(nanoseconds)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// How many durations were counted.
    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        let buckets = self.0.buckets.iter();
        buckets.map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }
}

/// Index of the bucket that holds so many nanoseconds: the first whose bound is not below.
fn bucket_of(nanoseconds: u64) -> usize {
    let exponent = u64::BITS - nanoseconds.saturating_sub(1).leading_zeros();
    let index = exponent.saturating_sub(LOWEST);
    usize::try_from(index).map_or(BOUNDED, |index| index.min(BOUNDED))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of latency, for a metric: 2^53 of them are 104 days"
)]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

impl TypedMetric for Latency {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let mut bound = 1_u64 << LOWEST;
        let mut buckets = [(f64::INFINITY, 0); BOUNDED + 1];
        let mut count = 0;
        for (index, (bucket, counted)) in buckets.iter_mut().zip(&self.0.buckets).enumerate() {
            let number = counted.load(Ordering::Relaxed);
            count += number;
            if index < BOUNDED {
                bucket.0 = seconds(bound);
                bound <<= 1;
            }
            bucket.1 = number;
        }
        let sum = seconds(self.0.nanoseconds.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::{Registry, Unit};

    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_is_not_below() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(1), 0);
        assert_eq!(bucket_of(4096), 0);
        assert_eq!(bucket_of(4097), 1);
        assert_eq!(bucket_of(8192), 1);
        assert_eq!(bucket_of(8193), 2);
        assert_eq!(bucket_of(1 << 30), BOUNDED - 1);
        assert_eq!(bucket_of((1 << 30) + 1), BOUNDED);
        assert_eq!(bucket_of(u64::MAX), BOUNDED);
    }

    #[test]
    fn it_is_exported_as_a_histogram() {
        let latency = Latency::default();
        for nanoseconds in [3_000, 4_096, 5_000, 2_000_000_000] {
            latency.observe(Duration::from_nanos(nanoseconds));
        }
        let mut registry = Registry::default();
        registry.register_with_unit("added_latency", "Help", Unit::Seconds, latency);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "# TYPE added_latency_seconds histogram",
            "added_latency_seconds_bucket{le=\"0.000004096\"} 2",
            "added_latency_seconds_bucket{le=\"0.000008192\"} 3",
            "added_latency_seconds_bucket{le=\"1.073741824\"} 3",
            "added_latency_seconds_bucket{le=\"+Inf\"} 4",
            "added_latency_seconds_count 4",
            "added_latency_seconds_sum 2.000012096",
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} not in\n{text}"
            );
        }
    }
}
