//! CPIDs that the writes themselves report.

use super::{SPEC, STATUS, bystander};
use crate::causality::kernel::change::Op::{Create, Update};
use crate::causality::kernel::evidence::Relation;
use crate::causality::kernel::story::{Line, line, tell, tell_merged, tell_without};

fn carrying(cpid: &'static str, line: Line) -> Line {
    Line {
        cpid: Some(cpid),
        ..line
    }
}

/// A Plan and a Release that know nothing of each other: only the operator knows that the one leads to the other.
fn unrelated() -> Vec<Line> {
    vec![
        carrying("a", line(0, "kubectl", Create, "Plan", "spring")),
        line(10, "planner", Create, "Release", "r-1"),
        carrying(
            "b",
            line(5_000, "kubectl", Update, "Plan", "spring").changed(SPEC),
        ),
        bystander(5_010),
        carrying(
            "b",
            line(5_020, "planner", Update, "Release", "r-1").changed(SPEC),
        ),
    ]
}

#[test]
fn a_cpid_ties_changes_that_nothing_else_ties() {
    let told = tell(&unrelated());
    assert_eq!(told.causes(4), [2]);
    assert_eq!(told.evidence(4), Some(Relation::Cpid));
    assert_ne!(tell_without("cpid", &unrelated()).causes(4), [2]);
}

/// An App whose Deployment becomes ready while somebody changes its ConfigMap.
fn status_after_two_changes(cpid_of_status: &'static str) -> Vec<Line> {
    let child = |at, actor, op, kind, name| line(at, actor, op, kind, name).owner("web");
    vec![
        carrying("a", line(0, "kubectl", Create, "App", "web")),
        carrying("a", child(20, "app-operator", Create, "ConfigMap", "web-c")),
        carrying(
            "a",
            child(21, "app-operator", Create, "Deployment", "web-d"),
        ),
        child(4_900, "kubelet", Update, "Deployment", "web-d").changed(STATUS),
        carrying(
            "b",
            child(5_005, "kubectl", Update, "ConfigMap", "web-c").changed(&["data"]),
        ),
        carrying(
            cpid_of_status,
            line(5_020, "app-operator", Update, "App", "web").changed(STATUS),
        ),
    ]
}

#[test]
fn what_carries_another_cpid_was_not_taken_in() {
    assert_eq!(tell(&status_after_two_changes("b")).causes(5), [4]);
    assert_eq!(tell(&status_after_two_changes("a")).causes(5), [3]);
    let unknown = tell_without("cpid", &status_after_two_changes("a"));
    assert_eq!(unknown.causes(5), [4], "the nearest");
}

#[test]
fn the_first_write_of_a_merge_came_of_all_its_sources() {
    let mut lines = status_after_two_changes("m");
    // Somebody changes what the App refers to, long before the operator turns to it.
    lines.insert(
        3,
        carrying("c", line(100, "kubectl", Update, "ConfigMap", "settings")),
    );
    let told = tell_merged(&[("m", &["b", "c"])], &lines);
    assert_eq!(told.causes(6), [3, 5]);
    assert_eq!(
        tell(&lines).causes(6),
        [5],
        "without a mergelog nothing says what m is: the nearest"
    );
}

#[test]
fn what_the_writer_itself_wrote_before_is_no_cause_of_a_merge() {
    // The operator takes the App's own CPID for a source of every reconcile.
    let told = tell_merged(&[("m", &["a", "b"])], &status_after_two_changes("m"));
    assert_eq!(told.causes(5), [4]);
}

#[test]
fn a_version_that_was_read_and_replaced_long_before_is_no_cause_of_a_merge() {
    let config = |at| line(at, "kubectl", Update, "ConfigMap", "web-c").changed(&["data"]);
    let story = |first_change: i64| {
        let mut lines = Vec::new();
        // The operator is quick.
        for app in 0..30 {
            let at = app * 100;
            let name = format!("app-{app}");
            let pods = format!("{name}-pods");
            lines.push(line(at, "kubectl", Create, "App", &name));
            lines.push(line(at + 20, "app-operator", Create, "Deployment", &pods).owner(&name));
            let wish = line(at + 50, "kubectl", Update, "App", &name).changed(SPEC);
            lines.push(wish);
            let follows = line(at + 70, "app-operator", Update, "Deployment", &pods);
            lines.push(follows.owner(&name).changed(SPEC));
        }
        lines.extend([
            line(4_000, "kubectl", Create, "App", "web"),
            line(4_020, "app-operator", Create, "ConfigMap", "web-c").owner("web"),
            line(4_021, "app-operator", Create, "Deployment", "web-d").owner("web"),
            carrying("a", config(first_change).owner("web")),
            carrying("b", config(29_990).owner("web")),
            carrying(
                "c",
                line(30_000, "kubectl", Update, "App", "web").changed(SPEC),
            ),
            carrying(
                "m",
                line(30_020, "app-operator", Update, "Deployment", "web-d")
                    .owner("web")
                    .changed(SPEC),
            ),
        ]);
        let effect = u32::try_from(lines.len()).unwrap() - 1;
        let told = tell_merged(&[("m", &["a", "b", "c"])], &lines);
        let causes = told.causes(effect);
        causes
            .into_iter()
            .map(|cause| effect - cause)
            .collect::<Vec<u32>>()
    };
    assert_eq!(story(29_980), [3, 2, 1], "all of them in one reconcile");
    assert_eq!(
        story(5_000),
        [2, 1],
        "the first one in a reconcile that wrote nothing"
    );
}
