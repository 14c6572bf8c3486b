//! The report as a JUnit suite: completeness, and one case per stage and percentile.
//!
//! A report sets no limits, so only incompleteness fails; the durations are there for the trend
//! charts that CI systems draw of test times. Limits are the business of `cascade gate`.

use super::junit::{Case, CaseResult, Suite};
use super::layout;
use super::model::{Completeness, Report, StageLatency};
use super::terminal::{self, TerminalOptions};

/// Timestamp of a suite about a trace without times.
const UNKNOWN_TIME: &str = "1970-01-01T00:00:00";

/// The suite of a report.
#[must_use]
pub(crate) fn of_report(report: &Report) -> Suite {
    let mut properties = vec![
        ("producer".to_owned(), report.producer.clone()),
        ("traces".to_owned(), report.traces.join(", ")),
        (
            "percentile_method".to_owned(),
            report.percentile_method.to_owned(),
        ),
    ];
    for note in &report.notes {
        properties.push((format!("note.{}", note.id), note.text.clone()));
    }
    let stages = report.stages.as_deref().unwrap_or_default();
    for stage in stages {
        properties.push((format!("{}.n", stage.stage), stage.latency.n.to_string()));
        properties.push((
            format!("{}.excluded", stage.stage),
            stage.excluded_total().to_string(),
        ));
    }
    let mut cases = vec![completeness_case(&report.completeness, CaseResult::Failed)];
    cases.extend(stages.iter().flat_map(stage_cases));
    Suite {
        name: "cascade report".to_owned(),
        timestamp: timestamp(&report.completeness),
        properties,
        cases,
        output: terminal::render(&layout::document(report), TerminalOptions::default()),
    }
}

/// The case that tells whether the trace is complete; `otherwise` makes the result of one that is
/// not.
#[must_use]
pub(crate) fn completeness_case(
    completeness: &Completeness,
    otherwise: fn(String) -> CaseResult,
) -> Case {
    let reasons = completeness.reasons();
    Case {
        name: "trace is complete: no revision is missing".to_owned(),
        nanoseconds: 0,
        result: if reasons.is_empty() {
            CaseResult::Passed
        } else {
            otherwise(reasons.join("; "))
        },
    }
}

/// When the trace began, as JUnit wants it: to the second, without a zone.
#[must_use]
pub(crate) fn timestamp(completeness: &Completeness) -> String {
    completeness
        .histories
        .iter()
        .filter_map(|history| history.first_time.as_deref())
        .min()
        .and_then(|time| time.get(..UNKNOWN_TIME.len()))
        .unwrap_or(UNKNOWN_TIME)
        .to_owned()
}

fn stage_cases(stage: &StageLatency) -> Vec<Case> {
    if stage.latency.n == 0 {
        let reason = if stage.excluded.is_empty() {
            "no such objects in the trace".to_owned()
        } else {
            layout::exclusion_text(stage)
        };
        return vec![Case {
            name: stage.stage.to_owned(),
            nanoseconds: 0,
            result: CaseResult::Skipped(reason),
        }];
    }
    let statistics = stage.latency.statistics();
    statistics
        .iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
        .map(|(name, nanoseconds)| Case {
            name: format!("{} {name}", stage.stage),
            nanoseconds,
            result: CaseResult::Passed,
        })
        .collect()
}
