//! `cascade report` as a program: what it prints, and how it ends.

use std::fs;
use std::path::Path;

use cascade_proto::tables::{Call, CallOutcome, CallShape};

use crate::program::cascade;
use crate::support::history::{
    History, Rollout, deployment, existing, in_phase, kwok_node, pod, running, scheduled, service,
    slice,
};
use crate::support::{TraceFolder, call, change, delete};

const MILLISECOND: i64 = 1_000_000;

/// A small cluster's life. The durations are chosen so that percentiles can be read off:
/// Pod i of 1 … 10 is scheduled after i ms, runs 100·i ms later, and is ready 20·i ms after that.
pub(crate) fn cluster() -> TraceFolder {
    let mut history = History::after(10);
    let mut states = Vec::new();
    let (node, _) = existing(10, 1, kwok_node("node-1"));
    states.push(node);
    let (old, _) = existing(10, 4, running(&pod("old"), true));
    states.push(old);

    for i in 1..=10 {
        let name = format!("web-{i}");
        let begun = 1_000 * i;
        let mut object = pod(&name);
        object.writers = Some(vec![writer("kube-controller-manager")]);
        let created = history.create(begun, object.clone());
        let bound = history.update(begun + i, &created, scheduled(&object));
        object.writers = Some(vec![writer("kwok")]);
        let started = history.update(begun + 101 * i, &bound, running(&object, false));
        history.update(begun + 121 * i, &started, running(&object, true));
    }
    // One that waits, one that is deleted while it waits, and one that finishes.
    history.create(20_000, pod("waiting"));
    let gone = history.create(20_000, pod("gone"));
    history.delete(20_100, &gone);
    let job = pod("job");
    let created = history.create(21_000, job.clone());
    let bound = history.update(21_011, &created, scheduled(&job));
    history.update(22_111, &bound, in_phase(&job, "Succeeded"));

    let of = |generation, observed, ready| {
        deployment(
            "web",
            Rollout {
                generation,
                observed,
                wanted: 3,
                replicas: 3,
                updated: 3,
                ready,
                available: ready,
            },
        )
    };
    let created = history.create(30_000, of(1, 0, 0));
    let ready = history.update(31_500, &created, of(1, 1, 3));
    let second = history.update(40_000, &ready, of(2, 1, 3));
    let third = history.update(41_000, &second, of(3, 1, 3));
    history.update(42_250, &third, of(3, 3, 3));

    history.create(50_000, service("web"));
    let empty = history.create(50_010, slice("web-abc", "web", 0));
    history.update(50_700, &empty, slice("web-abc", "web", 2));

    // Calls of the first four Pods' creations: 1, 2, 3, 4 ms; a conflict, and one without an answer.
    let mut calls: Vec<Call> = Vec::new();
    for (index, change) in history.changes.iter().step_by(4).take(4).enumerate() {
        let seen = change.seen.unwrap();
        let mut made = call(change);
        made.response = Some(seen);
        let duration = (i64::try_from(index).unwrap() + 1) * MILLISECOND;
        made.request.unix_nano = seen.unix_nano - duration;
        made.duration_ns = Some(duration);
        calls.push(made);
    }
    let mut conflict = call(&history.changes[1]);
    conflict.call_id = "conflict".to_owned();
    conflict.outcome = CallOutcome::Conflict;
    conflict.revision = None;
    conflict.duration_ns = Some(850_000);
    let mut unknown = conflict.clone();
    unknown.call_id = "unknown".to_owned();
    unknown.outcome = CallOutcome::Unknown;
    unknown.shape = CallShape::Delete;
    unknown.response = None;
    unknown.duration_ns = None;
    calls.extend([conflict, unknown]);

    let mut folder = TraceFolder::new();
    folder.write(&history.changes);
    folder.write(&states);
    folder.write(&calls);
    folder
}

