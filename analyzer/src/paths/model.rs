//! Paths as data: what `--format json` prints.

use serde::Serialize;

use crate::report::model::{Scope, SectionQuery};

/// Value of `schema` in the JSON.
pub(super) const SCHEMA: &str = "cascade.paths";
/// Version of the JSON document. Added fields do not raise it.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// The paths between two kinds of changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Paths {
    pub(super) schema: &'static str,
    pub(super) schema_version: u32,
    pub(super) producer: String,
    pub(super) traces: Vec<String>,
    pub(super) scope: Scope,
    /// As asked for; `None` for the root, or the end of the cascade.
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// `actor`, `kind` or `namespace`.
    pub(super) by: Option<&'static str>,
    /// `each` or `last`.
    pub(super) fan_out: &'static str,
    pub(super) percentile_method: &'static str,
    /// Most arrivals first.
    pub(super) paths: Vec<Path>,
    /// Arrivals that are not in the figures, for how their cascade ended.
    pub(super) excluded: Vec<Excluded>,
    /// The SQL behind the figures, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) queries: Vec<SectionQuery>,
}

/// One signature, of one group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Path {
    /// The actor, kind or namespace that was asked for.
    pub(super) group: Option<String>,
    /// `Kind.group/op[facet]@actor`, joined by ` > `.
    pub(super) path: String,
    pub(super) n: i64,
    pub(super) p50_ns: i64,
    pub(super) p90_ns: i64,
    pub(super) p95_ns: i64,
    pub(super) p99_ns: i64,
    pub(super) max_ns: i64,
    /// Of all time on this path.
    pub(super) dominating: Option<Dominating>,
}

/// The hop that takes most of the time of a path.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Dominating {
    /// Position of the step that it leads to.
    pub(super) position: i64,
    /// That step.
    pub(super) step: String,
    /// Its share of all time on this path.
    pub(super) share: f64,
}

/// Arrivals in cascades that did not end well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Excluded {
    /// `cascades.outcome`.
    pub(super) outcome: String,
    pub(super) arrivals: i64,
}
