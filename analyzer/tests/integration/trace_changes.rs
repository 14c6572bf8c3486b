//! `cascade trace` of revisions and objects, over a recorded rollout.

use std::path::Path;

use serde_json::Value;

use crate::program::{Answer, cascade};
use crate::support::rewrite::rewrite;

fn trace(arguments: &[&str]) -> Answer {
    let rollout = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/traces/rollout");
    cascade(&[&["trace", rollout], arguments].concat())
}

#[test]
fn a_revision_is_printed_as_the_tree_of_its_root() {
    let answer = trace(&["1131"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let golden = include_str!("../golden/trace-change.txt");
    assert_eq!(answer.stdout, golden, "\n{}", answer.stdout);
}

#[test]
fn an_object_is_followed_from_its_newest_root() {
    for name in ["deployment/rollout/web-1", "Deployments.apps/rollout/web-1"] {
        let answer = trace(&[name]);
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        for expected in [
            "revision 1090, delete of Deployment.apps rollout/web-1",
            "all were as their specs want them after 1.44 s.",
            "- 620: update of Deployment.apps rollout/web-1 by kubectl-set",
            "total                                               1.437378911",
        ] {
            assert!(
                answer.stdout.contains(expected),
                "{expected}\n{}",
                answer.stdout
            );
        }
    }
    // A rolling update is long: branches are counted unless they are asked for.
    let short = trace(&["620"]).stdout;
    assert!(short.contains(" below, to "), "{short}");
    let full = trace(&["620", "--full"]).stdout;
    assert!(!full.contains(" below, to "), "{full}");
    assert!(full.lines().count() > short.lines().count() + 50, "{short}");
    let critical = trace(&["620", "--depth", "0"]).stdout;
    assert!(
        critical.lines().count() < short.lines().count(),
        "{critical}"
    );
}

#[test]
fn the_times_of_the_critical_path_add_up_to_the_total() {
    for revision in ["620", "252", "1131", "1090"] {
        let answer = trace(&[revision, "--format", "json"]);
        let found: Value = serde_json::from_str(&answer.stdout).unwrap();
        let changes = found["changes"].as_array().unwrap();
        let path = found["critical_path"].as_array().unwrap();
        assert!(path.len() > 2, "{revision}");
        let hops = path.iter().map(|position| {
            let position = usize::try_from(position.as_u64().unwrap()).unwrap();
            changes[position]["hop_ns"].as_i64().unwrap()
        });
        assert_eq!(
            Some(hops.sum::<i64>()),
            found["total_ns"].as_i64(),
            "{revision}"
        );
    }
}

#[test]
fn unknown_names_are_errors_with_suggestions() {
    for (given, suggestion) in [
        (
            "deploymen/rollout/web-1",
            "there are deployment/rollout/web-1",
        ),
        ("deployment/web-1", "there are deployment/rollout/web-1"),
        ("999999", "revisions 2 to 1341"),
    ] {
        let answer = trace(&[given]);
        assert_eq!(answer.code, 2, "{given}");
        assert!(answer.stderr.contains(suggestion), "{}", answer.stderr);
    }
}

/// A recorded rollout whose Deployment has the name that everybody's first one has: `web` in `default`.
fn first_deployment() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/traces/mixed");
    rewrite(&recorded, &trace, &|text| {
        text.replace("web-2", "web").replace("mixed", "default")
    });
    let argument = trace.to_str().unwrap().to_owned();
    (folder, argument)
}

#[test]
fn the_first_deployment_of_a_newcomer_is_explained() {
    let (_folder, trace) = first_deployment();
    let answer = cascade(&["trace", &trace, "deployment/default/web"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let golden = include_str!("../golden/trace-web.txt");
    assert_eq!(answer.stdout, golden, "\n{}", answer.stdout);

    // What is printed of the critical path adds up, digit by digit.
    let path = answer.stdout.split("Critical path\n").nth(1).unwrap();
    let lines: Vec<&str> = path.split("\n\n").nth(1).unwrap().lines().skip(1).collect();
    let seconds = |line: &str| -> Vec<i64> {
        line.split_whitespace()
            .filter_map(|word| {
                let (whole, fraction) = word.split_once('.')?;
                (fraction.len() == 9).then_some(())?;
                Some(whole.parse::<i64>().ok()? * 1_000_000_000 + fraction.parse::<i64>().ok()?)
            })
            .collect()
    };
    let (total, path) = lines.split_last().unwrap();
    let (root, hops) = path.split_first().unwrap();
    assert!(
        total.trim_start().starts_with("total") && hops.len() > 2,
        "{path:?}"
    );
    assert_eq!(seconds(root), [0]);
    let mut since_root = 0;
    for hop in hops {
        let [time, since] = seconds(hop)[..] else {
            panic!("{hop}");
        };
        since_root += time;
        assert_eq!(since_root, since, "{hop}");
    }
    assert_eq!(seconds(total), [since_root, since_root]);
    // The tree marks the same changes.
    let tree = answer.stdout.split("Critical path\n").next().unwrap();
    let marked = tree.lines().filter(|line| line.starts_with("  * ")).count();
    assert_eq!(marked, path.len());
}
