//! Bounds what observation may hold in memory.

use super::metrics::ObserverMetrics;

/// Most that one connection may hold, bytes.
const PER_CONNECTION: usize = 16 << 20;
/// Most that all connections may hold together, bytes, unless another limit is set.
const IN_ALL: usize = 256 << 20;
/// One connection gets at most one of so many parts of it.
const PARTS: usize = 4;

/// What one connection holds: messages and header blocks that are being put together, and operations
/// of open calls.
///
/// All connections count in one gauge, [`ObserverMetrics::buffered_bytes`]; what is left goes back
/// when the connection is dropped.
#[derive(Debug)]
pub(super) struct Budget {
    used: usize,
    in_all: usize,
    metrics: ObserverMetrics,
}

impl Budget {
    /// Nothing is held.
    pub(super) fn new(metrics: ObserverMetrics) -> Self {
        Self {
            used: 0,
            in_all: IN_ALL,
            metrics,
        }
    }

    /// Sets what all connections may hold together, in bytes; to be the same for all.
    pub(super) fn limit(&mut self, in_all: usize) {
        self.in_all = in_all;
    }

    /// Holds `bytes` more if there is room; says whether.
    pub(super) fn reserve(&mut self, bytes: usize) -> bool {
        let Ok(signed) = i64::try_from(bytes) else {
            return false;
        };
        let per_connection = PER_CONNECTION.min(self.in_all / PARTS);
        if bytes > per_connection.saturating_sub(self.used) {
            return false;
        }
        let gauge = &self.metrics.buffered_bytes;
        let in_all = i64::try_from(self.in_all).unwrap_or(i64::MAX);
        if gauge.inc_by(signed).saturating_add(signed) > in_all {
            gauge.dec_by(signed);
            return false;
        }
        self.used += bytes;
        true
    }

    /// Gives `bytes` back.
    pub(super) fn release(&mut self, bytes: usize) {
        let bytes = bytes.min(self.used);
        self.used -= bytes;
        self.metrics
            .buffered_bytes
            .dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.release(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_and_not_all_together_hold_more_than_allowed() {
        let metrics = ObserverMetrics::default();
        let mut budgets = Vec::new();
        for _ in 0..IN_ALL / PER_CONNECTION {
            let mut budget = Budget::new(metrics.clone());
            assert!(!budget.reserve(PER_CONNECTION + 1));
            assert!(budget.reserve(PER_CONNECTION - 1));
            assert!(budget.reserve(1));
            assert!(!budget.reserve(1));
            budgets.push(budget);
        }
        let mut late = Budget::new(metrics.clone());
        assert!(!late.reserve(1));
        assert_eq!(metrics.buffered_bytes.get(), IN_ALL as i64);

        budgets.pop();
        assert!(late.reserve(PER_CONNECTION));
        late.release(PER_CONNECTION + 1); // more than there is
        drop((late, budgets));
        assert_eq!(metrics.buffered_bytes.get(), 0);
    }

    #[test]
    fn a_limit_is_shared_and_no_connection_takes_it_all() {
        let metrics = ObserverMetrics::default();
        let budget = || {
            let mut budget = Budget::new(metrics.clone());
            budget.limit(400);
            budget
        };
        let mut budgets: Vec<_> = (0..5).map(|_| budget()).collect();
        assert!(!budgets[0].reserve(101));
        for budget in &mut budgets[..4] {
            assert!(budget.reserve(100));
        }
        assert!(!budgets[4].reserve(1));
        budgets[0].release(1);
        assert!(budgets[4].reserve(1));
        assert_eq!(metrics.buffered_bytes.get(), 400);
    }
}
