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
    let actor = told.changes.rows()[change].actor;
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

fn daemon_set_of_one_pod(outdated: bool) -> Told {
    tell(&[
        Line {
            group: "apps",
            ..unnamed(0, Create, "DaemonSet", "agent", KUBECTL)
        },
        unnamed(20, Create, "Pod", "agent-1", MANAGER)
            .owner("agent")
            .on("node-1"),
        unnamed(400, Update, "Pod", "agent-1", Some("kubelet"))
            .owner("agent")
            .changed(&["status", "conditions.Ready"])
            .on("node-1"),
        Line {
            group: "apps",
            outdated,
            ..unnamed(420, Update, "DaemonSet", "agent", MANAGER).changed(STATUS)
        },
        unnamed(500, Update, "Pod", "agent-1", None)
            .owner("agent")
            .changed(DELETION)
            .on("node-1")
            .going(),
    ])
}

#[test]
fn only_an_unfinished_rollout_replaces_pods() {
    assert_eq!(
        daemon_set_of_one_pod(false).class(4),
        Some(RootClass::Client)
    );
    assert_eq!(daemon_set_of_one_pod(true).class(4), None);
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
