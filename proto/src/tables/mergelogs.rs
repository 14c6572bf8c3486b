//! `mergelogs`: relations between CPIDs, as posted to the trace server.

use super::define::{columns, text_enum};
use super::{Moment, SentMoment, Table};

text_enum! {
    /// Why a CPID was made.
    pub enum CauseType {
        /// Not said.
        Unspecified = "unspecified",
        /// A new change: a root without sources.
        NewChange = "new_change",
        /// Several changes met.
        Merge = "merge",
    }
}

columns! {
    /// A row of `mergelogs`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Mergelog / MergelogBuilder / MergelogView {
        /// The CPID that was made.
        new_cpid: String,
        /// The CPIDs it came from.
        source_cpids: Vec<String>,
        /// When it was made, as sent.
        sent: Option<SentMoment>,
        /// `unspecified`, `new_change` or `merge`.
        cause_type: CauseType,
        /// Free text, as sent.
        cause_message: Option<String>,
        /// Component that reported it.
        reported_by: Option<String>,
        /// Arrival, interceptor's clock.
        received: Moment,
        /// Interceptor instance.
        instance: String,
    }
}

impl Table for Mergelog {
    const NAME: &'static str = "mergelogs";
    const DOCUMENTATION: &'static str = "One row per mergelog posted to the trace server.";

    fn revision(&self) -> Option<i64> {
        None
    }
}
