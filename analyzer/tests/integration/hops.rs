//! Hop times, and the clocks that they are measured with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use cascade_analyzer::session::{EngineOptions, Session};
use cascade_proto::tables::{Change, Moment, Object, Owner};
use serde_json::Value;

use crate::catalog::{number, open, rows};
use crate::program::cascade;
use crate::support::history::object;
use crate::support::rewrite::rewrite_columns;
use crate::support::{TraceFolder, call, change, link, request};

const MS: i64 = 1_000_000;

fn earlier(moment: Moment, millis: i64) -> Moment {
    Moment {
        unix_nano: moment.unix_nano - millis * MS,
    }
}

/// 40 Apps, each with a child that an operator makes 20 ms later, through kube-apiservers in turn. The interceptor's
/// clock is ahead of theirs by so many milliseconds.
fn served(ahead: &[i64]) -> TraceFolder {
    let (mut changes, mut calls, mut requests, mut links) = (vec![], vec![], vec![], vec![]);
    for round in 0..40 {
        let server = round % ahead.len();
        let revision = 10 + 500 * i64::try_from(round).unwrap();
        let app = Change {
            object: object("example.io", "App", "apps", &format!("app-{round}")),
            ..change(revision, &format!("app-{round}"))
        };
        let owner = Owner {
            kind: "App".to_owned(),
            uid: app.object.uid.clone().unwrap(),
            controller: true,
            ..Owner::default()
        };
        let child = Change {
            object: Object {
                owners: Some(vec![owner]),
                ..object("example.io", "Child", "children", &format!("child-{round}"))
            },
            ..change(revision + 20, &format!("child-{round}"))
        };
        for (made, agent) in [(app, "kubectl/v1"), (child, "operator/v1")] {
            let mut called = call(&made);
            let mut sent = request(&made, agent);
            sent.apiserver = Some(format!("apiserver-{server}"));
            sent.start = earlier(sent.start, ahead[server]);
            sent.end = earlier(sent.end, ahead[server]);
            links.push(link(&mut called, &sent));
            changes.push(made);
            calls.push(called);
            requests.push(sent);
        }
    }
    let mut trace = TraceFolder::new();
    trace.write(&changes);
    trace.write(&calls);
    trace.write(&requests);
    trace.write(&links);
    trace
}

const HOPS: &str =
    "SELECT effect_revision, cause_revision, reaction_ns, api_ns, storage_ns, total_ns, evidence
    FROM hops ORDER BY effect_revision, cause_revision";

#[tokio::test]
async fn clock_differences_are_found_and_taken_out() {
    let expected = rows(&open(&[&served(&[0])]).await, HOPS).await;
    assert_eq!(expected.len(), 40);
    assert_eq!(expected[0], "30|10|18000000|1000000|1000000|20000000|owner");
    for ahead in [
        vec![0],
        vec![250],
        vec![-5_000],
        vec![2],
        vec![-3_600_000, 40],
        vec![0, -700, 90_000],
    ] {
        let trace = served(&ahead);
        let session = open(&[&trace]).await;
        assert_eq!(rows(&session, HOPS).await, expected, "{ahead:?}");
        let offsets =
            "SELECT DISTINCT effect_revision / 500 % {n}, clock_offset_ns FROM hops ORDER BY 1";
        let offsets = offsets.replace("{n}", &ahead.len().to_string());
        let known: Vec<String> = (ahead.iter().enumerate())
            .map(|(server, ahead)| format!("{server}|{}", ahead * MS))
            .collect();
        assert_eq!(rows(&session, &offsets).await, known, "{ahead:?}");

        // A request begins 1 ms before its call and ends 1 ms after the answer.
        let clocks = "SELECT apiserver, instance, pairs, contradicting, negative_before, lower_ns, upper_ns, offset_ns
            FROM clocks ORDER BY apiserver";
        let servers = i64::try_from(ahead.len()).unwrap();
        let known: Vec<String> = (0_i64..)
            .zip(&ahead)
            .map(|(server, ahead)| {
                let pairs = 2 * ((40 - server) as u64).div_ceil(servers as u64);
                let negative = if *ahead == 0 { 0 } else { pairs };
                format!(
                    "apiserver-{server}|test|{pairs}|0|{negative}|{}|{}|{}",
                    (ahead - 1) * MS,
                    (ahead + 1) * MS,
                    ahead * MS
                )
            })
            .collect();
        assert_eq!(rows(&session, clocks).await, known, "{ahead:?}");
    }
}

