//! `cascade paths` over a recorded run with request spans.

use serde_json::Value;

use crate::program::{Answer, cascade};

fn paths(arguments: &[&str]) -> Answer {
    let trace = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../testdata/truth/deployments/trace"
    );
    let answer = cascade(&[&["paths", trace], arguments].concat());
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    answer
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&paths(&[arguments, &["--format", "json"]].concat()).stdout).unwrap()
}

#[test]
fn latencies_by_path() {
    let found = json(&["--from", "Deployment/create", "--to", "Pod:ready"]);
    let all = found["paths"].as_array().unwrap();
    let first = &all[0];
    let signature = first["path"].as_str().unwrap();
    assert!(
        signature.starts_with("Deployment.apps/create@"),
        "{signature}"
    );
    assert!(
        signature.contains(" > Pod/update[ready]@kwok"),
        "{signature}"
    );
    let time = |name: &str| first[name].as_i64().unwrap();
    assert!(time("n") > 5);
    let times = ["p50_ns", "p90_ns", "p95_ns", "p99_ns", "max_ns"].map(time);
    assert!(times.is_sorted() && times[0] > 0, "{times:?}");
    // Nodes are simulated: nearly all of the time is the delay until a pod counts as ready.
    let hop = &first["dominating"];
    assert!(hop["share"].as_f64().unwrap() > 0.5, "{hop}");
    assert!(
        hop["step"]
            .as_str()
            .unwrap()
            .starts_with("Pod/update[ready]"),
        "{hop}"
    );

    let each: i64 = all.iter().map(|path| path["n"].as_i64().unwrap()).sum();
    let last = json(&[
        "--from",
        "Deployment/create",
        "--to",
        "Pod:ready",
        "--fan-out",
        "last",
    ]);
    let last: i64 = last["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path["n"].as_i64().unwrap())
        .sum();
    assert!(last > 0 && last < each, "{last} of {each}");
}

#[test]
fn every_format_says_the_same() {
    let ends = [
        "--from",
        "Deployment/create",
        "--to",
        "Pod/create",
        "--by",
        "namespace",
    ];
    let with = |format: &[&'static str]| paths(&[&ends, format].concat()).stdout;
    let found = json(&ends);
    let first = &found["paths"][0];
    let csv = with(&["--format", "csv"]);
    let line = csv.lines().nth(1).unwrap();
    let cells: Vec<&str> = line.split(',').collect();
    assert_eq!(cells[0], first["group"].as_str().unwrap());
    assert_eq!(cells[2], first["n"].to_string());
    assert_eq!(cells[3], first["p50_ns"].to_string());
    assert_eq!(
        csv.lines().count(),
        found["paths"].as_array().unwrap().len() + 1
    );
    let terminal = with(&[]);
    for expected in [
        "From Deployment/create to Pod/create",
        "namespace",
        "Most of it",
        "  - 1: Deployment.apps/create@",
    ] {
        assert!(terminal.contains(expected), "{expected}\n{terminal}");
    }
    let explained = with(&["--explain", "--format", "markdown"]);
    assert!(
        explained.contains("FROM paths('Deployment/create', 'Pod/create')"),
        "{explained}"
    );
}

#[test]
fn spans_and_namespaces_narrow() {
    let count = |arguments: &[&str]| -> i64 {
        let found = json(&[&["--to", "Pod/create"], arguments].concat());
        let all = found["paths"].as_array().unwrap();
        all.iter().map(|path| path["n"].as_i64().unwrap()).sum()
    };
    let all = count(&[]);
    assert!(all > 20);
    assert_eq!(count(&["--since", "400"]) + count(&["--until", "400"]), all);
    let early = count(&["--until", "2020-01-01"]);
    assert_eq!(early, 0);
    assert_eq!(count(&["--since", "2020-01-01"]), all);
    assert_eq!(count(&["--namespace", "no-such"]), 0);
}

#[test]
fn without_ends_whole_cascades_are_told() {
    let found = paths(&[]).stdout;
    assert!(
        found.contains("From what clients and timers did to the last change of the cascade"),
        "{found}"
    );
    let wrong = cascade(&["paths", ".", "--by", "weather"]);
    assert_eq!(wrong.code, 2);
}
