//! Lays a gate out: as a document for people, and as a JUnit suite.

use super::verdict::{Decision, Gate, Verdict};
use crate::report::document::{Align, Block, Document, Section, Table};
use crate::report::junit::{Case, CaseResult, Suite};
use crate::report::layout::{completeness_blocks, exclusion_words, sql_blocks};
use crate::report::suite;
use crate::report::terminal::{self, TerminalOptions};
use crate::report::units;

/// The gate as a document.
#[must_use]
pub(super) fn document(gate: &Gate) -> Document {
    let mut decisions = vec![Block::Text(verdict_text(gate))];
    decisions.extend(
        gate.thresholds
            .iter()
            .filter(|decision| decision.verdict != Verdict::Held)
            .map(|decision| Block::Warning(format!("{}.", decision.message))),
    );
    decisions.push(Block::Table(decision_table(&gate.thresholds)));
    let exclusions: Vec<String> = gate
        .thresholds
        .iter()
        .filter(|decision| !decision.excluded.is_empty())
        .map(exclusion_line)
        .collect();
    if !exclusions.is_empty() {
        decisions.push(Block::Text("Excluded:".to_owned()));
        decisions.push(Block::List(exclusions));
    }
    decisions.extend(sql_blocks(&gate.queries, "thresholds"));
    let mut completeness = completeness_blocks(&gate.completeness);
    completeness.extend(sql_blocks(&gate.queries, "completeness"));
    Document {
        title: format!("Cascade gate: {}", gate.traces.join(", ")),
        sections: vec![
            Section {
                title: "Limits".to_owned(),
                blocks: decisions,
            },
            Section {
                title: "How complete the trace is".to_owned(),
                blocks: completeness,
            },
        ],
    }
}

fn verdict_text(gate: &Gate) -> String {
    let number = |verdict| {
        let decided = gate.thresholds.iter();
        decided
            .filter(|decision| decision.verdict == verdict)
            .count()
    };
    let total = gate.thresholds.len();
    match gate.verdict {
        Verdict::Held => format!("Held: {total} of {total}."),
        Verdict::Exceeded => format!("Exceeded: {} of {total}.", number(Verdict::Exceeded)),
        Verdict::Undecided if gate.incomplete.is_empty() => {
            format!("Undecided: {} of {total}.", number(Verdict::Undecided))
        }
        Verdict::Undecided => format!(
            "Undecided: the trace is not complete ({}), so no limit can be said to hold.",
            gate.incomplete.join("; ")
        ),
    }
}

fn decision_table(decisions: &[Decision]) -> Table {
    let mut table = Table::new(&[
        ("Metric", Align::Left),
        ("Namespace", Align::Left),
        ("Value", Align::Left),
        ("Measured", Align::Right),
        ("Limit", Align::Right),
        ("Over by", Align::Right),
        ("n", Align::Right),
        ("excluded", Align::Right),
        ("Verdict", Align::Left),
    ]);
    for decision in decisions {
        let threshold = &decision.threshold;
        table.push(vec![
            threshold.metric.clone(),
            threshold
                .namespace
                .clone()
                .unwrap_or_else(|| "all".to_owned()),
            threshold.percentile.name().to_owned(),
            units::optional_duration(decision.measured_ns),
            units::duration(threshold.limit),
            decision
                .over_by_ns
                .map_or_else(String::new, units::duration),
            units::count(decision.n),
            units::count(decision.excluded.iter().map(|excluded| excluded.n).sum()),
            match decision.verdict {
                Verdict::Held => "held",
                Verdict::Exceeded => "EXCEEDED",
                Verdict::Undecided => "UNDECIDED",
            }
            .to_owned(),
        ]);
    }
    table
}

fn exclusion_line(decision: &Decision) -> String {
    let parts: Vec<String> = decision
        .excluded
        .iter()
        .map(|excluded| {
            format!(
                "{} {}",
                units::count(excluded.n),
                exclusion_words(&excluded.reason)
            )
        })
        .collect();
    format!("{}: {}", case_name(decision), parts.join(", "))
}

/// What is limited, in words that need no context.
fn case_name(decision: &Decision) -> String {
    let threshold = &decision.threshold;
    let place = threshold
        .namespace
        .as_deref()
        .map_or_else(String::new, |namespace| {
            format!(" in namespace {namespace}")
        });
    format!(
        "{} {}{place} is at most {}",
        threshold.metric,
        threshold.percentile.name(),
        units::duration(threshold.limit)
    )
}

/// The gate as a JUnit suite.
#[must_use]
pub(super) fn suite(gate: &Gate) -> Suite {
    let mut cases = vec![suite::completeness_case(
        &gate.completeness,
        CaseResult::Error,
    )];
    cases.extend(gate.thresholds.iter().map(|decision| Case {
        name: case_name(decision),
        nanoseconds: decision.measured_ns.unwrap_or(0),
        result: match decision.verdict {
            Verdict::Held => CaseResult::Passed,
            Verdict::Exceeded => CaseResult::Failed(decision.message.clone()),
            Verdict::Undecided => CaseResult::Error(decision.message.clone()),
        },
    }));
    Suite {
        name: "cascade gate".to_owned(),
        timestamp: suite::timestamp(&gate.completeness),
        properties: vec![
            ("producer".to_owned(), gate.producer.clone()),
            ("traces".to_owned(), gate.traces.join(", ")),
        ],
        cases,
        output: terminal::render(&document(gate), TerminalOptions::default()),
    }
}
