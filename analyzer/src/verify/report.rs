//! What `verify` found, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::calls::CallFindings;
use super::etcd::EtcdFindings;
use super::findings::Findings;
use super::history::HistoryFindings;
use super::read::{Checked, GapRow, HistoryId};
use crate::catalog::Trace;
use crate::error::Error;
use crate::exit::Exit;
use crate::report::model::ActorSources;

/// The answer in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Everything is there, once, in order.
    Complete,
    /// What is missing is what `gaps` rows say is missing.
    KnownLoss,
    /// Something is missing, twice, or contradictory that no `gaps` row admits.
    Loss,
}

impl Verdict {
    pub(super) fn exit(self) -> Exit {
        match self {
            Self::Complete => Exit::Ok,
            Self::KnownLoss | Self::Loss => Exit::Failed,
        }
    }
}

/// All findings.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) verdict: Verdict,
    pub(super) histories: Vec<HistoryReport>,
    pub(super) etcd: Option<EtcdFindings>,
    /// Journals that were read: the trace is being written, or its interceptor crashed.
    pub(super) open_journals: usize,
}

/// The findings on one history.
#[derive(Debug, Serialize)]
pub(super) struct HistoryReport {
    #[serde(flatten)]
    pub(super) id: HistoryId,
    pub(super) history: HistoryFindings,
    pub(super) calls: CallFindings,
    /// Share of changes with a call, lease expiries left out.
    pub(super) join_rate: Option<f64>,
    pub(super) gaps: Vec<GapRow>,
    /// From what the actors of changes are known; `None` when memory was not enough to tell.
    pub(super) actors: Option<ActorSources>,
}

impl HistoryReport {
    pub(super) fn new(id: HistoryId, checked: Checked) -> Self {
        Self {
            id,
            join_rate: checked.calls.found.join_rate(),
            history: checked.history.found,
            calls: checked.calls.found,
            gaps: checked.gaps,
            actors: None,
        }
    }

    /// The last revision whose state is known, from changes or a snapshot.
    pub(super) fn last_known_revision(&self) -> i64 {
        self.history
            .last_revision
            .unwrap_or_else(|| self.history.first_expected.saturating_sub(1))
    }

    fn verdict(&self) -> Verdict {
        if self.history.has_loss() || !self.calls.without_change.is_empty() {
            Verdict::Loss
        } else if self
            .gaps
            .iter()
            .any(|gap| gap.covers_revisions && !gap.is_filled)
        {
            Verdict::KnownLoss
        } else {
            Verdict::Complete
        }
    }
}

impl Report {
    pub(super) fn new(trace: &Trace, histories: Vec<HistoryReport>) -> Self {
        Self {
            verdict: Verdict::Complete,
            histories,
            etcd: None,
            open_journals: trace.journals(),
        }
    }

    /// Draws the verdict from the findings.
    pub(super) fn judge(&mut self) {
        let histories = self.histories.iter().map(HistoryReport::verdict).max();
        let etcd = self
            .etcd
            .iter()
            .filter(|etcd| !etcd.mismatches.is_empty())
            .map(|_| Verdict::Loss);
        // A trace without any history proves nothing about completeness, and lacks everything.
        self.verdict = etcd.chain(histories).max().unwrap_or(Verdict::Loss);
    }

    /// One JSON document.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be made.
    pub(super) fn json(&self) -> Result<String, Error> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|error| Error::Internal(error.to_string()))
    }

    /// For people, the verdict first.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", self.headline());
        for history in &self.histories {
            history.write(&mut text);
        }
        if let Some(etcd) = &self.etcd {
            let _ = writeln!(text, "\netcd {} (cluster {})", etcd.url, etcd.cluster_id);
            line(
                &mut text,
                "keys",
                &format!("{} at revision {}", etcd.keys, etcd.compared_revision),
            );
            let ahead = match etcd.behind {
                0 => "none: the trace goes up to etcd's current revision".to_owned(),
                behind => format!("{behind}: etcd is at {}", etcd.revision),
            };
            line(&mut text, "not recorded yet", &ahead);
            findings(&mut text, "keys that differ", &etcd.mismatches);
        }
        if self.open_journals > 0 {
            let _ = writeln!(
                text,
                "\n{} open journals: the trace is being written, or its interceptor crashed",
                self.open_journals
            );
        }
        text
    }

    fn headline(&self) -> String {
        let changes: u64 = self
            .histories
            .iter()
            .map(|history| history.history.changes)
            .sum();
        match self.verdict {
            Verdict::Complete => {
                format!("COMPLETE: every revision is there, once, in order ({changes} changes)")
            }
            Verdict::KnownLoss => {
                let missing: u64 = self
                    .histories
                    .iter()
                    .map(|history| history.history.known_missing.count())
                    .sum();
                format!(
                    "INCOMPLETE: {missing} revisions are missing, all of them recorded as gaps \
                     ({changes} changes)"
                )
            }
            Verdict::Loss if self.histories.is_empty() => {
                "LOSS: there are no changes and no snapshot in this trace".to_owned()
            }
            Verdict::Loss => format!(
                "LOSS: something is missing or contradictory that no gap explains ({changes} changes)"
            ),
        }
    }
}

