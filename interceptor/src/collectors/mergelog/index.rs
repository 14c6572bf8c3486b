//! What is kept in memory of the rows that are answered from.

use std::time::Instant;

use cascade_cpid::graph::{Added, MergeGraph, Violation};
use cascade_proto::tables::{CauseType, Mergelog, Span};

use super::metrics::{RuleLabel, TraceServerMetrics};
use crate::complaints::Complaints;

/// An index of the rows of one table.
pub(super) trait Index<T>: Send + 'static {
    /// An index of no rows.
    fn new(metrics: &TraceServerMetrics) -> Self;
    /// Adds a row.
    fn add(&mut self, row: &T);
    /// Bytes in memory.
    fn memory_bytes(&self) -> usize;
}

/// Spans are looked up by their CPID in the files.
pub(super) struct SpanIndex;

impl Index<Span> for SpanIndex {
    fn new(_metrics: &TraceServerMetrics) -> Self {
        Self
    }
    fn add(&mut self, _span: &Span) {}
    fn memory_bytes(&self) -> usize {
        0
    }
}

/// A rule that mergelogs can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A CPID was made more than once, from different sources.
    MadeTwice,
    /// A CPID was made from one other.
    OneSource,
    /// A CPID was made from itself.
    OwnSource,
    /// The type of the cause is not said.
    Unspecified,
    /// CPIDs came of each other.
    Cycle,
}

impl Rule {
    const ALL: [Self; 5] = [
        Self::MadeTwice,
        Self::OneSource,
        Self::OwnSource,
        Self::Unspecified,
        Self::Cycle,
    ];

    fn label(self) -> RuleLabel {
        let rule = match self {
            Self::MadeTwice => "made_twice",
            Self::OneSource => "one_source",
            Self::OwnSource => "own_source",
            Self::Unspecified => "unspecified",
            Self::Cycle => "cycle",
        };
        RuleLabel { rule }
    }
}

/// The graph of the mergelogs, and which of them break the rules.
pub(super) struct MergelogIndex {
    graph: MergeGraph,
    metrics: TraceServerMetrics,
    /// Whether a cycle may have been closed since the last look: a CPID was made that had come of
    /// nothing before and of which others had come already.
    cycle_possible: bool,
    cycles: usize,
    /// By rule: one that is broken all the time must not fill the log.
    complaints: Complaints,
}

impl Index<Mergelog> for MergelogIndex {
    fn new(metrics: &TraceServerMetrics) -> Self {
        for rule in Rule::ALL {
            metrics.violations.get_or_create(&rule.label()).set(0);
        }
        Self {
            graph: MergeGraph::new(),
            metrics: metrics.clone(),
            cycle_possible: false,
            cycles: 0,
            complaints: Complaints::default(),
        }
    }

    fn add(&mut self, mergelog: &Mergelog) {
        let cpid = &mergelog.new_cpid;
        let sources = &mergelog.source_cpids;
        let occurred = self.graph.occurs(cpid);
        let added = match self.graph.add(cpid, sources) {
            Ok(added) => added,
            Err(error) => {
                // Not reached: empty CPIDs are refused, and memory has a limit far below.
                tracing::error!(cpid, %error, "a mergelog is not answered from");
                return;
            }
        };
        if added == Added::Different {
            self.note(Rule::MadeTwice, cpid);
        }
        if added != Added::Known {
            // In order of arrival nothing has come yet of what is made now.
            self.cycle_possible |= occurred && !sources.is_empty();
            if sources.contains(cpid) {
                self.note(Rule::OwnSource, cpid);
            } else if sources
                .first()
                .is_some_and(|first| sources.iter().all(|source| source == first))
            {
                self.note(Rule::OneSource, cpid);
            }
        }
        if mergelog.cause_type == CauseType::Unspecified {
            self.note(Rule::Unspecified, cpid);
        }
    }

    fn memory_bytes(&self) -> usize {
        self.graph.memory_bytes()
    }
}