fn writer(manager: &str) -> cascade_proto::tables::Writer {
    cascade_proto::tables::Writer {
        manager: manager.to_owned(),
        operation: "Update".to_owned(),
        subresource: None,
        time: Some(cascade_proto::tables::Timestamp(1_767_322_800_000_000)),
    }
}

/// Standard output of a run that must end with a code.
pub(crate) fn stdout(arguments: &[&str], code: i32) -> String {
    let answer = cascade(arguments);
    assert_eq!(answer.code, code, "{arguments:?}: {}", answer.stderr);
    answer.stdout
}

/// Standard error of a run that must end with a code.
pub(crate) fn stderr(arguments: &[&str], code: i32) -> String {
    let answer = cascade(arguments);
    assert_eq!(answer.code, code, "{arguments:?}: {}", answer.stdout);
    answer.stderr
}

/// Compares with a file of `golden/`; with CASCADE_UPDATE_GOLDEN set, writes it.
pub(crate) fn assert_golden(name: &str, text: &str, folder: &TraceFolder) {
    let text = text
        .replace(&folder.argument(), "TRACE")
        .replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("CASCADE_UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return;
    }
    let golden = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; set CASCADE_UPDATE_GOLDEN=1", path.display()));
    assert_eq!(
        text, golden,
        "{name} differs; if meant so: CASCADE_UPDATE_GOLDEN=1"
    );
}

#[test]
fn reports_are_as_recorded_in_golden_files() {
    let folder = cluster();
    let trace = folder.argument();
    assert_golden("report.txt", &stdout(&["report", &trace], 0), &folder);
    for (format, file) in [
        ("markdown", "report.md"),
        ("json", "report.json"),
        ("junit", "report.xml"),
    ] {
        let text = stdout(&["report", &trace, "--format", format], 0);
        assert_golden(file, &text, &folder);
    }
}

#[test]
fn the_numbers_are_those_worked_out_by_hand() {
    let folder = cluster();
    let report = stdout(&["report", &folder.argument(), "--format", "json"], 0);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();

    // Ranks of 10 samples: p50 is the 5th, p90 the 9th, p95 and p99 the 10th.
    let ms = MILLISECOND;
    let expected: [(&str, [i64; 6]); 8] = [
        // The finished one was scheduled too, after 11 ms: ranks 6, 10, 11 and 11 of 11.
        (
            "pod.created_to_scheduled",
            [11, 6 * ms, 10 * ms, 11 * ms, 11 * ms, 11 * ms],
        ),
        (
            "pod.scheduled_to_running",
            [10, 500 * ms, 900 * ms, 1_000 * ms, 1_000 * ms, 1_000 * ms],
        ),
        (
            "pod.running_to_ready",
            [10, 100 * ms, 180 * ms, 200 * ms, 200 * ms, 200 * ms],
        ),
        (
            "pod.created_to_running",
            [10, 505 * ms, 909 * ms, 1_010 * ms, 1_010 * ms, 1_010 * ms],
        ),
        (
            "pod.created_to_ready",
            [10, 605 * ms, 1_089 * ms, 1_210 * ms, 1_210 * ms, 1_210 * ms],
        ),
        (
            "deployment.created_to_ready",
            [
                1,
                1_500 * ms,
                1_500 * ms,
                1_500 * ms,
                1_500 * ms,
                1_500 * ms,
            ],
        ),
        (
            "deployment.changed_to_ready",
            [
                1,
                1_250 * ms,
                1_250 * ms,
                1_250 * ms,
                1_250 * ms,
                1_250 * ms,
            ],
        ),
        (
            "service.created_to_endpoint",
            [1, 700 * ms, 700 * ms, 700 * ms, 700 * ms, 700 * ms],
        ),
    ];
    for (stage, values) in report["stages"].as_array().unwrap().iter().zip(expected) {
        let (name, numbers) = values;
        assert_eq!(stage["stage"], name);
        let found = ["n", "p50_ns", "p90_ns", "p95_ns", "p99_ns", "max_ns"]
            .map(|field| stage[field].as_i64().unwrap());
        assert_eq!(found, numbers, "{name}");
    }
    let excluded = |stage: usize| report["stages"][stage]["excluded"].to_string();
    assert_eq!(
        excluded(4),
        r#"[{"reason":"before_trace","n":1},{"reason":"finished","n":1},{"reason":"deleted","n":1},{"reason":"not_reached","n":1}]"#
    );
    assert_eq!(excluded(6), r#"[{"reason":"superseded","n":1}]"#);

    let committed = &report["write_latency"][0];
    assert_eq!(committed["outcome"], "committed");
    let found = ["calls", "n", "p50_ns", "p90_ns", "max_ns"].map(|field| committed[field].as_i64());
    assert_eq!(found, [4, 4, 2 * ms, 4 * ms, 4 * ms].map(Some));
    let unanswered = &report["write_latency"][1];
    assert_eq!(unanswered["outcome"], "unknown");
    assert_eq!(
        (&unanswered["calls"], &unanswered["n"]),
        (&1.into(), &0.into())
    );
    assert!(unanswered["p50_ns"].is_null());

    let history = &report["completeness"]["histories"][0];
    assert_eq!(report["completeness"]["complete"], true);
    assert_eq!(history["first_revision"], 11);
    assert_eq!(history["missing_revisions"], 0);
    assert_eq!(history["changes_with_call"], 4);
}

#[test]
fn a_kwok_cluster_is_called_one() {
    let folder = cluster();
    let report = stdout(&["report", &folder.argument()], 0);
    let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("simulated by kwok"), "{report}");
    assert!(
        flat.contains("delays that kwok is configured with"),
        "{report}"
    );

    let mut history = History::after(1);
    history.create(1_000, pod("web"));
    let mut real = TraceFolder::new();
    real.write(&history.changes);
    assert!(!stdout(&["report", &real.argument()], 0).contains("kwok"));
}

