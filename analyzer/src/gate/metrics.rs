//! What a threshold can be about.

use crate::stages::STAGES;

/// A metric about etcd calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallMetric {
    /// Name in thresholds.
    pub name: &'static str,
    /// The values of `calls.shape` that it takes.
    pub shapes: &'static [&'static str],
    /// What it measures, for people.
    pub definition: &'static str,
}

/// Every metric about etcd calls: how long etcd took to answer calls that it committed.
pub const CALL_METRICS: &[CallMetric] = &[
    CallMetric {
        name: "etcd.write",
        shapes: &["create", "update", "delete", "delete_range"],
        definition: "etcd's answer to a committed write of any shape",
    },
    CallMetric {
        name: "etcd.create",
        shapes: &["create"],
        definition: "etcd's answer to a committed creation",
    },
    CallMetric {
        name: "etcd.update",
        shapes: &["update"],
        definition: "etcd's answer to a committed update",
    },
    CallMetric {
        name: "etcd.delete",
        shapes: &["delete", "delete_range"],
        definition: "etcd's answer to a committed deletion",
    },
];

/// The names of all metrics.
pub fn names() -> impl Iterator<Item = &'static str> {
    STAGES
        .iter()
        .map(|stage| stage.name)
        .chain(CALL_METRICS.iter().map(|metric| metric.name))
}

/// Whether a metric is a stage of an object's life.
#[must_use]
pub fn is_stage(name: &str) -> bool {
    STAGES.iter().any(|stage| stage.name == name)
}
