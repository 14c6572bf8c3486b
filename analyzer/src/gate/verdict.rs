//! Decides thresholds: measured values in, verdicts out.

use serde::Serialize;

use super::thresholds::{Percentile, Threshold};
use crate::report::model::{Completeness, Distribution, Excluded, SectionQuery};
use crate::report::units;

/// What was decided about one threshold, or about all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The limit holds.
    Held,
    /// The limit is exceeded.
    Exceeded,
    /// The trace does not tell.
    Undecided,
}

/// What was measured for a threshold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measurement {
    /// The durations.
    pub latency: Distribution,
    /// Objects without one, by reason.
    pub excluded: Vec<Excluded>,
    /// Why the durations are not all there were; `None` if they are.
    pub incomplete: Option<String>,
}

/// A decided threshold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The threshold.
    #[serde(flatten)]
    pub threshold: Threshold,
    /// The verdict.
    pub verdict: Verdict,
    /// Value that was compared with the limit, in nanoseconds.
    pub measured_ns: Option<i64>,
    /// By how much it is over the limit, in nanoseconds; `None` if it is not.
    pub over_by_ns: Option<i64>,
    /// Number of samples.
    pub n: i64,
    /// Objects that are not among the samples, by reason.
    pub excluded: Vec<Excluded>,
    /// The decision in words.
    pub message: String,
}

/// A whole gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gate {
    /// `cascade.gate`.
    pub schema: &'static str,
    /// Version of the JSON document.
    pub schema_version: u32,
    /// Name and version of the program that decided.
    pub producer: String,
    /// The traces as they were named.
    pub traces: Vec<String>,
    /// The verdict over everything.
    pub verdict: Verdict,
    /// Why the trace is too incomplete to decide by, in words; empty if it is not.
    pub incomplete: Vec<String>,
    /// The decisions, in the order of the thresholds file.
    pub thresholds: Vec<Decision>,
    /// How complete the trace is.
    pub completeness: Completeness,
    /// The SQL behind each number; empty unless it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<SectionQuery>,
}

/// Decides one threshold.
///
/// The order of the questions is the order of certainty. Too few samples, or calls known to be
/// lost, decide nothing; then objects that never arrived; then the percentile.
#[must_use]
pub fn decide(threshold: &Threshold, measurement: Measurement) -> Decision {
    let Measurement {
        latency,
        excluded,
        incomplete,
    } = measurement;
    let measured = value(&latency, threshold.percentile);
    let over_by = measured
        .map(|measured| measured.saturating_sub(threshold.limit))
        .filter(|over_by| *over_by > 0);
    let not_reached = number_excluded(&excluded, "not_reached");
    let subject = subject(threshold);
    let (verdict, message) = match (measured, incomplete) {
        (_, Some(reason)) => (
            Verdict::Undecided,
            format!("{subject} cannot be decided: {reason}"),
        ),
        (None, None) => (
            Verdict::Undecided,
            format!(
                "{subject} cannot be decided: there are no samples{}",
                excluded_text(&excluded)
            ),
        ),
        (Some(_), None) if latency.n < threshold.min_samples => (
            Verdict::Undecided,
            format!(
                "{subject} cannot be decided: {} of at least {}{}",
                units::counted(latency.n, "sample"),
                units::count(threshold.min_samples),
                excluded_text(&excluded)
            ),
        ),
        (Some(measured), None) => match (over_by, threshold.max_not_reached) {
            (Some(over_by), _) => (
                Verdict::Exceeded,
                format!(
                    "{subject} is {}, {} over the limit of {} (n = {})",
                    units::duration(measured),
                    units::duration(over_by),
                    units::duration(threshold.limit),
                    units::count(latency.n)
                ),
            ),
            (None, Some(most)) if not_reached > most => (
                Verdict::Exceeded,
                format!(
                    "{subject} holds, but {} not reached it when the trace ended; at most {} may",
                    have(not_reached),
                    units::count(most)
                ),
            ),
            _ => (
                Verdict::Held,
                format!(
                    "{subject} is {}, within the limit of {} (n = {})",
                    units::duration(measured),
                    units::duration(threshold.limit),
                    units::count(latency.n)
                ),
            ),
        },
    };
    Decision {
        threshold: threshold.clone(),
        verdict,
        measured_ns: measured,
        over_by_ns: over_by,
        n: latency.n,
        excluded,
        message,
    }
}