#[test]
fn empty_sections_say_so() {
    let mut history = History::after(1);
    history.create(1_000, kwok_node("node-1"));
    let mut folder = TraceFolder::new();
    folder.write(&history.changes);
    assert_golden(
        "empty.txt",
        &stdout(&["report", &folder.argument()], 0),
        &folder,
    );

    let nowhere = stdout(&["report", &folder.argument(), "--namespace", "nowhere"], 0);
    assert!(
        nowhere.contains("No changes in namespace nowhere."),
        "{nowhere}"
    );
}

#[test]
fn without_calls_no_deletion_is_called_an_expiry() {
    let mut leased = change(2, "lease");
    leased.lease_id = Some(9);
    let deleted = delete(3, &leased);
    let expiries = |folder: &TraceFolder| {
        let arguments = ["report", &folder.argument(), "--format", "json"];
        let report: serde_json::Value = serde_json::from_str(&stdout(&arguments, 0)).unwrap();
        report["completeness"]["histories"][0]["lease_expiries"].clone()
    };
    let mut folder = TraceFolder::new();
    folder.write(&[leased.clone(), deleted]);
    assert_eq!(expiries(&folder), 0);
    folder.write(&[call(&leased)]);
    assert_eq!(expiries(&folder), 1);
}

#[test]
fn the_sql_that_is_explained_gives_the_numbers() {
    let folder = cluster();
    let trace = folder.argument();
    let arguments = [
        "report",
        &trace,
        "--format",
        "json",
        "--explain",
        "--namespace",
        "shop",
    ];
    let report: serde_json::Value = serde_json::from_str(&stdout(&arguments, 0)).unwrap();
    let queries = report["queries"].as_array().unwrap();
    assert_eq!(queries.len(), 7);
    for query in queries {
        let sql = query["sql"].as_str().unwrap();
        let answer = stdout(&["sql", &trace, "--format", "ndjson", "-c", sql], 0);
        let rows: Vec<serde_json::Value> = answer
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        match query["title"].as_str().unwrap() {
            "durations of stages, and objects without one" => {
                for stage in report["stages"].as_array().unwrap() {
                    let row = rows
                        .iter()
                        .find(|row| row["stage"] == stage["stage"] && row["excluded"].is_null())
                        .unwrap();
                    for field in ["n", "p50_ns", "p90_ns", "p95_ns", "p99_ns", "max_ns"] {
                        assert_eq!(row[field], stage[field], "{field} of {}", stage["stage"]);
                    }
                }
            }
            "etcd's answers to mutating calls" => {
                let calls = report["write_latency"].as_array().unwrap();
                assert_eq!(rows.len(), calls.len());
                for (row, call) in rows.iter().zip(calls) {
                    for field in ["method", "outcome", "calls", "n", "p99_ns"] {
                        assert_eq!(
                            row.get(field).unwrap_or(&serde_json::Value::Null),
                            &call[field]
                        );
                    }
                }
            }
            "changes by kind and actor" => {
                let changes = report["changes"]["by_kind_and_actor"].as_array().unwrap();
                assert_eq!(rows.len(), changes.len());
                assert_eq!(rows[0]["total"], changes[0]["total"]);
            }
            "revisions of each history" => {
                let history = &report["completeness"]["histories"][0];
                assert_eq!(rows[0]["revisions"], history["revisions"]);
            }
            "nodes simulated by kwok" => assert_eq!(rows[0]["kwok_nodes"], 1),
            _ => {}
        }
    }
    let text = stdout(&["report", &trace, "--explain"], 0);
    assert!(text.contains("FROM stage_durations"), "{text}");
}

