//! Stories of what many share: Nodes, quotas, roles; and of claims.

use super::{DELETION, SPEC, STATUS, bystander};
use crate::causality::kernel::change::Op::{Create, Delete, Update};
use crate::causality::kernel::evidence::Relation;
use crate::causality::kernel::output::RootClass;
use crate::causality::kernel::story::{Line, line, tell, tell_without};

const LABELS: &str = r#"{"app":"web"}"#;

fn daemon_set(at: i64, actor: &'static str, op: crate::causality::kernel::Op) -> Line {
    Line {
        group: "apps",
        ..line(at, actor, op, "DaemonSet", "agent")
    }
}

fn daemon_pod(at: i64, op: crate::causality::kernel::Op, name: &str, node: &str) -> Line {
    line(at, "daemon-set-controller", op, "Pod", name)
        .owner("agent")
        .on(node)
}

#[test]
fn pods_of_one_reconcile_follow_a_node_each() {
    let story = [
        daemon_set(0, "kubectl", Create),
        line(10_000, "kubectl", Create, "Node", "node-1"),
        line(10_005, "curl", Create, "Node", "node-2"),
        daemon_pod(11_000, Create, "agent-1", "node-1"),
        daemon_pod(11_001, Create, "agent-2", "node-2"),
    ];
    let told = tell(&story);
    assert_eq!(told.causes(3), [1]);
    assert_eq!(told.causes(4), [2]);
    assert_ne!(tell_without("content", &story).causes(4), [2]);
}

#[test]
fn a_pod_goes_with_its_node_unless_its_owner_was_changed_since() {
    let story = |owner_changed: i64| {
        let mut lines = vec![
            daemon_set(0, "kubectl", Create),
            line(10, "kubectl", Create, "Node", "node-1"),
            line(11, "kubectl", Create, "Node", "node-2"),
            daemon_pod(20, Create, "agent-1", "node-1"),
            daemon_pod(21, Create, "agent-2", "node-2"),
            line(30_000, "kubectl", Update, "Node", "node-1").changed(SPEC),
            line(30_001, "curl", Update, "Node", "node-2").changed(SPEC),
            daemon_set(owner_changed, "kubectl", Update).changed(SPEC),
            daemon_pod(31_000, Update, "agent-1", "node-1")
                .changed(DELETION)
                .going(),
            daemon_pod(31_001, Update, "agent-2", "node-2")
                .changed(DELETION)
                .going(),
        ];
        lines.sort_by_key(|line| line.at);
        lines
    };
    let told = tell(&story(25_000));
    assert_eq!(told.causes(8), [6], "the Node's change is the newer one");
    assert_eq!(told.causes(9), [7]);
    let told = tell(&story(30_900));
    assert_eq!(told.causes(8), [7], "the owner's change is the newer one");
}

/// What an owner of thousands of Pods has heard of does not crowd out what its Pod is for.
#[test]
fn a_full_inbox_hides_no_node() {
    let mut story = vec![
        daemon_set(0, "kubectl", Create),
        line(10, "kubectl", Create, "Node", "node-1"),
        daemon_pod(20, Create, "agent-1", "node-1"),
    ];
    for at in 1_000..1_100 {
        let status = line(at, "kubelet", Update, "Pod", "agent-1").owner("agent");
        story.push(status.changed(STATUS));
    }
    let node = story.len();
    story.push(line(2_000, "kubectl", Create, "Node", "node-2"));
    story.push(daemon_pod(2_100, Create, "agent-2", "node-2"));
    let told = tell(&story);
    let node = u32::try_from(node).unwrap();
    assert_eq!(told.causes(node + 1), [node]);
}

#[test]
fn a_quota_is_counted_inside_of_the_request_that_it_is_counted_for() {
    let told = tell(&[
        line(0, "kubectl", Create, "ResourceQuota", "quota"),
        line(5_000, "kubectl", Create, "ReplicaSet", "web"),
        line(5_020, "kube-apiserver", Update, "ResourceQuota", "quota").changed(STATUS),
        // An Event is not counted.
        Line {
            related: vec!["web".to_owned()],
            ..line(5_021, "replicaset-controller", Create, "Event", "web.1")
        },
        Line {
            // Its request came in at 5018.
            ..line(5_021, "replicaset-controller", Create, "Pod", "web-1").owner("web")
        },
    ]);
    assert_eq!(told.causes(4), [1]);
    assert_eq!(told.causes(2), [1]);
    assert_eq!(told.evidence(2), Some(Relation::Request));
}

#[test]
fn what_waited_for_a_quota_follows_its_raise() {
    let pod = |at, name: &str| line(at, "replicaset-controller", Create, "Pod", name).owner("web");
    let told = tell(&[
        line(0, "kubectl", Create, "ResourceQuota", "quota"),
        line(1_000, "kubectl", Create, "ReplicaSet", "web"),
        pod(1_020, "web-1"),
        line(1_030, "replicaset-controller", Update, "ReplicaSet", "web").changed(STATUS),
        line(60_000, "kubectl", Update, "ResourceQuota", "quota").changed(SPEC),
        bystander(99_900),
        pod(100_000, "web-2"),
        pod(100_004, "web-3"),
    ]);
    assert_eq!(told.causes(6), [4]);
    assert_eq!(told.causes(7), [4]);
}