impl HistoryReport {
    fn write(&self, text: &mut String) {
        let history = &self.history;
        let _ = writeln!(
            text,
            "\ncluster {} epoch {}",
            self.id.cluster_id, self.id.epoch
        );
        match (history.first_revision, history.last_revision) {
            (Some(first), Some(last)) => line(
                text,
                "revisions",
                &format!(
                    "{} from {first} to {last}, expected from {}",
                    history.revisions, history.first_expected
                ),
            ),
            _ => line(text, "revisions", "none"),
        }
        line(text, "changes", &history.changes.to_string());
        line(
            text,
            "snapshots",
            &format!("{} with {} keys", history.snapshots, history.snapshot_keys),
        );
        if !history.missing.is_empty() {
            let missing = format!("{}: {}", history.missing.count(), history.missing);
            line(text, "! missing, unexplained", &missing);
        }
        if !history.known_missing.is_empty() {
            let missing = format!(
                "{}: {}",
                history.known_missing.count(),
                history.known_missing
            );
            line(text, "missing, known gaps", &missing);
        }
        findings(text, "recorded twice", &history.duplicates);
        findings(text, "instances disagree", &history.conflicts);
        findings(text, "incomplete revisions", &history.incomplete);
        findings(text, "out of order", &history.out_of_order);
        findings(text, "contradicts the past", &history.broken_chain);
        findings(text, "contradicts a snapshot", &history.snapshot_mismatches);
        if history.recorded_again > 0 {
            let again = format!("{} changes", history.recorded_again);
            line(text, "by another instance too", &again);
        }
        if history.previous_unknown > 0 {
            let unknown = format!("{} changes", history.previous_unknown);
            line(text, "previous value unknown", &unknown);
        }
        self.write_calls(text);
        let actors = self.actors.map_or_else(
            || "not counted: that needs a higher --memory-limit".to_owned(),
            |actors| {
                format!(
                    "{} by the API request, {} by the object's field managers, {} unknown",
                    actors.request, actors.manager, actors.unknown
                )
            },
        );
        line(text, "actors", &actors);
        for gap in &self.gaps {
            line(text, "gap", &gap_text(gap));
        }
    }

    fn write_calls(&self, text: &mut String) {
        let calls = &self.calls;
        let Some(rate) = self.join_rate else {
            line(text, "calls", "no calls were observed");
            return;
        };
        let joined = calls.joined + calls.joined_by_revision;
        line(
            text,
            "changes with their call",
            &format!(
                "{:.3} % ({joined} of {}), lease expiries apart ({})",
                rate * 100.0,
                joined + calls.without_call.count,
                calls.lease_expiries
            ),
        );
        if !calls.without_call.is_empty() {
            let count = calls.without_call.count;
            line(
                text,
                "changes without a call",
                &format!("{count}: made elsewhere, or their calls were not recorded"),
            );
            examples(text, &calls.without_call);
        }
        findings(text, "calls without their change", &calls.without_change);
        if calls.after_last_change > 0 {
            let count = format!(
                "{} calls after the last recorded revision",
                calls.after_last_change
            );
            line(text, "not recorded yet", &count);
        }
        if calls.unknown_committed + calls.unknown_not_committed > 0 {
            let settled = format!(
                "{} were committed, {} were not, by the changes",
                calls.unknown_committed, calls.unknown_not_committed
            );
            line(text, "calls without an answer", &settled);
        }
    }
}

fn gap_text(gap: &GapRow) -> String {
    let mut text = gap.kind.clone();
    match (gap.from_revision, gap.to_revision) {
        (Some(from), Some(to)) => {
            let _ = write!(text, ", revisions {from}–{to}");
        }
        (Some(from), None) => {
            let _ = write!(text, ", from revision {from}");
        }
        _ => {}
    }
    if let Some(count) = gap.count {
        let _ = write!(text, ", count {count}");
    }
    if gap.is_filled {
        text.push_str(", filled by another recording");
    } else if !gap.covers_revisions {
        text.push_str(", no changes missing");
    }
    if let Some(detail) = &gap.detail {
        let _ = write!(text, ": {detail}");
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<26} {value}");
}

/// A line for something that must not be, when it is.
fn findings(text: &mut String, name: &str, findings: &Findings) {
    if findings.is_empty() {
        return;
    }
    line(text, &format!("! {name}"), &findings.count.to_string());
    examples(text, findings);
}

fn examples(text: &mut String, findings: &Findings) {
    for example in &findings.examples {
        let _ = writeln!(text, "      {example}");
    }
    let kept = findings.examples.len() as u64;
    if findings.count > kept {
        let _ = writeln!(text, "      … and {} more", findings.count - kept);
    }
}
