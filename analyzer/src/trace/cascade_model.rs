//! The cascade of one change, as data: what `--format json` prints.

use serde::Serialize;

/// Value of `schema` in the JSON.
pub(super) const SCHEMA: &str = "cascade.trace.change";
/// Version of the JSON document. Added fields do not raise it.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// A root and everything that came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct CascadeTrace {
    pub(super) schema: &'static str,
    pub(super) schema_version: u32,
    pub(super) cluster_id: String,
    pub(super) epoch: i64,
    /// What the cascade was found by: the object, or the revision.
    pub(super) asked: String,
    /// Why the root is one, see `roots`.
    pub(super) root_class: String,
    /// How it ended, see `cascades`.
    pub(super) outcome: Option<String>,
    /// From the root's commit until every object that it changed was as its spec wants it.
    pub(super) converged_ns: Option<i64>,
    /// From the root's commit until the last change before 30 s of quiet.
    pub(super) settled_ns: Option<i64>,
    /// The root first, then by revision.
    pub(super) changes: Vec<ReachedChange>,
    /// Positions in `changes` of the critical path, from the root on.
    pub(super) critical_path: Vec<usize>,
    /// From the root's commit to that of the last change on the critical path (the one that was asked for; else the
    /// one with which the cascade converged, else the last one): exactly the sum of
    /// their `hop_ns`.
    pub(super) total_ns: i64,
    /// Other cascades that changed the object or have the change in common, newest first.
    pub(super) other_roots: Vec<OtherRoot>,
}

/// A change of the cascade.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct ReachedChange {
    pub(super) revision: i64,
    pub(super) ordinal: i64,
    pub(super) op: String,
    pub(super) kind: String,
    pub(super) object: String,
    pub(super) actor: Option<String>,
    /// What differs from the revision before; empty where that does not apply.
    pub(super) changed: Vec<String>,
    /// Position of what set it off; `None` for the root.
    pub(super) trigger: Option<usize>,
    /// How sure that trigger is; `None` for the root.
    pub(super) confidence: Option<f64>,
    pub(super) since_root_ns: i64,
    /// From the trigger's commit to this one's; 0 for the root.
    pub(super) hop_ns: i64,
    /// Of that: until the request that reacted; `None` without request spans.
    pub(super) reaction_ns: Option<i64>,
    pub(super) api_ns: Option<i64>,
    pub(super) storage_ns: Option<i64>,
}

/// A root that could have been asked for as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct OtherRoot {
    pub(super) revision: i64,
    pub(super) ordinal: i64,
    pub(super) op: String,
    pub(super) object: String,
    pub(super) actor: Option<String>,
}