#[tokio::test]
async fn what_is_less_than_known_is_not_corrected() {
    let trace = served(&[1]);
    let session = open(&[&trace]).await;
    let offsets = "SELECT DISTINCT clock_offset_ns FROM hops";
    assert_eq!(rows(&session, offsets).await, ["0"]);
    assert_eq!(
        rows(&session, "SELECT lower_ns, upper_ns FROM clocks").await,
        ["0|2000000"]
    );
}

#[test]
fn the_report_states_parts_clocks_and_negative_times() {
    let trace = served(&[-5_000]);
    let report = |format: &str| {
        let trace = trace.argument();
        let answer = cascade(&["report", &trace, "--section", "hops", "--format", format]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        answer.stdout
    };
    let text = report("terminal");
    for expected in [
        "40 of 40 hops (100 %) have all three parts, and of each of these they add up to the total, to the nanosecond.",
        "No hop has a negative part; 40 before clocks were corrected.",
        "apiserver-0     test               80        1  -5.00 s   -5.00 s  -5.00 s              0               80",
        "owner     Child  operator    40      100 %         0    20.0 ms  20.0 ms",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    let found: Value = serde_json::from_str(&report("json")).unwrap();
    let hops = &found["hops"];
    assert_eq!(
        (hops["hops"].as_i64(), hops["unequal"].as_i64()),
        (Some(40), Some(0))
    );
    assert_eq!(hops["clocks"][0]["min_offset_ns"], -5_000 * MS);
    let row = &hops["by_evidence_kind_and_actor"][0];
    for (part, millis) in [("total", 20), ("reaction", 18), ("api", 1), ("storage", 1)] {
        assert_eq!(row[part]["p99_ns"], millis * MS, "{part}");
        assert_eq!(row[part]["n"], 40, "{part}");
    }
}

#[test]
fn the_report_can_be_narrowed_and_explained() {
    let trace = served(&[0]);
    let hops = |arguments: &[&str]| {
        let trace = trace.argument();
        let all = [
            &["report", &trace, "--section", "hops", "--format", "json"],
            arguments,
        ]
        .concat();
        let answer = cascade(&all);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        let found: Value = serde_json::from_str(&answer.stdout).unwrap();
        found
    };
    assert_eq!(hops(&["--since", "10010"])["hops"]["hops"], 20);
    assert_eq!(
        hops(&["--until", "2026-01-02T03:00:05Z"])["hops"]["hops"],
        10
    );
    assert_eq!(hops(&["--namespace", "elsewhere"])["hops"]["hops"], 0);
    let explained = hops(&["--explain", "--namespace", "shop"]);
    let queries = explained["queries"].as_array().unwrap();
    let by_hop = queries
        .iter()
        .find(|query| query["title"] == "hop times")
        .unwrap();
    let answer = cascade(&[
        "sql",
        &trace.argument(),
        "-c",
        by_hop["sql"].as_str().unwrap(),
    ]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(answer.stdout.contains("operator"), "{}", answer.stdout);
    // Causes are found only for those who ask.
    let answer = cascade(&["report", &trace.argument(), "--format", "json"]);
    let found: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert!(found.get("hops").is_none());
}

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata")
        .join(name)
}

async fn recorded(trace: &Path) -> Session {
    Session::open(
        &[trace.to_str().unwrap().to_owned()],
        &EngineOptions::default(),
    )
    .await
    .unwrap()
}

/// Traces that were recorded with request spans.
const TRACED: [&str; 5] = ["cluster", "deployments", "hurried", "trouble", "workloads"];

#[tokio::test]
async fn with_tracing_nearly_every_hop_has_all_parts_and_they_add_up() {
    for name in TRACED {
        let session = recorded(&testdata(&format!("truth/{name}/trace"))).await;
        let count = async |condition: &str| {
            number(
                &session,
                &format!("SELECT count(*) FROM hops WHERE {condition}"),
            )
            .await
        };
        let hops = count("true").await;
        let has_parts = "reaction_ns IS NOT NULL AND api_ns IS NOT NULL AND storage_ns IS NOT NULL";
        let with_parts = count(has_parts).await;
        assert!(
            hops > 500 && with_parts * 100 >= hops * 95,
            "{name}: {with_parts} of {hops}"
        );
        let unequal = format!("{has_parts} AND reaction_ns + api_ns + storage_ns <> total_ns");
        assert_eq!(count(&unequal).await, 0, "{name}");
        // All ran on one host.
        assert_eq!(count("clock_offset_ns <> 0").await, 0, "{name}");
        assert_eq!(count("api_ns < 0 OR storage_ns < 0").await, 0, "{name}");
        assert_eq!(
            number(&session, "SELECT sum(contradicting) FROM clocks").await,
            0,
            "{name}"
        );
    }
}

/// kube-apiserver's clock, set wrong after the fact.
#[tokio::test]
async fn the_clock_of_a_recorded_kube_apiserver_is_found_when_it_is_wrong() {
    let original = testdata("truth/deployments/trace");
    let as_recorded = recorded(&original).await;
    let behind = 1_700 * MS;
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    rewrite_columns(&original, &trace, &|table, column, array| {
        let is_time = ["start_unix_nano", "end_unix_nano"].contains(&column);
        if table != "requests" || !is_time {
            return Arc::clone(array);
        }
        let times: &Int64Array = array.as_primitive::<Int64Type>();
        assert_eq!(times.null_count(), 0);
        let earlier = times.values().iter().map(|time| time - behind);
        Arc::new(Int64Array::from_iter_values(earlier))
    });
    let session = recorded(&trace).await;
    let bounds = "SELECT lower_ns, upper_ns FROM clocks ORDER BY from_unix_nano";
    let known = rows(&as_recorded, bounds).await;
    let shifted =
        "SELECT lower_ns - 1700000000, upper_ns - 1700000000 FROM clocks ORDER BY from_unix_nano";
    assert_eq!(rows(&session, shifted).await, known);
    let pairs = number(&session, "SELECT sum(pairs) FROM clocks").await;
    assert_eq!(
        number(&session, "SELECT sum(negative_before) FROM clocks").await,
        pairs
    );
    assert!(pairs > 1_000);
    // What is left is what cannot be known: less than a millisecond, and it is not a negative time.
    let off = "SELECT max(abs(clock_offset_ns - 1700000000)) FROM hops";
    assert!(number(&session, off).await < MS);
    assert_eq!(
        number(&session, "SELECT count(*) FROM hops WHERE api_ns < 0").await,
        0
    );
    // Between two candidates at nearly the same moment it can decide, but not what a change comes of.
    let roots = "SELECT root_revision, revision, ordinal FROM reach ORDER BY 1, 2, 3";
    assert_eq!(rows(&session, roots).await, rows(&as_recorded, roots).await);
    let edges = "SELECT effect_revision, cause_revision FROM hops ORDER BY 1, 2";
    let (found, known) = (rows(&session, edges).await, rows(&as_recorded, edges).await);
    let same = known.iter().filter(|edge| found.contains(edge)).count();
    assert!(same * 100 >= known.len() * 95, "{same} of {}", known.len());
}
