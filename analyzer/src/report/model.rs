//! The report as data: what every format renders and what `--format json` prints.
//!
//! `docs/report-json.md` documents it for readers of the JSON; change both together, and raise
//! [`SCHEMA_VERSION`] when a field changes its meaning or goes away.

use serde::Serialize;

use super::hops::Hops;
use super::units;

/// Value of `schema` in a report's JSON.
pub const SCHEMA: &str = "cascade.report";
/// Version of the JSON document. Added fields do not raise it.
pub const SCHEMA_VERSION: u32 = 1;
/// How every percentile of a report is computed: the value at rank `ceil(n·p)` of the sorted
/// samples, so always one that was measured.
pub const PERCENTILE_METHOD: &str = "nearest-rank";

/// Everything a report says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name and version of the program that computed it.
    pub producer: String,
    /// The traces as they were named.
    pub traces: Vec<String>,
    /// What the report was narrowed to.
    pub scope: Scope,
    /// [`PERCENTILE_METHOD`].
    pub percentile_method: &'static str,
    /// What a reader must know to read the numbers rightly.
    pub notes: Vec<Note>,
    /// How complete the trace is.
    pub completeness: Completeness,
    /// What happened. This and what follows is `None` when it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// How long etcd took to answer mutating calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_latency: Option<Vec<WriteLatency>>,
    /// How long objects took from one stage of their life to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<StageLatency>>,
    /// Who carries CPIDs, and who loses them; also `None` when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Where the time goes between changes; only when it was asked for by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hops: Option<Hops>,
    /// The SQL behind each section; empty unless it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<SectionQuery>,
}

impl Report {
    /// Whether the report has a section, by the name that [`SectionQuery::section`] uses.
    #[must_use]
    pub fn has_section(&self, name: &str) -> bool {
        match name {
            "changes" => self.changes.is_some(),
            "write_latency" => self.write_latency.is_some(),
            "stages" => self.stages.is_some(),
            "coverage" => self.coverage.is_some(),
            "agreement" => {
                let coverage = self.coverage.as_ref();
                coverage.is_some_and(|coverage| coverage.agreement.is_some())
            }
            "hops" => self.hops.is_some(),
            _ => true,
        }
    }
}

/// What a report was narrowed to; `None` where it was not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Scope {
    /// Only changes from here on, as given: a time or a revision.
    pub since: Option<String>,
    /// Only changes before this, as given: a time or a revision.
    pub until: Option<String>,
    /// Only objects of this namespace. Completeness and call latency always concern everything.
    pub namespace: Option<String>,
}

/// Something that a reader must know to read the numbers rightly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Names the note for programs: `kwok`.
    pub id: &'static str,
    /// The note for people, one sentence or two.
    pub text: String,
}

/// How complete a trace is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Completeness {
    /// Whether there is a history, no revision of any is missing, and no gap covers revisions.
    pub complete: bool,
    /// One entry per etcd cluster and epoch.
    pub histories: Vec<History>,
    /// Recorded losses and discontinuities by kind.
    pub gaps: Vec<GapSummary>,
}

impl Completeness {
    /// What keeps the trace from being complete, in words; empty if it is.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        if self.histories.is_empty() {
            return vec!["the trace holds no changes".to_owned()];
        }
        let missing = self
            .histories
            .iter()
            .filter(|history| history.missing_revisions > 0)
            .map(|history| {
                format!(
                    "{} missing in cluster {} (epoch {})",
                    units::counted(history.missing_revisions, "revision"),
                    history.cluster_id,
                    history.epoch
                )
            });
        let gaps = self
            .gaps
            .iter()
            .filter(|gap| gap.covers_revisions)
            .map(|gap| {
                format!(
                    "{} of kind {} in which changes are missing",
                    units::counted(gap.rows, "recorded gap"),
                    gap.kind
                )
            });
        missing.chain(gaps).collect()
    }
}

