//! Stories without request spans, where a change names its writer badly or not at all.

use super::{DELETION, SPEC, STATUS};
use crate::causality::kernel::change::Op::{Create, Delete, Update};
use crate::causality::kernel::evidence::Relation;
use crate::causality::kernel::output::RootClass;
use crate::causality::kernel::story::{Line, Told, line, tell};
use crate::causality::kernel::{NONE, Op};

const MANAGER: Option<&str> = Some("kube-controller-manager");
const KUBECTL: Option<&str> = Some("kubectl-create");

fn unnamed(at: i64, op: Op, kind: &'static str, name: &str, manager: Option<&'static str>) -> Line {
    line(at, "", op, kind, name).by_manager(manager)
}

fn actor(told: &Told, change: usize) -> Option<&str> {
    let actor = told.changes.rows().get(change).unwrap().actor;
    (actor != NONE).then(|| told.changes.actor(actor)).flatten()
}

#[test]
fn an_eviction_is_a_clients() {
    let told = tell(&[
        unnamed(0, Create, "ReplicaSet", "web", KUBECTL),
        unnamed(20, Create, "Pod", "web-1", MANAGER).owner("web"),
        unnamed(400, Update, "Pod", "web-1", Some("kubelet"))
            .owner("web")
            .changed(STATUS),
        unnamed(9_000, Update, "Pod", "web-1", None)
            .owner("web")
            .changed(&["status", "conditions.DisruptionTarget"]),
        unnamed(9_030, Update, "Pod", "web-1", None)
            .owner("web")
            .changed(DELETION)
            .going(),
    ]);
    assert_eq!(told.class(3), Some(RootClass::Client));
    assert_eq!(told.causes(4), [3]);
    assert_eq!(told.evidence(4), Some(Relation::Request));
}

#[test]
fn less_grace_is_the_same_deletion() {
    let told = tell(&[
        unnamed(0, Create, "ReplicaSet", "web", KUBECTL),
        unnamed(20, Create, "Pod", "web-1", MANAGER).owner("web"),
        unnamed(9_000, Update, "Pod", "web-1", None)
            .owner("web")
            .changed(DELETION)
            .going(),
        unnamed(9_500, Update, "Pod", "web-1", None)
            .owner("web")
            .changed(&["metadata.deletionGracePeriodSeconds"])
            .going(),
    ]);
    assert_eq!(actor(&told, 3), None);
    assert_eq!(told.causes(3), [2]);
}

#[test]
fn a_client_takes_back_what_it_had_set() {
    let told = tell(&[
        unnamed(0, Create, "Node", "node-1", KUBECTL),
        // A controller takes a taint off, which leaves no entry, right after.
        unnamed(300, Update, "Node", "node-1", None).changed(SPEC),
        unnamed(10_000, Update, "Node", "node-1", Some("kubectl-patch")).changed(SPEC),
        unnamed(200_000, Update, "Node", "node-1", None).changed(SPEC),
    ]);
    assert_eq!(told.causes(1), [0]);
    assert_eq!(told.class(3), Some(RootClass::Client));
}

#[test]
fn an_entry_that_only_lost_fields_tells_nothing() {
    let told = tell(&[
        unnamed(0, Create, "App", "web", KUBECTL),
        Line {
            other_manager: KUBECTL,
            ..unnamed(100, Update, "App", "web", Some("app-operator")).changed(SPEC)
        },
    ]);
    assert_eq!(actor(&told, 1), Some("app-operator"));
    assert_eq!(told.causes(1), [0]);
}

/// kube-apiserver went away before it had sent the span of the last write.
#[test]
fn the_loop_of_a_program_is_learnt_from_its_other_writes() {
    let by = |mut line: Line| {
        line.manager = MANAGER;
        line
    };
    let told = tell(&[
        line(0, "kubectl", Create, "ReplicaSet", "web"),
        by(line(20, "replicaset-controller", Create, "Pod", "web-1").owner("web")),
        line(5_000, "kubectl", Create, "ReplicaSet", "shop"),
        unnamed(5_020, Create, "Pod", "shop-1", MANAGER).owner("shop"),
    ]);
    assert_eq!(actor(&told, 3), Some("replicaset-controller"));
    assert_eq!(told.causes(3), [2]);
}

