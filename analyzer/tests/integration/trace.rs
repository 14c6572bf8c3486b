//! `cascade trace` of reported CPIDs, as a program.

use cascade_proto::tables::Span;
use serde_json::Value;

use crate::cpids::cascade as cpid_cascade;
use crate::program::cascade;
use crate::support::{INSTANCE, TraceFolder, change, moment};

/// A span of the operator for CPID `z`, from 18 to 25 ms into the hour.
fn span() -> Span {
    Span {
        cpid: "z".to_owned(),
        start: Some(moment(18)),
        end: Some(moment(25)),
        service: Some("app-operator".to_owned()),
        object_kind: Some("App".to_owned()),
        object_name: Some("web".to_owned()),
        message: Some("reconcile()".to_owned()),
        span_id: Some("1".to_owned()),
        parent_id: None,
        received: moment(30),
        instance: INSTANCE.to_owned(),
    }
}

#[test]
fn what_came_of_a_cpid_is_printed_as_a_tree() {
    let mut trace = cpid_cascade();
    trace.write(&[span()]);
    let answer = cascade(&["trace", &trace.argument(), "x"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let expected = "\
Cascade of CPID x

Where it came from
  Named in 8 changes, 3 mergelogs.
  A new change, says kubectl-trace.

What came of it

  CPID, object or span                     Op      CPID on it      By                       Since first     Took
  x
    App.example.io shop/web                create  start           kubectl                         0 ns
    Deployment.apps shop/web               create  adopt           app-operator                 1.00 ms
    ReplicaSet.apps shop/web               create  adopt (copied)  kube-controller-manager      2.00 ms
    Deployment.apps shop/web               update  carry           app-operator                 5.00 ms
    (1 write kept it, 1 write removed it)                                                       8.00 ms
    z = y + x
      Deployment.apps shop/web             update  merge           app-operator                 7.00 ms
      Deployment.apps shop/web             delete  end             app-operator                 8.00 ms
      ~ reconcile() App web                                        app-operator                 8.00 ms  7.00 ms

  Spans are timed by the clocks of the components that posted them.

Completion
  8.00 ms from the first to the last of 6 changes: those that set the CPID or one that came of it, or carried it by themselves. Writes that merely kept it do not count.
  7.00 ms from the first start to the last end of a span.

  Kind             Changes    First     Last
  App.example.io         1     0 ns     0 ns
  Deployment.apps        4  1.00 ms  8.00 ms
  ReplicaSet.apps        1  2.00 ms  2.00 ms

  Actor                    Changes    First     Last
  kubectl                        1     0 ns     0 ns
  app-operator                   4  1.00 ms  8.00 ms
  kube-controller-manager        1  2.00 ms  2.00 ms

  Object                    Changes    First     Last
  App.example.io shop/web         1     0 ns     0 ns
  Deployment.apps shop/web        4  1.00 ms  8.00 ms
  ReplicaSet.apps shop/web        1  2.00 ms  2.00 ms
";
    assert_eq!(answer.stdout, expected, "\n{}", answer.stdout);
}

#[test]
fn the_ancestry_of_a_merged_cpid_is_told() {
    let answer = cascade(&["trace", &cpid_cascade().argument(), "z"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    for line in [
        "  z     of y and x, says app-operator",
        "    x   a new change, says kubectl-trace",
        "    y   a new change, says kubectl-trace",
    ] {
        let found = answer.stdout.lines().any(|printed| {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            words(printed) == words(line)
        });
        assert!(found, "{line}\n{}", answer.stdout);
    }
}

#[test]
fn the_json_holds_the_same() {
    let mut trace = cpid_cascade();
    trace.write(&[span()]);
    let answer = cascade(&["trace", &trace.argument(), "x", "--format", "json"]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let found: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(found["schema"], "cascade.trace.cpid");
    assert_eq!(found["completion"]["total_ns"], 8_000_000);
    assert_eq!(found["completion"]["changes"], 6);
    assert_eq!(found["spans"]["total_ns"], 7_000_000);
    let descendants = found["descendants"].as_array().unwrap();
    let names: Vec<&Value> = descendants.iter().map(|found| &found["cpid"]).collect();
    assert_eq!(names, ["x", "z"]);
    assert_eq!(descendants[0]["others"]["kept"], 1);
    assert_eq!(descendants[0]["changes"][2]["reported"], false);
    assert_eq!(descendants[1]["spans"][0]["duration_ns"], 7_000_000);
}

#[test]
fn a_name_that_is_not_there_is_an_error_with_suggestions() {
    let folder = cpid_cascade();
    let answer = cascade(&["trace", &folder.argument(), "nothing"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.stderr.contains("no CPID \"nothing\""),
        "{}",
        answer.stderr
    );
    assert!(
        answer.stderr.contains("for example, x"),
        "{}",
        answer.stderr
    );

    let mut empty = TraceFolder::new();
    empty.write(&[change(2, "a")]);
    let answer = cascade(&["trace", &empty.argument(), "it's"]);
    assert_eq!(answer.code, 2);
    assert!(
        answer.stderr.contains("holds no CPIDs"),
        "{}",
        answer.stderr
    );
}
