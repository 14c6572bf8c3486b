//! `cascade gate` as a program: what it judges, and how it ends.

use std::fs;

use crate::reports::{assert_golden, cluster, stderr, stdout};
use crate::support::history::{History, pod, scheduled};
use crate::support::{TraceFolder, gap};

/// Writes a thresholds file beside the trace.
fn thresholds(folder: &TraceFolder, text: &str) -> String {
    let path = folder.path().with_extension("toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn threshold(metric: &str, percentile: &str, limit: &str, more: &str) -> String {
    format!(
        "[[threshold]]\nmetric = \"{metric}\"\npercentile = \"{percentile}\"\nlimit = \
         \"{limit}\"\n{more}\n"
    )
}

#[test]
fn a_gate_holds_under_generous_limits() {
    let folder = cluster();
    let limits = thresholds(
        &folder,
        &[
            threshold(
                "pod.created_to_ready",
                "p99",
                "1210ms",
                "min_samples = 10\nnamespace = \"shop\"",
            ),
            threshold("service.created_to_endpoint", "max", "1s", ""),
            threshold("etcd.write", "p90", "4ms", ""),
        ]
        .concat(),
    );
    let trace = folder.argument();
    let arguments = ["gate", &trace, "--thresholds", &limits];
    assert_golden("gate-held.txt", &stdout(&arguments, 0), &folder);
    for (format, file) in [
        ("json", "gate-held.json"),
        ("junit", "gate-held.xml"),
        ("markdown", "gate-held.md"),
    ] {
        let text = stdout(&[&arguments[..], &["--format", format]].concat(), 0);
        assert_golden(file, &text, &folder);
    }
    fs::remove_file(limits).unwrap();
}

#[test]
fn a_gate_tells_which_limit_is_exceeded_and_by_how_much() {
    let folder = cluster();
    let limits = thresholds(
        &folder,
        &[
            threshold("pod.created_to_ready", "p99", "1s", ""),
            threshold("pod.created_to_ready", "p50", "1s", ""),
            threshold("pod.created_to_ready", "p50", "2s", "max_not_reached = 0"),
        ]
        .concat(),
    );
    let junit = folder.path().with_extension("xml");
    let junit_path = junit.to_str().unwrap();
    let trace = folder.argument();
    let text = stdout(
        &[
            "gate",
            &trace,
            "--thresholds",
            &limits,
            "--junit",
            junit_path,
        ],
        1,
    );
    assert_golden("gate-exceeded.txt", &text, &folder);
    assert!(
        text.contains("pod.created_to_ready p99 is 1.21 s, 210 ms over the limit of 1.00 s"),
        "{text}"
    );
    let xml = fs::read_to_string(&junit).unwrap();
    assert_golden("gate-exceeded.xml", &xml, &folder);
    assert!(xml.contains("failures=\"2\" errors=\"0\""), "{xml}");
    fs::remove_file(junit).unwrap();
    fs::remove_file(limits).unwrap();
}

#[test]
fn a_gate_does_not_judge_an_incomplete_trace() {
    let trace_with_gap = {
        let mut folder = cluster();
        folder.write(&[gap(3, 5)]);
        folder
    };
    let limits = thresholds(
        &trace_with_gap,
        &threshold("pod.created_to_ready", "p99", "1h", ""),
    );
    let arguments = ["gate", &trace_with_gap.argument(), "--thresholds", &limits];
    let text = stdout(&arguments, 3);
    assert_golden("gate-gap.txt", &text, &trace_with_gap);
    let xml = stdout(&[&arguments[..], &["--format", "junit"]].concat(), 3);
    assert_golden("gate-gap.xml", &xml, &trace_with_gap);

    // A revision that is missing without a gap that tells why.
    let mut history = History::after(1);
    let web = pod("web");
    let created = history.create(1_000, web.clone());
    history.skip(1);
    history.update(1_010, &created, scheduled(&web));
    let mut missing = TraceFolder::new();
    missing.write(&history.changes);
    let text = stdout(&["gate", &missing.argument(), "--thresholds", &limits], 3);
    assert!(
        text.contains("1 revision missing in cluster ab12 (epoch 0)"),
        "{text}"
    );
    fs::remove_file(limits).unwrap();
}

#[test]
fn a_gate_does_not_judge_by_too_few_samples_or_lost_calls() {
    let mut folder = cluster();
    let trace = folder.argument();
    let limits = thresholds(
        &folder,
        &threshold("pod.created_to_ready", "p50", "1h", "min_samples = 11"),
    );
    let text = stdout(&["gate", &trace, "--thresholds", &limits], 3);
    assert!(text.contains("10 samples of at least 11"), "{text}");
    let limits = thresholds(
        &folder,
        &threshold(
            "pod.created_to_ready",
            "p50",
            "1h",
            "namespace = \"nowhere\"",
        ),
    );
    let text = stdout(&["gate", &trace, "--thresholds", &limits], 3);
    assert!(text.contains("there are no samples"), "{text}");

    let mut overflow = gap(20, 30);
    overflow.kind = cascade_proto::tables::GapKind::ObserverOverflow;
    overflow.covers_revisions = false;
    folder.write(&[overflow]);
    let limits = thresholds(&folder, &threshold("etcd.write", "p50", "1h", ""));
    let text = stdout(&["gate", &trace, "--thresholds", &limits], 3);
    assert!(text.contains("calls were not recorded"), "{text}");
    // Stages do not hang on calls.
    let limits = thresholds(&folder, &threshold("pod.created_to_ready", "p50", "1h", ""));
    stdout(&["gate", &trace, "--thresholds", &limits], 0);
    fs::remove_file(limits).unwrap();
}

#[test]
fn wrong_limits_end_with_2_and_say_what_is_valid() {
    let folder = cluster();
    let trace = folder.argument();
    let limits = thresholds(&folder, &threshold("pod.ready", "p50", "1s", ""));
    let message = stderr(&["gate", &trace, "--thresholds", &limits], 2);
    for part in [
        "is not a thresholds file",
        "unknown metric `pod.ready`",
        "pod.created_to_ready",
        "etcd.write",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let message = stderr(&["gate", &trace, "--thresholds", "/nowhere.toml"], 2);
    assert!(
        message.contains("cannot read the thresholds /nowhere.toml"),
        "{message}"
    );
    stderr(&["gate", &trace], 2);
    fs::remove_file(limits).unwrap();
}