/// A Pod's deletion, after an owner's status; in between the owner's spec may be changed.
fn one_pod_of(kind: &'static str, outdated: bool, is_changed: bool) -> Option<RootClass> {
    let owner = |at, op, manager| Line {
        group: "apps",
        ..unnamed(at, op, kind, "agent", manager)
    };
    let pod = |at, op, manager| {
        unnamed(at, op, "Pod", "agent-1", manager)
            .owner("agent")
            .on("node-1")
    };
    let mut lines = vec![
        owner(0, Create, KUBECTL),
        pod(20, Create, MANAGER),
        pod(400, Update, Some("kubelet")).changed(&["status", "conditions.Ready"]),
        Line {
            outdated,
            ..owner(420, Update, MANAGER).changed(STATUS)
        },
    ];
    if is_changed {
        lines.push(owner(480, Update, Some("kubectl-edit")).changed(SPEC));
    }
    lines.push(pod(500, Update, None).changed(DELETION).going());
    let deletion = u32::try_from(lines.len()).unwrap() - 1;
    tell(&lines).class(deletion)
}

#[test]
fn only_an_unfinished_rollout_replaces_pods() {
    for kind in ["DaemonSet", "StatefulSet"] {
        let settled = one_pod_of(kind, false, false);
        assert_eq!(settled, Some(RootClass::Client), "{kind}");
        assert_eq!(one_pod_of(kind, true, false), None, "{kind}");
        assert_eq!(one_pod_of(kind, false, true), None, "{kind}");
    }
}

#[test]
fn an_announced_deletion_changes_nothing_for_endpoints_yet() {
    let pod = |at, name: &str, op, manager| {
        unnamed(at, op, "Pod", name, manager)
            .owner("web")
            .labels(r#"{"app":"web"}"#)
    };
    let told = tell(&[
        unnamed(0, Create, "ReplicaSet", "web", KUBECTL),
        unnamed(1, Create, "Service", "shop", KUBECTL).selector(r#"{"app":"web"}"#),
        pod(20, "web-1", Create, MANAGER),
        pod(21, "web-2", Create, MANAGER),
        unnamed(30, Create, "EndpointSlice", "shop-a", MANAGER).owner("shop"),
        pod(9_000, "web-1", Update, None).changed(DELETION).going(),
        pod(9_040, "web-2", Update, None).changed(&["status", "conditions.DisruptionTarget"]),
        unnamed(9_050, Update, "EndpointSlice", "shop-a", MANAGER)
            .owner("shop")
            .changed(&["data"]),
    ]);
    assert_eq!(told.causes(7), [5]);
}

#[test]
fn what_removes_a_pod_from_a_node_may_hit_the_next_one_of_its_name() {
    // A uid that the name does not tell: the story takes names for uids, so the second Pod has the key of the first.
    let pod = |at, op, uid: &'static str, manager, node: &str| Line {
        uid: Some(uid),
        ..unnamed(at, op, "Pod", "db-0", manager).owner("db").on(node)
    };
    let story = |node, at| {
        tell(&[
            unnamed(0, Create, "StatefulSet", "db", KUBECTL),
            pod(20, Create, "first", MANAGER, "node-1"),
            unnamed(60_000, Update, "StatefulSet", "db", Some("kubectl-edit")).changed(SPEC),
            pod(60_020, Update, "first", None, "node-1")
                .changed(DELETION)
                .going(),
            pod(60_030, Delete, "first", None, "node-1").going(),
            pod(60_050, Create, "second", MANAGER, node),
            pod(at, Update, "second", None, node)
                .changed(DELETION)
                .going(),
        ])
    };
    assert_eq!(story("node-1", 64_000).causes(6), [3]);
    assert_eq!(story("node-2", 64_000).causes(6), [3]);
    let late = story("node-2", 66_000).class(6);
    assert_eq!(late, Some(RootClass::Client));
}
