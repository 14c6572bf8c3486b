//! `spans`: work of instrumented controllers, as posted to the trace server.

use super::define::columns;
use super::{Moment, Table};

columns! {
    /// A row of `spans`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Span / SpanBuilder / SpanView {
        /// CPID that the work was done for.
        cpid: String,
        /// Start, as sent.
        start: Option<Moment>,
        /// End, as sent.
        end: Option<Moment>,
        /// Component.
        service: Option<String>,
        /// Kind of the object worked on.
        object_kind: Option<String>,
        /// Name of the object worked on.
        object_name: Option<String>,
        /// Free text, usually the function's name.
        message: Option<String>,
        /// Id of the span.
        span_id: Option<String>,
        /// Id of its parent.
        parent_id: Option<String>,
        /// Arrival, interceptor's clock.
        received: Moment,
        /// Interceptor instance.
        instance: String,
    }
}

impl Table for Span {
    const NAME: &'static str = "spans";
    const DOCUMENTATION: &'static str = "One row per span posted to the trace server.";

    fn revision(&self) -> Option<i64> {
        None
    }
}
