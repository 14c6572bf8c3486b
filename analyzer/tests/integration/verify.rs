//! `cascade verify`, as a program.

use std::fs;

use cascade_proto::tables::{Call, CallOutcome, CallShape, Change, Gap, GapKind};
use serde_json::Value;

use crate::program::cascade;
use crate::support::{TraceFolder, call, change, delete, gap, state, update};

/// Verifies a trace: exit code, findings, and the first line of the text.
fn verify(trace: &TraceFolder) -> (i32, Value, String) {
    let folder = trace.argument();
    let json = cascade(&["verify", &folder, "--format", "json"]);
    let text = cascade(&["verify", &folder]);
    assert_eq!(json.code, text.code);
    let headline = text.stdout.lines().next().unwrap_or_default().to_owned();
    let findings = serde_json::from_str(&json.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", json.stdout, json.stderr));
    (json.code, findings, headline)
}

/// A short life of two keys from an empty etcd.
fn life() -> Vec<Change> {
    let a = change(2, "a");
    let b = change(3, "b");
    let a_updated = update(4, &a);
    let b_deleted = delete(5, &b);
    vec![a, b, a_updated, b_deleted]
}

#[test]
fn a_whole_trace_is_complete() {
    let mut trace = TraceFolder::new();
    let rows = life();
    // In several files and a journal, out of order among themselves.
    trace.write(&rows[2..3]);
    trace.write(&rows[..2]);
    trace.journal(&[&rows[3..]]);
    trace.write(&rows.iter().map(call).collect::<Vec<_>>());
    let (code, found, headline) = verify(&trace);
    assert_eq!(code, 0, "{found:#}");
    assert!(headline.starts_with("COMPLETE"), "{headline}");
    assert_eq!(found["verdict"], "complete");
    let history = &found["histories"][0];
    assert_eq!(history["history"]["changes"], 4);
    assert_eq!(history["history"]["first_expected"], 2);
    assert_eq!(history["join_rate"], 1.0);
    assert_eq!(found["open_journals"], 1);
}

/// Calls as an interceptor with `--ledger off` records them: it knows no epoch.
fn calls_without_epoch(changes: &[Change]) -> Vec<Call> {
    let without = |change| Call {
        epoch: None,
        ..call(change)
    };
    changes.iter().map(without).collect()
}

#[test]
fn calls_that_an_interceptor_without_a_ledger_saw_count() {
    let rows = life();
    let mut ledger = TraceFolder::new();
    ledger.write(&rows);
    ledger.write(&rows[..1].iter().map(call).collect::<Vec<_>>());
    let mut calls = TraceFolder::new();
    calls.instance = "other".to_owned();
    calls.write(&calls_without_epoch(&rows[1..3]));
    let mut unanswered = calls_without_epoch(&rows[3..]).remove(0);
    unanswered.outcome = CallOutcome::Unknown;
    unanswered.revision = None;
    calls.write(&[unanswered]);
    let (first, second) = (ledger.argument(), calls.argument());
    let verified = |folders: &[&str]| -> Value {
        let arguments = [&["verify", "--format", "json"], folders].concat();
        let answer = cascade(&arguments);
        assert_eq!(answer.code, 0, "{}{}", answer.stdout, answer.stderr);
        serde_json::from_str(&answer.stdout).unwrap()
    };
    let found = verified(&[&first, &second]);
    let history = &found["histories"][0];
    assert_eq!(history["join_rate"], 1.0, "{history:#}");
    assert_eq!(history["calls"]["unknown_committed"], 1, "{history:#}");

    // Restored meanwhile: nobody knows which of two histories these calls are of.
    let mut restored = change(2, "a");
    restored.epoch = 1;
    ledger.write(&[restored]);
    let found = verified(&[&first, &second]);
    assert_eq!(found["histories"][0]["calls"]["joined"], 1, "{found:#}");
    assert_eq!(found["histories"][1]["calls"]["joined"], 0, "{found:#}");
}

/// The snapshot of an etcd without a key has no rows: a row of `gaps` says where it was.
#[test]
fn changes_after_an_empty_snapshot_are_complete() {
    let mut trace = TraceFolder::new();
    let first = change(7, "a");
    trace.write(&[first.clone(), update(8, &first)]);
    let (code, found, _) = verify(&trace);
    assert_eq!(
        (code, &found["verdict"]),
        (1, &Value::from("loss")),
        "{found:#}"
    );

    trace.write(&[Gap {
        kind: GapKind::Restart,
        covers_revisions: false,
        from_revision: None,
        to_revision: Some(6),
        count: None,
        ..gap(1, 6)
    }]);
    let (code, found, headline) = verify(&trace);
    assert_eq!(code, 0, "{found:#}");
    assert!(headline.starts_with("COMPLETE"), "{headline}");
    assert_eq!(found["histories"][0]["history"]["first_expected"], 7);
    let report = cascade(&["report", &trace.argument()]);
    let every = "Every revision between the first and the last is in the trace.";
    assert!(report.stdout.contains(every), "{}", report.stdout);
}

#[test]
fn a_missing_revision_is_a_loss_unless_a_gap_admits_it() {
    let mut trace = TraceFolder::new();
    let mut rows = life();
    rows.remove(2);
    trace.write(&rows);
    let (code, found, headline) = verify(&trace);
    assert_eq!(
        (code, &found["verdict"]),
        (1, &Value::from("loss")),
        "{found:#}"
    );
    assert!(headline.starts_with("LOSS"), "{headline}");
    assert_eq!(found["histories"][0]["history"]["missing"][0]["from"], 4);

    trace.write(&[gap(4, 4)]);
    let (code, found, headline) = verify(&trace);
    assert_eq!(
        (code, &found["verdict"]),
        (1, &Value::from("known_loss")),
        "{found:#}"
    );
    assert!(
        headline.starts_with("INCOMPLETE: 1 revisions"),
        "{headline}"
    );
}

#[test]
fn a_row_twice_is_a_loss() {
    let mut trace = TraceFolder::new();
    let rows = life();
    trace.write(&rows);
    trace.write(&rows[1..2]);
    // It happened once all the same.
    let query = ["sql", &trace.argument(), "--format", "csv", "-c"];
    for table in ["changes", "raw.changes"] {
        let count = format!("SELECT count(*) AS n FROM {table}");
        let answer = cascade(&[&query[..], &[&count]].concat());
        assert_eq!(answer.stdout, "n\n4\n", "{table}: {}", answer.stderr);
    }
    let (code, found, _) = verify(&trace);
    assert_eq!(code, 1, "{found:#}");
    assert_eq!(found["histories"][0]["history"]["duplicates"]["count"], 1);
}

#[test]
fn another_instance_may_record_the_same() {
    let mut trace = TraceFolder::new();
    let rows = life();
    trace.write(&rows);
    trace.instance = "other".to_owned();
    let others: Vec<Change> = rows
        .into_iter()
        .map(|row| Change {
            instance: "other".to_owned(),
            ..row
        })
        .collect();
    trace.write(&others);
    let (code, found, _) = verify(&trace);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(found["histories"][0]["history"]["recorded_again"], 4);
}

/// What one ledger missed and said so, and the same history by one that missed nothing.
fn with_and_without_a_gap() -> (TraceFolder, TraceFolder) {
    let rows = life();
    let mut holed = TraceFolder::new();
    holed.write(&[rows[0].clone(), rows[3].clone()]);
    holed.write(&[gap(3, 4)]);
    let mut whole = TraceFolder::new();
    whole.instance = "other".to_owned();
    let of_other = |row| Change {
        instance: "other".to_owned(),
        ..row
    };
    let others: Vec<Change> = rows.into_iter().map(of_other).collect();
    whole.write(&others);
    (holed, whole)
}

#[test]
fn a_gap_that_another_recording_fills_is_no_loss() {
    let (holed, mut whole) = with_and_without_a_gap();
    let (first, second) = (holed.argument(), whole.argument());
    let alone = cascade(&["verify", &first]);
    assert_eq!(alone.code, 1, "{}", alone.stdout);

    let together = cascade(&["verify", &first, &second]);
    assert_eq!(together.code, 0, "{}", together.stdout);
    assert!(
        together.stdout.starts_with("COMPLETE"),
        "{}",
        together.stdout
    );
    assert!(
        together.stdout.contains("filled by another recording"),
        "{}",
        together.stdout
    );
    let report = |folders: &[&str]| -> Value {
        let answer = cascade(&[&["report", "--format", "json"], folders].concat());
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        serde_json::from_str(&answer.stdout).unwrap()
    };
    let found = report(&[&first, &second]);
    assert_eq!(found["completeness"]["complete"], true, "{found:#}");
    let gaps = &found["completeness"]["gaps"];
    assert_eq!(gaps[0]["covers_revisions"], false, "{gaps:#}");
    assert_eq!(report(&[&first])["completeness"]["complete"], false);

    // Filled in part is not filled, and neither is what has no known end.
    let mut open = gap(3, 4);
    open.to_revision = None;
    whole.write(&[open]);
    let together = cascade(&["verify", &first, &second]);
    assert_eq!(together.code, 1, "{}", together.stdout);
    let (holed, mut whole) = with_and_without_a_gap();
    whole.write(&[gap(5, 6)]);
    let together = cascade(&["verify", &holed.argument(), &whole.argument()]);
    assert_eq!(together.code, 1, "{}", together.stdout);
}

#[test]
fn a_trace_may_begin_with_a_snapshot() {
    let mut trace = TraceFolder::new();
    let old = change(70, "a");
    trace.write(&[state(100, &old)]);
    let first = update(101, &old);
    trace.write(&[first.clone(), update(102, &first)]);
    let (code, found, _) = verify(&trace);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(found["histories"][0]["history"]["first_expected"], 101);

    // A change that the snapshot does not account for.
    trace.write(&[update(103, &change(99, "b"))]);
    let (code, found, _) = verify(&trace);
    assert_eq!(code, 1, "{found:#}");
    assert_eq!(found["histories"][0]["history"]["broken_chain"]["count"], 1);
}

#[test]
fn a_committed_call_without_its_change_is_a_loss() {
    let mut trace = TraceFolder::new();
    let rows = life();
    trace.write(&rows);
    let mut calls: Vec<_> = rows.iter().map(call).collect();
    let mut lost = call(&rows[2]);
    lost.key = Some("c".to_owned());
    lost.call_id = "lost".to_owned();
    calls.push(lost);
    trace.write(&calls);
    let (code, found, _) = verify(&trace);
    assert_eq!(code, 1, "{found:#}");
    assert_eq!(found["histories"][0]["calls"]["without_change"]["count"], 1);
}

#[test]
fn expiries_other_writers_and_open_calls_are_told_apart() {
    let mut trace = TraceFolder::new();
    let mut leased = change(2, "lease");
    leased.lease_id = Some(9);
    let expired = delete(3, &leased);
    let elsewhere = change(4, "elsewhere");
    let unanswered = change(5, "unanswered");
    let mut open = call(&unanswered);
    open.outcome = CallOutcome::Unknown;
    open.revision = None;
    open.cluster_id = None;
    open.epoch = None;
    let mut never = open.clone();
    never.call_id = "never".to_owned();
    never.key = Some("never".to_owned());
    never.shape = CallShape::Create;
    trace.write(&[call(&leased), open, never]);
    trace.write(&[leased, expired, elsewhere, unanswered]);
    let (code, found, _) = verify(&trace);
    assert_eq!(code, 0, "{found:#}");
    let calls = &found["histories"][0]["calls"];
    assert_eq!(calls["lease_expiries"], 1);
    assert_eq!(calls["without_call"]["count"], 1);
    assert_eq!(calls["unknown_committed"], 1);
    assert_eq!(calls["unknown_not_committed"], 1);
    let rate = found["histories"][0]["join_rate"].as_f64().unwrap();
    assert!((rate - 2.0 / 3.0).abs() < 1e-9, "{rate}");
}

#[test]
fn epochs_are_histories_of_their_own() {
    let mut trace = TraceFolder::new();
    trace.write(&life());
    let again: Vec<Change> = life()
        .into_iter()
        .map(|row| Change { epoch: 1, ..row })
        .collect();
    trace.write(&again[..2]);
    let (code, found, _) = verify(&trace);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!(found["histories"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_with_a_damaged_page_is_named() {
    let mut trace = TraceFolder::new();
    let file = trace.write_compressed(&life());
    let mut bytes = fs::read(&file).unwrap();
    // The pages of the first column, behind the magic number and the header of its page.
    for byte in bytes.iter_mut().skip(24).take(40) {
        *byte ^= 0xff;
    }
    fs::write(&file, bytes).unwrap();
    let answer = cascade(&["verify", &trace.argument()]);
    assert_eq!(answer.code, 2, "{}", answer.stdout);
    assert!(
        answer.stderr.contains(file.to_str().unwrap()) && answer.stderr.contains("damaged"),
        "{}",
        answer.stderr
    );
}

#[test]
fn what_cannot_be_opened_ends_with_2() {
    let trace = TraceFolder::new();
    let answer = cascade(&["verify", &trace.argument()]);
    assert_eq!(answer.code, 2);
    let mut trace = TraceFolder::new();
    let file = trace.write(&life());
    fs::write(&file, "PAR1").unwrap();
    assert_eq!(cascade(&["verify", &trace.argument()]).code, 2);
}