impl MergelogIndex {
    /// The CPID and all that came of it, breadth first; empty if no mergelog made the CPID.
    pub(super) fn descendants(&self, cpid: &str) -> Vec<String> {
        let descendants = self.graph.descendants(cpid);
        descendants.into_iter().map(str::to_owned).collect()
    }

    /// Looks for cycles if there can be new ones. Takes time in proportion to the graph then.
    pub(super) fn look_for_cycles(&mut self) {
        if !std::mem::take(&mut self.cycle_possible) {
            return;
        }
        let found: Vec<Vec<String>> = self
            .graph
            .violations()
            .into_iter()
            .filter_map(|violation| match violation {
                Violation::Cycle { cpids } => Some(cpids),
                _ => None,
            })
            .collect();
        let gauge = self.metrics.violations.get_or_create(&Rule::Cycle.label());
        gauge.set(i64::try_from(found.len()).unwrap_or(i64::MAX));
        if found.len() > self.cycles {
            let example = found.last().and_then(|cycle| cycle.first());
            tracing::warn!(
                cycles = found.len(),
                cpid = example.map_or("", String::as_str),
                "mergelogs say that CPIDs came of each other; see docs/trace-server.md"
            );
        }
        self.cycles = found.len();
    }

    fn note(&mut self, rule: Rule, cpid: &str) {
        let label = rule.label();
        self.metrics.violations.get_or_create(&label).inc();
        let Some(left_out) = self.complaints.due(label.rule, Instant::now()) else {
            return;
        };
        tracing::warn!(
            rule = label.rule,
            cpid,
            left_out,
            "a mergelog breaks a rule; it is kept, see docs/trace-server.md"
        );
    }
}

#[cfg(test)]
mod tests {
    use cascade_proto::tables::Moment;

    use super::*;

    fn mergelog(cpid: &str, sources: &[&str], cause_type: CauseType) -> Mergelog {
        Mergelog {
            new_cpid: cpid.to_owned(),
            source_cpids: sources.iter().map(|&source| source.to_owned()).collect(),
            sent: None,
            cause_type,
            cause_message: None,
            reported_by: None,
            received: Moment { unix_nano: 0 },
            instance: String::new(),
        }
    }

    fn merge(cpid: &str, sources: &[&str]) -> Mergelog {
        mergelog(cpid, sources, CauseType::Merge)
    }

    fn counts(metrics: &TraceServerMetrics) -> [i64; 5] {
        Rule::ALL.map(|rule| metrics.violations.get_or_create(&rule.label()).get())
    }

    #[test]
    fn mergelogs_that_keep_the_rules_break_none() {
        let metrics = TraceServerMetrics::default();
        let mut index = MergelogIndex::new(&metrics);
        // The merge arrives before the roots it is made of.
        index.add(&merge("3", &["1", "2"]));
        index.add(&mergelog("1", &[], CauseType::NewChange));
        index.add(&mergelog("2", &[], CauseType::NewChange));
        index.add(&merge("3", &["2", "1"]));
        index.look_for_cycles();
        assert_eq!(counts(&metrics), [0; 5]);
        assert_eq!(index.descendants("1"), ["1", "3"]);
    }

    #[test]
    fn each_broken_rule_is_counted() {
        let metrics = TraceServerMetrics::default();
        let mut index = MergelogIndex::new(&metrics);
        index.add(&merge("3", &["1", "2"]));
        index.add(&merge("3", &["1", "4"]));
        assert_eq!(counts(&metrics), [1, 0, 0, 0, 0]);
        index.add(&merge("5", &["1"]));
        index.add(&merge("5", &["1", "1"]));
        assert_eq!(counts(&metrics), [1, 1, 0, 0, 0]);
        index.add(&merge("6", &["6", "1"]));
        assert_eq!(counts(&metrics), [1, 1, 1, 0, 0]);
        index.add(&mergelog("7", &[], CauseType::Unspecified));
        assert_eq!(counts(&metrics), [1, 1, 1, 1, 0]);
        // 1 came of 3, which came of 1.
        index.add(&merge("1", &["3", "8"]));
        index.look_for_cycles();
        assert_eq!(counts(&metrics), [1, 1, 1, 1, 1]);
    }
}
