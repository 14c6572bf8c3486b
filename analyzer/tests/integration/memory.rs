//! `--memory-limit`: the same answers from less memory.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{cascade, command};
use crate::support::history::{History, Rollout, deployment, pod, running, scheduled};
use crate::support::{TraceFolder, call, change, link, request};

/// More changes than fit into the limit of the test.
const PODS: i64 = 2_000;

const ROLLOUT: Rollout = Rollout {
    generation: 1,
    observed: 1,
    wanted: PODS,
    replicas: PODS,
    updated: PODS,
    ready: 0,
    available: 0,
};

/// Pods that come, are scheduled and become ready, one after the other.
fn trace() -> TraceFolder {
    let mut history = History::after(10);
    let rollout = history.create(0, deployment("web", ROLLOUT));
    for number in 0..PODS {
        let object = pod(&format!("web-{number}"));
        let created = history.create(4 * number + 1, object.clone());
        let bound = scheduled(&object);
        let placed = history.update(4 * number + 2, &created, bound.clone());
        history.update(4 * number + 3, &placed, running(&bound, true));
        if number % 100 == 0 {
            history.update(4 * number + 4, &rollout, rollout.object.clone());
        }
    }
    let (mut calls, mut requests, mut links) = (vec![], vec![], vec![]);
    for change in &history.changes {
        let mut called = call(change);
        let sent = request(change, &format!("controller-{}/v1", change.revision % 7));
        links.push(link(&mut called, &sent));
        calls.push(called);
        requests.push(sent);
    }
    let mut trace = TraceFolder::new();
    trace.write_in_order(&history.changes);
    trace.write(&calls);
    trace.write(&requests);
    trace.write(&links);
    trace
}

/// Derives a trace: rows of each table, and its bytes.
fn derived(trace: &str, folder: &Path, more: &[&str]) -> Vec<(String, u64, Vec<u8>)> {
    let output = folder.to_str().unwrap();
    let arguments = ["derive", trace, "--output", output, "--format", "json"];
    let answer = cascade(&[&arguments, more].concat());
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let manifest: Value = serde_json::from_str(&answer.stdout).unwrap();
    let written = folder.join(manifest["id"].as_str().unwrap());
    let tables = manifest["tables"].as_array().unwrap().iter();
    tables
        .map(|table| {
            let bytes = fs::read(written.join(table["file"].as_str().unwrap())).unwrap();
            let name = table["name"].as_str().unwrap().to_owned();
            (name, table["rows"].as_u64().unwrap(), bytes)
        })
        .collect()
}

#[test]
fn what_does_not_fit_into_memory_is_derived_all_the_same() {
    let (trace, folder) = (trace(), tempfile::tempdir().unwrap());
    let trace = trace.argument();
    let expected = derived(&trace, &folder.path().join("memory"), &[]);
    let limited = derived(
        &trace,
        &folder.path().join("file"),
        &["--memory-limit", "7MiB"],
    );
    let rows = |name: &str| expected.iter().find(|table| table.0 == name).unwrap().1;
    assert!(rows("writes") > 6_000 && rows("stages") > 6_000 && rows("cascades") > 1);
    for (expected, limited) in expected.iter().zip(&limited) {
        let (name, rows, _) = expected;
        assert_eq!((name, rows), (&limited.0, &limited.1));
        assert!(expected.2 == limited.2, "{name}");
    }
    // Nothing but the derivation is left.
    let left = fs::read_dir(folder.path().join("file")).unwrap();
    assert_eq!(left.count(), 1);
}

#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limited_memory_is_handed_out_sparingly() {
    let mut trace = TraceFolder::new();
    trace.write(&[change(10, "key")]);
    let folder = trace.argument();
    let handed_out = |more: &[&str]| {
        let arguments = ["sql", &folder, "-c", "SELECT 1"];
        let mut command = command(&[&arguments, more].concat());
        command.env_remove("MALLOC_ARENA_MAX");
        command.env("RUST_LOG", "cascade_analyzer=debug");
        let output = command.output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        log.contains("memory is handed out as the environment says")
    };
    assert!(handed_out(&["--memory-limit", "64MiB"]));
    assert!(!handed_out(&[]));
}
