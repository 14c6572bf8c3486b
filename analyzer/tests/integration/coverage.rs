//! `cascade report --section coverage`: who carries CPIDs, and who loses them.

use serde_json::Value;

use crate::cpids::{by, cascade as cpid_cascade, owned_by};
use crate::program::cascade;
use crate::support::{TraceFolder, carrying, change, mergelog, state, update};

#[test]
fn each_change_is_in_one_class() {
    let trace = cpid_cascade();
    let answer = cascade(&[
        "report",
        &trace.argument(),
        "--section",
        "coverage",
        "--format",
        "json",
    ]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert!(report.get("stages").is_none() && report.get("changes").is_none());
    let coverage = &report["coverage"];
    assert_eq!(coverage["mergelogs"], 4);
    let mut found: Vec<String> = Vec::new();
    let mut writes = 0;
    for row in coverage["by_kind_and_actor"].as_array().unwrap() {
        let classes = [
            "reported", "kept", "lost", "dropped", "broken", "ended", "without",
        ];
        let sum: i64 = classes
            .iter()
            .map(|class| row[*class].as_i64().unwrap())
            .sum();
        assert_eq!(row["writes"], sum, "{row}");
        writes += sum;
        let counts: Vec<String> = classes
            .iter()
            .filter(|class| row[**class] != 0)
            .map(|class| format!("{class} {}", row[*class]))
            .collect();
        let (kind, actor) = (
            row["kind"].as_str().unwrap(),
            row["actor"].as_str().unwrap(),
        );
        found.push(format!("{kind} {actor}: {}", counts.join(", ")));
    }
    found.sort();
    assert_eq!(writes, 12);
    let expected = [
        "App kubectl: reported 1, broken 1, ended 1",
        "ConfigMap curl: reported 1",
        "Deployment app-operator: reported 4",
        "Deployment kube-controller-manager: kept 1",
        "Pod kube-controller-manager: lost 1",
        "ReplicaSet janitor: dropped 1",
        "ReplicaSet kube-controller-manager: kept 1",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_restored_etcd_does_not_make_its_owners_carry_a_cpid_earlier() {
    let app = by(change(2, "app"), "App", "kubectl");
    let pod = owned_by(by(change(3, "pod"), "Pod", "operator"), "App");
    let carries = carrying(by(update(4, &app), "App", "kubectl"), None, "x");
    let mut restored = state(2, &carries);
    restored.epoch = 1;
    restored.revision = 2;
    let mut trace = TraceFolder::new();
    trace.write(&[app, pod, carries]);
    trace.write(&[restored]);
    let arguments = ["report", &trace.argument(), "--format", "json"];
    let answer = cascade(&arguments);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let rows = report["coverage"]["by_kind_and_actor"].as_array().unwrap();
    let pod = rows.iter().find(|row| row["kind"] == "Pod").unwrap();
    assert_eq!((&pod["lost"], &pod["without"]), (&0.into(), &1.into()));
}

#[test]
fn the_text_names_who_loses_cpids_and_broken_rules() {
    let mut trace = cpid_cascade();
    trace.write(&[mergelog(30, "one", &["x"], "test")]);
    let answer = cascade(&["report", &trace.argument(), "--section", "coverage"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    for text in [
        "6 of 12 changes (50.00 %) carry a CPID by themselves; mergelogs were posted 5 times, \
            3 of them about merges.",
        "kubectl: 1 replaced (App.example.io)",
        "kube-controller-manager: 1 made without one (Pod)",
        "janitor: 1 removed (ReplicaSet.apps)",
        "! Mergelogs break the rule one_source 1 time, as in: one was made from x alone.",
    ] {
        assert!(answer.stdout.contains(text), "{text}\n{}", answer.stdout);
    }
    assert!(
        !answer.stdout.contains("Stage latency"),
        "{}",
        answer.stdout
    );
}

#[test]
fn coverage_is_there_by_itself_only_where_there_are_cpids() {
    let with = cpid_cascade();
    let answer = cascade(&["report", &with.argument()]);
    assert!(answer.stdout.contains("CPID coverage"), "{}", answer.stdout);
    let mut without = TraceFolder::new();
    without.write(&[change(2, "a")]);
    let answer = cascade(&["report", &without.argument()]);
    assert!(
        !answer.stdout.contains("CPID coverage"),
        "{}",
        answer.stdout
    );
    let answer = cascade(&["report", &without.argument(), "--section", "coverage"]);
    assert!(
        answer.stdout.contains("carries a CPID"),
        "{}",
        answer.stdout
    );
}

#[test]
fn sections_can_be_chosen_and_unknown_ones_are_named() {
    let trace = cpid_cascade();
    let answer = cascade(&[
        "report",
        &trace.argument(),
        "--section",
        "changes",
        "--section",
        "stages",
        "--explain",
    ]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(answer.stdout.contains("What happened") && answer.stdout.contains("Stage latency"));
    assert!(!answer.stdout.contains("etcd write latency") && !answer.stdout.contains("mergelog"));
    let answer = cascade(&["report", &trace.argument(), "--section", "nothing"]);
    assert_eq!(answer.code, 2);
    for name in ["changes", "write_latency", "stages", "coverage"] {
        assert!(answer.stderr.contains(name), "{}", answer.stderr);
    }
}