#[test]
fn a_quota_is_counted_anew_when_something_is_gone() {
    let told = tell(&[
        line(0, "kubectl", Create, "ResourceQuota", "quota"),
        line(
            100,
            "resourcequota-controller",
            Update,
            "ResourceQuota",
            "quota",
        )
        .changed(STATUS),
        line(1_000, "kubectl", Create, "Pod", "web"),
        line(60_000, "kubectl", Delete, "Pod", "web"),
        bystander(60_100),
        line(
            60_200,
            "resourcequota-controller",
            Update,
            "ResourceQuota",
            "quota",
        )
        .changed(STATUS),
    ]);
    assert_eq!(told.causes(5), [3]);
}

#[test]
fn a_claim_is_made_for_the_object_whose_pods_have_its_labels() {
    let told = tell(&[
        line(0, "kubectl", Create, "StatefulSet", "db").selector(LABELS),
        line(40, "kubectl", Create, "PodDisruptionBudget", "budget").selector(LABELS),
        line(
            60,
            "statefulset-controller",
            Create,
            "PersistentVolumeClaim",
            "data-db-0",
        )
        .labels(LABELS),
        line(65, "statefulset-controller", Create, "Pod", "db-0")
            .owner("db")
            .labels(LABELS),
        line(90, "statefulset-controller", Update, "StatefulSet", "db").changed(STATUS),
    ]);
    assert_eq!(told.causes(2), [0]);
    assert_eq!(told.evidence(2), Some(Relation::Owner));
}

#[test]
fn roles_are_put_together_in_the_order_of_their_parts() {
    let role = |at, actor, op, name: &str| Line {
        group: "rbac.authorization.k8s.io",
        ..line(at, actor, op, "ClusterRole", name)
    };
    let aggregate =
        |at, name| role(at, "clusterrole-aggregation-controller", Update, name).changed(&["data"]);
    let told = tell(&[
        role(0, "kubectl", Create, "whole-1"),
        role(1, "kubectl", Create, "whole-2"),
        role(2, "kubectl", Create, "part-1").labels(r#"{"to":"1"}"#),
        role(3, "kubectl", Create, "part-2").labels(r#"{"to":"2"}"#),
        aggregate(20, "whole-1"),
        aggregate(21, "whole-2"),
        role(30_000, "kubectl", Update, "part-1")
            .labels(r#"{"to":"1"}"#)
            .changed(&["data"]),
        role(30_050, "kubectl", Update, "part-2")
            .labels(r#"{"to":"2"}"#)
            .changed(&["data"]),
        aggregate(30_100, "whole-1"),
        aggregate(30_101, "whole-2"),
    ]);
    assert_eq!(told.causes(8), [6]);
    assert_eq!(told.causes(9), [7]);
}

#[test]
fn what_is_bound_to_an_etcd_lease_is_renewed_by_the_clock() {
    let told = tell(&[
        Line {
            leased: true,
            ..line(0, "kube-apiserver", Create, "Endpoints", "192.0.2.1")
        },
        line(5_000, "kubectl", Create, "App", "web"),
        Line {
            leased: true,
            ..line(10_000, "kube-apiserver", Update, "Endpoints", "192.0.2.1").changed(STATUS)
        },
    ]);
    assert_eq!(told.class(2), Some(RootClass::Timer));
}

#[test]
fn a_deletion_ends_what_a_loop_was_about() {
    let pod =
        |at, changed: &[&'static str]| line(at, "kubelet", Update, "Pod", "web").changed(changed);
    let told = tell(&[
        line(0, "kubectl", Create, "Pod", "web"),
        pod(1_000, STATUS),
        line(3_000, "kubectl", Update, "Pod", "web")
            .changed(DELETION)
            .going(),
        pod(3_600, STATUS).going(),
    ]);
    assert_eq!(told.causes(3), [2]);
}

#[test]
fn what_is_to_go_already_does_not_go_because_of_its_owner() {
    let pod = |at, actor| {
        line(at, actor, Update, "Pod", "web-1")
            .owner("web")
            .changed(DELETION)
            .going()
    };
    let told = tell(&[
        line(0, "kubectl", Create, "ReplicaSet", "web"),
        line(20, "replicaset-controller", Create, "Pod", "web-1").owner("web"),
        line(5_000, "kubectl", Update, "ReplicaSet", "web").changed(SPEC),
        pod(5_020, "replicaset-controller"),
        line(5_100, "kubectl", Delete, "ReplicaSet", "web"),
        pod(5_120, "kubelet"),
    ]);
    assert_eq!(told.causes(3), [2]);
    assert_eq!(told.causes(5), [3], "less grace, asked for by the Node");
}
