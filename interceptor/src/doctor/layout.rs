//! A report as text for people, and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::report::{Check, Finding, Outcome, Report, Severity};

/// A report as text.
#[must_use]
pub fn to_text(report: &Report) -> String {
    let mut text = String::new();
    for finding in report.findings() {
        let severity = match finding.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "WARNING",
            Severity::Hint => "HINT",
        };
        let Finding {
            place,
            what,
            advice,
            ..
        } = finding;
        let advice = advice.replace('\n', "\n       ");
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{severity}  {}: {place}\n   {what}\n   do: {advice}\n",
            finding.check.name()
        );
    }
    let mut good = Vec::new();
    let mut open = String::new();
    for check in Check::ALL {
        match report.outcome(check) {
            Outcome::Good => good.push(check.name()),
            Outcome::Found => {}
            Outcome::NotChecked(reasons) => {
                let _ = writeln!(open, "  {}: {}", check.name(), reasons.join("; "));
            }
        }
    }
    if !good.is_empty() {
        let _ = writeln!(text, "Nothing found: {}.", good.join(", "));
    }
    if !open.is_empty() {
        let _ = write!(text, "Not checked, or not all of it:\n{open}");
    }
    let _ = writeln!(
        text,
        "{}, {}, {}.",
        counted(report.count(Severity::Error), "error"),
        counted(report.count(Severity::Warning), "warning"),
        counted(report.count(Severity::Hint), "hint"),
    );
    text
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    findings: Vec<&'a Finding>,
    checks: Vec<CheckEntry>,
}

#[derive(Serialize)]
struct CheckEntry {
    check: Check,
    outcome: &'static str,
    reasons: Vec<String>,
}

/// A report as JSON: `findings` (severity, check, where, what, advice), and `checks` with the outcome
/// of each (`good`, `found`, `not_checked`) and the reasons why something was not looked at.
///
/// # Errors
/// Never in practice: all of it is text.
pub fn to_json(report: &Report) -> Result<String, serde_json::Error> {
    let checks = Check::ALL.into_iter().map(|check| {
        let (outcome, reasons) = match report.outcome(check) {
            Outcome::Good => ("good", Vec::new()),
            Outcome::Found => ("found", Vec::new()),
            Outcome::NotChecked(reasons) => ("not_checked", reasons),
        };
        CheckEntry {
            check,
            outcome,
            reasons,
        }
    });
    let document = Document {
        findings: report.findings(),
        checks: checks.collect(),
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        let mut add = |severity, check| {
            report.find(Finding {
                severity,
                check,
                place: "etcd http://a:1".to_owned(),
                what: "It is so.".to_owned(),
                advice: "do one\nthen two".to_owned(),
            });
        };
        add(Severity::Hint, Check::Path);
        add(Severity::Error, Check::Clock);
        report.not_checked(Check::Disk, "no --trace-dir");
        report.not_checked(Check::Disk, "no --trace-dir");
        report
    }

    #[test]
    fn text_shows_the_worst_first_and_what_was_left_out() {
        let text = to_text(&report());
        assert!(
            text.starts_with(
                "ERROR  clock: etcd http://a:1\n   It is so.\n   do: do one\n       then two\n\nHINT "
            ),
            "{text}"
        );
        assert!(
            text.ends_with(
                "Not checked, or not all of it:\n  disk: no --trace-dir\n1 error, 0 warnings, 1 hint.\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("Nothing found: certificates, who gets in,"),
            "{text}"
        );
        assert!(!text.contains("Nothing found: clock"), "{text}");
    }

    #[test]
    fn json_has_everything() {
        let json: serde_json::Value = serde_json::from_str(&to_json(&report()).unwrap()).unwrap();
        assert_eq!(json["findings"][0]["severity"], "error");
        assert_eq!(json["findings"][0]["where"], "etcd http://a:1");
        let checks = json["checks"].as_array().unwrap();
        assert_eq!(checks.len(), Check::ALL.len());
        let disk = checks
            .iter()
            .find(|entry| entry["check"] == "disk")
            .unwrap();
        assert_eq!(disk["outcome"], "not_checked");
        assert_eq!(disk["reasons"], serde_json::json!(["no --trace-dir"]));
    }
}
