//! `gaps`: what the trace is known to lack.

use super::define::{columns, text_enum};
use super::{Moment, Table};

text_enum! {
    /// Why something is missing.
    pub enum GapKind {
        /// etcd had compacted the revisions before they were read.
        Compacted = "compacted",
        /// Catching up would have read more revisions than allowed.
        CatchupLimit = "catchup_limit",
        /// The observer's queue was full; calls were dropped.
        ObserverOverflow = "observer_overflow",
        /// A connection was relayed without being observed.
        UnparsedConnection = "unparsed_connection",
        /// The interceptor was not running.
        Restart = "restart",
        /// etcd was restored: another history.
        Restored = "restored",
        /// The trace folder could not be written.
        Storage = "storage",
        /// The wall clock was set.
        ClockStep = "clock_step",
        /// Observation was switched off.
        ObservationOff = "observation_off",
        /// Spans were dropped.
        OtlpOverflow = "otlp_overflow",
        /// Old files were removed.
        Retention = "retention",
    }
}

columns! {
    /// A row of `gaps`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Gap / GapBuilder / GapView {
        /// etcd cluster id, lowercase hex; NULL when it was not known yet.
        cluster_id: Option<String>,
        /// Counts restores of the same cluster, from 0.
        epoch: Option<i32>,
        /// Interceptor instance.
        instance: String,
        /// Kind of loss or discontinuity.
        kind: GapKind,
        /// Whether rows of `changes` are missing.
        covers_revisions: bool,
        /// First revision concerned.
        from_revision: Option<i64>,
        /// Last revision concerned.
        to_revision: Option<i64>,
        /// Number of things lost, where it is known.
        count: Option<i64>,
        /// Begin, interceptor's clock.
        from: Option<Moment>,
        /// End, interceptor's clock.
        to: Option<Moment>,
        /// What happened, for people.
        detail: Option<String>,
    }
}

impl Table for Gap {
    const NAME: &'static str = "gaps";
    const DOCUMENTATION: &'static str = "One row per known loss or discontinuity.";

    fn revision(&self) -> Option<i64> {
        self.from_revision
    }
}
