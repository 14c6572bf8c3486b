//! The few kinds whose part in the API is special, whoever writes them.

/// What a kind is to the kernel. Nothing here says which controller does what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KindClass {
    /// Tells what happened; nothing reacts to it.
    Event,
    /// A heartbeat by itself.
    Lease,
    /// Its status is a heartbeat.
    Node,
    /// Its deletion takes everything in it along.
    Namespace,
    /// Creates by the clock.
    CronJob,
    /// Runs a Pod on every Node.
    DaemonSet,
    /// Replaces its Pods one after the other, under the same names.
    StatefulSet,
    /// Bound to a node by someone who leaves no field manager.
    Pod,
    /// Selected by selectors, like Pods.
    Claim,
    /// Written by kube-apiserver inside of the requests that it counts.
    Quota,
    /// Any other.
    Other,
}

impl KindClass {
    /// The class of `Kind.group`.
    #[must_use]
    pub(crate) fn of(kind: &str) -> Self {
        match kind {
            "Event." | "Event.events.k8s.io" => Self::Event,
            "Lease.coordination.k8s.io" => Self::Lease,
            "Node." => Self::Node,
            "Namespace." => Self::Namespace,
            "CronJob.batch" => Self::CronJob,
            "DaemonSet.apps" => Self::DaemonSet,
            "StatefulSet.apps" => Self::StatefulSet,
            "Pod." => Self::Pod,
            "PersistentVolumeClaim." => Self::Claim,
            "ResourceQuota." => Self::Quota,
            _ => Self::Other,
        }
    }
}