/// The revisions of one etcd cluster between two restores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct History {
    /// etcd cluster id, lowercase hex.
    pub cluster_id: String,
    /// Counts restores of the same cluster, from 0.
    pub epoch: i64,
    /// First revision in the trace.
    pub first_revision: Option<i64>,
    /// Last revision in the trace.
    pub last_revision: Option<i64>,
    /// Number of distinct revisions in the trace.
    pub revisions: i64,
    /// Revisions that lie between the first and the last and are not in the trace.
    pub missing_revisions: i64,
    /// Number of changes; one revision can hold several.
    pub changes: i64,
    /// Rows that repeat a (revision, key) of another row.
    pub duplicates: i64,
    /// Changes of which the call that made them was seen too.
    pub changes_with_call: i64,
    /// Deletions of keys with a lease that no call made: etcd removes the keys of an expired lease
    /// itself.
    pub lease_expiries: i64,
    /// Commit time of the first change, RFC 3339; `None` if no change has a time.
    pub first_time: Option<String>,
    /// Commit time of the last change, RFC 3339.
    pub last_time: Option<String>,
}

/// Recorded losses of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapSummary {
    /// Kind as in the table `gaps`.
    pub kind: String,
    /// Whether changes are missing because of it.
    pub covers_revisions: bool,
    /// Number of rows of `gaps`.
    pub rows: i64,
    /// Number of things lost, summed where known.
    pub count: Option<i64>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Number of changes.
    pub total: i64,
    /// Of these, how many have an actor, by what it is known from.
    pub actor_sources: ActorSources,
    /// Changes by kind and actor, most first.
    pub by_kind_and_actor: Vec<ChangeCount>,
}

/// How many changes have an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ActorSources {
    /// From the API request: the controller loop or program in its user agent.
    pub request: i64,
    /// From the object: its field managers.
    pub manager: i64,
    /// Not known.
    pub unknown: i64,
}

/// What became of CPIDs in the changes, and what the mergelogs are worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Mergelogs posted to the trace server.
    pub mergelogs: i64,
    /// Those that have sources.
    pub merges: i64,
    /// Rules that mergelogs break.
    pub violations: Vec<RuleViolation>,
    /// Changes by kind and actor: those first that lose most CPIDs.
    pub by_kind_and_actor: Vec<CoverageCount>,
    /// Whether reported CPIDs agree with the causes that are found; only when the section was asked for by name, as
    /// causes must be found for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Vec<AgreementCount>>,
}

impl Coverage {
    /// Whether there is any CPID at all.
    #[must_use]
    pub fn has_cpids(&self) -> bool {
        let has = |count: &CoverageCount| count.writes > count.without;
        self.mergelogs > 0 || self.by_kind_and_actor.iter().any(has)
    }
}

/// Changes of one kind of object by one actor, by their verdict in the table `cpid_agreement`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AgreementCount {
    /// API group; the empty text is the core group; `None` for keys that hold no object.
    pub api_group: Option<String>,
    /// Kind; `None` where the value could not be decoded or is no object.
    pub kind: Option<String>,
    /// Who wrote it; `None` where that is not known.
    pub actor: Option<String>,
    /// The reported CPID and the causes name the same roots.
    pub agrees: i64,
    /// They have some roots in common.
    pub partly: i64,
    /// No CPID is reported, though a root reports one.
    pub missing: i64,
    /// They have no root in common.
    pub contradicts: i64,
}

/// A rule that mergelogs break.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleViolation {
    /// Name of the rule as in the table `mergelog_violations`, such as `made_twice`.
    pub rule: String,
    /// How often it is broken.
    pub count: i64,
    /// One of these in words.
    pub example: String,
}

/// What became of CPIDs in the changes of one kind of object by one actor. Each change is counted once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CoverageCount {
    /// API group; the empty text is the core group; `None` for keys that hold no object.
    pub api_group: Option<String>,
    /// Kind; `None` where the value could not be decoded or is no object.
    pub kind: Option<String>,
    /// Who wrote it; `None` where that is not known.
    pub actor: Option<String>,
    /// Number of changes.
    pub writes: i64,
    /// The write carried a CPID by itself.
    pub reported: i64,
    /// A CPID was merely kept, or copied with other annotations.
    pub kept: i64,
    /// The object was made without one for an owner that carries one.
    pub lost: i64,
    /// There was one and the write removed it.
    pub dropped: i64,
    /// It was replaced by one that is not known to come of it.
    pub broken: i64,
    /// The object with it was deleted, by a call that carried none.
    pub ended: i64,
    /// Neither the object nor the write had one.
    pub without: i64,
}

impl CoverageCount {
    /// Changes at which a CPID was lost.
    #[must_use]
    pub fn losses(&self) -> i64 {
        self.lost + self.dropped + self.broken
    }
}