/// The verdict over a whole gate: undecided if the trace is incomplete or any threshold is, since
/// then neither "holds" nor "exceeded" can be told for certain; else exceeded if any is.
#[must_use]
pub fn overall(incomplete: &[String], decisions: &[Decision]) -> Verdict {
    if !incomplete.is_empty() {
        return Verdict::Undecided;
    }
    decisions
        .iter()
        .map(|decision| decision.verdict)
        .max()
        .unwrap_or(Verdict::Undecided)
}

/// Takes back that limits hold where the trace is incomplete: they hold in what was recorded, and
/// nobody knows the rest.
pub fn withdraw(decisions: &mut [Decision]) {
    for decision in decisions {
        if decision.verdict == Verdict::Held {
            decision.verdict = Verdict::Undecided;
            decision
                .message
                .push_str(" in what was recorded, but the trace is not complete");
        }
    }
}

/// Why the calls in a trace are not all that were made, as far as that was noticed.
///
/// A recorded loss alone does not tell: an unparsed connection may have carried a health check only.
/// Where every change has its call, no committed call was lost.
#[must_use]
pub fn lost_calls(completeness: &Completeness) -> Option<String> {
    const LOSSES: &[&str] = &[
        "observer_overflow",
        "unparsed_connection",
        "observation_off",
        "storage",
    ];
    let without_call: i64 = completeness
        .histories
        .iter()
        .map(|history| history.changes - history.lease_expiries - history.changes_with_call)
        .sum();
    let losses: Vec<&str> = completeness
        .gaps
        .iter()
        .map(|gap| gap.kind.as_str())
        .filter(|kind| LOSSES.contains(kind))
        .collect();
    if losses.is_empty() || without_call <= 0 {
        return None;
    }
    Some(format!(
        "calls were not recorded: those of {} (gaps of kind {})",
        units::counted(without_call, "change"),
        losses.join(", ")
    ))
}

fn subject(threshold: &Threshold) -> String {
    let place = match &threshold.namespace {
        Some(namespace) => format!(" in namespace {namespace}"),
        None => String::new(),
    };
    format!(
        "{} {}{place}",
        threshold.metric,
        threshold.percentile.name()
    )
}

fn value(latency: &Distribution, percentile: Percentile) -> Option<i64> {
    match percentile {
        Percentile::P50 => latency.p50_ns,
        Percentile::P90 => latency.p90_ns,
        Percentile::P95 => latency.p95_ns,
        Percentile::P99 => latency.p99_ns,
        Percentile::Max => latency.max_ns,
    }
}

fn number_excluded(excluded: &[Excluded], reason: &str) -> i64 {
    excluded
        .iter()
        .filter(|excluded| excluded.reason == reason)
        .map(|excluded| excluded.n)
        .sum()
}

fn excluded_text(excluded: &[Excluded]) -> String {
    if excluded.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = excluded
        .iter()
        .map(|excluded| format!("{} {}", units::count(excluded.n), excluded.reason))
        .collect();
    format!(" (excluded: {})", parts.join(", "))
}

