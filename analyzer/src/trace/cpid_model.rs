//! What came of a reported CPID, as data: what `--format json` prints.

use serde::Serialize;

/// Value of `schema` in the JSON.
pub(super) const SCHEMA: &str = "cascade.trace.cpid";
/// Version of the JSON document. Added fields do not raise it.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// Everything that is known to have come of a CPID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CpidTrace {
    pub(super) schema: &'static str,
    pub(super) schema_version: u32,
    /// The CPID asked for.
    pub(super) cpid: String,
    /// Where the trace names it.
    pub(super) places: Vec<Place>,
    /// What it came from, itself first.
    pub(super) ancestry: Vec<Origin>,
    /// What came of it, itself first, then by the number of merges between.
    pub(super) descendants: Vec<Descendant>,
    /// How long all that took.
    pub(super) completion: Option<Completion>,
    /// First start and last end of all spans, by the clocks of the components.
    pub(super) spans: Option<Extent>,
}

/// A table that names the CPID, and in how many rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Place {
    pub(super) place: String,
    pub(super) rows: i64,
}

/// A CPID with the mergelog that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Origin {
    pub(super) cpid: String,
    /// Merges between it and the CPID asked for.
    pub(super) depth: i64,
    /// What it was made of; `None` when no mergelog made it.
    pub(super) source_cpids: Option<Vec<String>>,
    pub(super) reported_by: Option<String>,
    pub(super) cause_message: Option<String>,
}

/// A CPID, and all that carried it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Descendant {
    #[serde(flatten)]
    pub(super) origin: Origin,
    /// Changes that set it on their object or carried it by themselves, in order.
    pub(super) changes: Vec<CarryingChange>,
    /// Changes that kept it, removed it, or deleted the object with it: not known to have come of it.
    pub(super) others: Others,
    /// Spans, by start.
    pub(super) spans: Vec<SpanRow>,
}

/// A change that carried a CPID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CarryingChange {
    pub(super) cluster_id: String,
    pub(super) epoch: i64,
    pub(super) revision: i64,
    pub(super) ordinal: i64,
    pub(super) op: String,
    pub(super) object: String,
    pub(super) kind: Option<String>,
    pub(super) transition: Option<String>,
    /// Whether the write carried it by itself; otherwise a controller of Kubernetes copied it.
    pub(super) reported: bool,
    pub(super) actor: Option<String>,
    pub(super) commit_unix_nano: Option<i64>,
    /// Since the first change of all; `None` without a time.
    pub(super) since_first_ns: Option<i64>,
}

/// Changes that are only counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Others {
    pub(super) kept: i64,
    pub(super) dropped: i64,
    pub(super) ended: i64,
    /// Time of the last of them since the first change of all.
    pub(super) last_since_first_ns: Option<i64>,
}

/// A span that was posted for a CPID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct SpanRow {
    pub(super) service: Option<String>,
    pub(super) object_kind: Option<String>,
    pub(super) object_name: Option<String>,
    pub(super) message: Option<String>,
    pub(super) start_unix_nano: Option<i64>,
    pub(super) end_unix_nano: Option<i64>,
    /// Start since the first change of all: of two clocks.
    pub(super) since_first_ns: Option<i64>,
    pub(super) duration_ns: Option<i64>,
}

/// From the first to the last change that set the CPID or one that came of it, or carried it by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Completion {
    #[serde(flatten)]
    pub(super) extent: Extent,
    pub(super) changes: i64,
    pub(super) by_object: Vec<Share>,
    pub(super) by_kind: Vec<Share>,
    pub(super) by_actor: Vec<Share>,
}

/// From when to when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Extent {
    pub(super) first_unix_nano: i64,
    pub(super) last_unix_nano: i64,
    pub(super) total_ns: i64,
}

/// The part of one object, kind or actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Share {
    pub(super) name: String,
    pub(super) changes: i64,
    /// Its first change since the first of all.
    pub(super) first_ns: i64,
    /// Its last change since the first of all.
    pub(super) last_ns: i64,
}