/// Changes of one kind of object by one actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangeCount {
    /// API group; the empty text is the core group; `None` for keys that hold no object.
    pub api_group: Option<String>,
    /// Kind; `None` where the value could not be decoded or is no object.
    pub kind: Option<String>,
    /// Who wrote it; `None` where that is not known.
    pub actor: Option<String>,
    /// Number of creations.
    pub created: i64,
    /// Number of updates.
    pub updated: i64,
    /// Number of deletions.
    pub deleted: i64,
    /// Sum of the three.
    pub total: i64,
}

/// A distribution of durations in nanoseconds; all but `n` are `None` when `n` is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Distribution {
    /// Number of samples.
    pub n: i64,
    /// Median.
    pub p50_ns: Option<i64>,
    /// 90th percentile.
    pub p90_ns: Option<i64>,
    /// 95th percentile.
    pub p95_ns: Option<i64>,
    /// 99th percentile.
    pub p99_ns: Option<i64>,
    /// Longest.
    pub max_ns: Option<i64>,
}

impl Distribution {
    /// The statistics in the order of every table, with their names.
    #[must_use]
    pub fn statistics(&self) -> [(&'static str, Option<i64>); 5] {
        [
            ("p50", self.p50_ns),
            ("p90", self.p90_ns),
            ("p95", self.p95_ns),
            ("p99", self.p99_ns),
            ("max", self.max_ns),
        ]
    }
}

/// How long etcd took to answer calls of one method, shape and outcome: from the request's first
/// byte to the answer's last, at the interceptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WriteLatency {
    /// gRPC method.
    pub method: String,
    /// What the call's first operation does.
    pub shape: String,
    /// How the call ended.
    pub outcome: String,
    /// Number of calls, those without an answer included.
    pub calls: i64,
    /// Durations of the answered ones.
    #[serde(flatten)]
    pub latency: Distribution,
}

/// How long objects took from one stage of their life to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StageLatency {
    /// Name of the stage, such as `pod.created_to_ready`.
    pub stage: &'static str,
    /// Where it begins and ends, for people.
    pub definition: &'static str,
    /// Durations of the objects that made the step within the trace.
    #[serde(flatten)]
    pub latency: Distribution,
    /// Objects that are not among the samples, by reason.
    pub excluded: Vec<Excluded>,
}

impl StageLatency {
    /// Number of objects that are not among the samples.
    #[must_use]
    pub fn excluded_total(&self) -> i64 {
        self.excluded.iter().map(|excluded| excluded.n).sum()
    }
}

/// Objects left out of a stage's samples for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Reason as in the view `stage_durations`, such as `before_trace`.
    pub reason: String,
    /// Number of objects.
    pub n: i64,
}

/// The SQL that reproduces a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SectionQuery {
    /// Name of the section in the JSON: `completeness`, `changes`, `write_latency`, `stages`, ….
    pub section: &'static str,
    /// What the query answers.
    pub title: String,
    /// The query, for `cascade sql`.
    pub sql: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_incomplete_for_missing_revisions_gaps_over_revisions_and_nothing_at_all() {
        let gap = |kind: &str, covers_revisions| GapSummary {
            kind: kind.into(),
            covers_revisions,
            rows: 2,
            count: None,
        };
        let history = |missing_revisions| History {
            cluster_id: "ab12".into(),
            epoch: 0,
            first_revision: Some(1),
            last_revision: Some(9),
            revisions: 9,
            missing_revisions,
            changes: 9,
            duplicates: 0,
            changes_with_call: 9,
            lease_expiries: 0,
            first_time: None,
            last_time: None,
        };
        let reasons = |histories, gaps| {
            let completeness = Completeness {
                complete: false,
                histories,
                gaps,
            };
            completeness.reasons()
        };
        assert_eq!(
            reasons(vec![history(0)], vec![gap("restart", false)]),
            [""; 0]
        );
        assert_eq!(
            reasons(vec![history(3)], vec![gap("compacted", true)]),
            [
                "3 revisions missing in cluster ab12 (epoch 0)",
                "2 recorded gaps of kind compacted in which changes are missing",
            ]
        );
        assert_eq!(reasons(vec![], vec![]), ["the trace holds no changes"]);
    }
}