fn have(number: i64) -> String {
    if number == 1 {
        "1 object has".to_owned()
    } else {
        format!("{} objects have", units::count(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{GapSummary, History};

    const SECOND: i64 = 1_000_000_000;

    fn threshold() -> Threshold {
        Threshold {
            metric: "pod.created_to_ready".into(),
            percentile: Percentile::P99,
            limit: 5 * SECOND,
            namespace: None,
            min_samples: 2,
            max_not_reached: None,
        }
    }

    fn measured(n: i64, p99_ns: i64) -> Measurement {
        Measurement {
            latency: Distribution {
                n,
                p99_ns: Some(p99_ns),
                ..Distribution::default()
            },
            ..Measurement::default()
        }
    }

    #[test]
    fn a_value_equal_to_the_limit_holds_and_one_above_does_not() {
        let held = decide(&threshold(), measured(2, 5 * SECOND));
        assert_eq!((held.verdict, held.over_by_ns), (Verdict::Held, None));
        let exceeded = decide(&threshold(), measured(2, 5 * SECOND + 1));
        assert_eq!(exceeded.verdict, Verdict::Exceeded);
        assert_eq!(exceeded.over_by_ns, Some(1));
        assert_eq!(
            exceeded.message,
            "pod.created_to_ready p99 is 5.00 s, 1 ns over the limit of 5.00 s (n = 2)"
        );
    }

    #[test]
    fn nothing_is_decided_by_too_little() {
        let few = decide(&threshold(), measured(1, 9 * SECOND));
        assert_eq!(few.verdict, Verdict::Undecided);
        let none = decide(
            &threshold(),
            Measurement {
                excluded: vec![Excluded {
                    reason: "deleted".into(),
                    n: 3,
                }],
                ..Measurement::default()
            },
        );
        assert_eq!(none.verdict, Verdict::Undecided);
        assert!(
            none.message.ends_with("no samples (excluded: 3 deleted)"),
            "{}",
            none.message
        );
        let lost = decide(
            &threshold(),
            Measurement {
                incomplete: Some("calls were not recorded".into()),
                ..measured(2, SECOND)
            },
        );
        assert_eq!(lost.verdict, Verdict::Undecided);
    }

    #[test]
    fn objects_that_never_arrive_can_be_limited() {
        let waiting = |n| Measurement {
            excluded: vec![Excluded {
                reason: "not_reached".into(),
                n,
            }],
            ..measured(2, SECOND)
        };
        let limited = Threshold {
            max_not_reached: Some(1),
            ..threshold()
        };
        assert_eq!(decide(&threshold(), waiting(9)).verdict, Verdict::Held);
        assert_eq!(decide(&limited, waiting(1)).verdict, Verdict::Held);
        let exceeded = decide(&limited, waiting(2));
        assert_eq!(exceeded.verdict, Verdict::Exceeded);
        assert!(
            exceeded.message.contains("2 objects have not reached it"),
            "{}",
            exceeded.message
        );
    }

    #[test]
    fn undecided_weighs_more_than_exceeded_and_that_more_than_held() {
        let decided = |verdict| Decision {
            verdict,
            ..decide(&threshold(), measured(2, SECOND))
        };
        let (held, exceeded) = (decided(Verdict::Held), decided(Verdict::Exceeded));
        let undecided = decided(Verdict::Undecided);
        assert_eq!(overall(&[], &[held.clone(), held.clone()]), Verdict::Held);
        assert_eq!(
            overall(&[], &[exceeded.clone(), held.clone()]),
            Verdict::Exceeded
        );
        assert_eq!(
            overall(&[], &[exceeded.clone(), undecided]),
            Verdict::Undecided
        );
        assert_eq!(overall(&["gap".into()], &[held]), Verdict::Undecided);
    }

    #[test]
    fn nothing_holds_in_an_incomplete_trace() {
        let mut decisions = [
            decide(&threshold(), measured(2, SECOND)),
            decide(&threshold(), measured(2, 9 * SECOND)),
        ];
        withdraw(&mut decisions);
        let verdicts = decisions.each_ref().map(|decision| decision.verdict);
        assert_eq!(verdicts, [Verdict::Undecided, Verdict::Exceeded]);
    }

    #[test]
    fn lost_calls_are_noticed_where_changes_lack_them() {
        let completeness = |kind: &str, changes_with_call| Completeness {
            complete: true,
            histories: vec![History {
                cluster_id: "ab12".into(),
                epoch: 0,
                first_revision: Some(2),
                last_revision: Some(11),
                revisions: 10,
                missing_revisions: 0,
                changes: 10,
                duplicates: 0,
                changes_with_call,
                lease_expiries: 1,
                first_time: None,
                last_time: None,
            }],
            gaps: vec![GapSummary {
                kind: kind.into(),
                covers_revisions: false,
                rows: 1,
                count: Some(7),
            }],
        };
        assert_eq!(lost_calls(&completeness("restart", 5)), None);
        assert_eq!(lost_calls(&completeness("unparsed_connection", 9)), None);
        assert!(lost_calls(&completeness("storage", 7)).is_some());
        assert_eq!(
            lost_calls(&completeness("observer_overflow", 7)).unwrap(),
            "calls were not recorded: those of 2 changes (gaps of kind observer_overflow)"
        );
    }
}