#[test]
fn a_report_can_be_narrowed_to_a_span_and_a_namespace() {
    let folder = cluster();
    let trace = folder.argument();
    let arguments = [
        "report",
        &trace,
        "--format",
        "json",
        "--since",
        "2026-01-02T03:00:05Z",
        "--until",
        "2026-01-02T03:00:08Z",
    ];
    let report: serde_json::Value = serde_json::from_str(&stdout(&arguments, 0)).unwrap();
    // Pods 5, 6 and 7.
    assert_eq!(report["stages"][0]["n"], 3);
    assert_eq!(report["stages"][0]["max_ns"], 7 * MILLISECOND);
    assert_eq!(report["changes"]["total"], 12);
    let since_revision = ["report", &trace, "--format", "json", "--since", "51"];
    let report: serde_json::Value = serde_json::from_str(&stdout(&since_revision, 0)).unwrap();
    assert_eq!(report["stages"][0]["n"], 1);

    // There were calls, only not since then.
    let text = stdout(&["report", &trace, "--since", "2027-01-01"], 0);
    assert!(
        text.contains("No calls that write were recorded since 2027-01-01."),
        "{text}"
    );

    let message = stderr(&["report", &trace, "--since", "yesterday"], 2);
    assert!(
        message.contains("`yesterday` is neither a revision nor a time"),
        "{message}"
    );
}

#[test]
fn output_goes_to_a_file_or_into_a_folder() {
    let folder = cluster();
    let target = tempfile::tempdir().unwrap();
    let directory = target.path().to_str().unwrap();
    let trace = folder.argument();
    let printed = stdout(&["report", &trace, "--format", "markdown"], 0);
    assert_eq!(
        stdout(
            &["report", &trace, "--format", "markdown", "-o", directory],
            0
        ),
        ""
    );
    assert_eq!(
        fs::read_to_string(target.path().join("report.md")).unwrap(),
        printed
    );
    let file = target.path().join("mine.xml");
    stdout(
        &[
            "report",
            &trace,
            "--format",
            "junit",
            "-o",
            file.to_str().unwrap(),
        ],
        0,
    );
    assert!(fs::read_to_string(file).unwrap().starts_with("<?xml"));
}

#[test]
fn wrong_input_ends_with_2() {
    let trace = cluster();
    stderr(&["report", "/nowhere"], 2);
    stderr(&["report", &trace.argument(), "--format", "yaml"], 2);
}
