//! Every evidence in a story of its own. Each story holds a newer change that has nothing to do with the
//! effect, so that "the newest before" is never right by itself.

mod cluster;
mod reconciles;
mod reported;
mod unnamed;

use super::change::Op::{Create, Delete, Update};
use super::evidence::Relation;
use super::output::RootClass;
use super::story::{Line, line, tell, tell_without};

const SPEC: &[&str] = &["spec", "metadata.generation"];
const STATUS: &[&str] = &["status"];
const DELETION: &[&str] = &["metadata.deletionTimestamp"];

/// Someone else's change, at the same time.
fn bystander(at: i64) -> Line {
    line(at, "curl", Create, "ConfigMap", &format!("bystander-{at}"))
}

#[test]
fn what_a_client_writes_is_a_root_however_recently_something_happened() {
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        line(10, "app-operator", Update, "App", "web").changed(STATUS),
        line(11, "kubectl", Update, "App", "web").changed(SPEC),
    ]);
    assert_eq!(told.class(0), Some(RootClass::Client));
    assert_eq!(told.class(1), None);
    assert_eq!(told.class(2), Some(RootClass::Client));
}

#[test]
fn an_unknown_operator_creates_what_an_object_owns() {
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        bystander(5),
        line(20, "app-operator", Create, "Deployment", "web-app").owner("web"),
        line(21, "app-operator", Create, "Service", "web-service").owner("web"),
    ]);
    assert_eq!(told.causes(2), [0]);
    assert_eq!(told.evidence(2), Some(Relation::Owner));
    assert_eq!(told.causes(3), [0], "the same reconcile, or the same owner");
}

#[test]
fn a_status_follows_what_the_object_owns() {
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        line(20, "app-operator", Create, "Deployment", "web-app").owner("web"),
        line(500, "kubelet", Update, "Deployment", "web-app")
            .owner("web")
            .changed(STATUS),
        bystander(505),
        line(520, "app-operator", Update, "App", "web").changed(STATUS),
    ]);
    assert_eq!(told.causes(4), [2]);
    assert_eq!(told.evidence(4), Some(Relation::Child));
}

#[test]
fn what_came_after_the_request_cannot_be_the_cause() {
    // The request for the status came in at 17, before the child's second change was committed at 18.
    let child = |at| {
        line(at, "kubelet", Update, "Deployment", "web-app")
            .owner("web")
            .changed(STATUS)
    };
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        line(5, "app-operator", Create, "Deployment", "web-app").owner("web"),
        child(10),
        child(18),
        line(20, "app-operator", Update, "App", "web").changed(STATUS),
    ]);
    assert!(!told.causes(4).contains(&3), "{:?}", told.causes(4));
}

#[test]
fn a_selector_ties_pods_to_services() {
    let labels = Some(r#"{"app":"web","tier":"front"}"#.to_owned());
    let pod = |at, op| Line {
        labels: labels.clone(),
        ..line(at, "kubelet", op, "Pod", "web-1").changed(STATUS)
    };
    let told = tell(&[
        Line {
            selector: Some(r#"{"app":"web"}"#.to_owned()),
            ..line(0, "kubectl", Create, "Service", "web")
        },
        line(
            20,
            "endpointslice-controller",
            Create,
            "EndpointSlice",
            "web-abc",
        )
        .owner("web"),
        Line {
            labels: labels.clone(),
            ..line(5_000, "kubectl", Create, "Pod", "web-1")
        },
        pod(5_400, Update),
        bystander(5_405),
        line(
            5_420,
            "endpointslice-controller",
            Update,
            "EndpointSlice",
            "web-abc",
        )
        .owner("web")
        .changed(&["data"]),
    ]);
    assert_eq!(told.causes(5).last(), Some(&3));
    assert_eq!(told.evidence(5), Some(Relation::Selector));
}

#[test]
fn endpoints_belong_to_the_service_of_their_name() {
    let endpoints = |at, op| Line {
        names: vec![("Service", "web".to_owned())],
        ..line(at, "endpoints-controller", op, "Endpoints", "web")
    };
    // Two kinds have one name: their objects need uids of their own, so the Service's is another.
    let mut service = line(0, "kubectl", Create, "Service", "web");
    service.selector = Some(r#"{"app":"web"}"#.to_owned());
    let told = tell(&[service, bystander(10), endpoints(20, Create)]);
    assert_eq!(told.causes(2), [0]);
}

#[test]
fn a_mention_by_uid_ties_claims_to_volumes() {
    let told = tell(&[
        line(0, "kubectl", Create, "PersistentVolumeClaim", "data"),
        line(1, "kubectl", Create, "PersistentVolume", "disk"),
        Line {
            related: vec!["data".to_owned()],
            ..line(5_000, "kube-scheduler", Update, "PersistentVolume", "disk").changed(SPEC)
        },
        bystander(5_010),
        line(
            5_020,
            "persistentvolume-binder",
            Update,
            "PersistentVolumeClaim",
            "data",
        )
        .changed(SPEC),
    ]);
    assert_eq!(told.causes(4), [2]);
    assert_eq!(told.evidence(4), Some(Relation::Uid));
}

#[test]
fn garbage_collection_follows_the_owners_deletion() {
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        line(20, "app-operator", Create, "Deployment", "web-app").owner("web"),
        line(9_000, "kubectl", Delete, "App", "web"),
        line(9_005, "kubelet", Update, "Deployment", "web-app")
            .owner("web")
            .changed(STATUS),
        line(
            9_030,
            "generic-garbage-collector",
            Delete,
            "Deployment",
            "web-app",
        )
        .owner("web"),
    ]);
    assert_eq!(told.causes(4), [2]);
    assert_eq!(told.evidence(4), Some(Relation::Deletion));
}

#[test]
fn a_namespace_takes_its_content_along() {
    let told = tell(&[
        line(0, "kubectl", Create, "Namespace", "shop"),
        line(10, "kubectl", Create, "ConfigMap", "settings"),
        Line {
            deleting: true,
            ..line(5_000, "kubectl", Update, "Namespace", "shop").changed(DELETION)
        },
        line(
            10_000,
            "namespace-controller",
            Delete,
            "ConfigMap",
            "settings",
        ),
    ]);
    assert_eq!(told.causes(3), [2]);
    assert_eq!(told.evidence(3), Some(Relation::Deletion));
}

#[test]
fn an_end_that_waits_for_what_the_object_owns_follows_the_last_of_it() {
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        line(20, "app-operator", Create, "Deployment", "web-app").owner("web"),
        line(21, "app-operator", Create, "Service", "web-service").owner("web"),
        Line {
            deleting: true,
            ..line(5_000, "kubectl", Update, "App", "web").changed(DELETION)
        },
        line(5_030, "app-operator", Delete, "Service", "web-service").owner("web"),
        line(6_000, "app-operator", Delete, "Deployment", "web-app").owner("web"),
        bystander(6_010),
        Line {
            deleting: true,
            ..line(6_020, "app-operator", Delete, "App", "web")
        },
    ]);
    assert_eq!(told.causes(7), [3, 5]);
}

#[test]
fn the_end_of_an_object_follows_the_request_to_delete_it() {
    let told = tell(&[
        line(0, "kubectl", Create, "Pod", "web-1"),
        Line {
            deleting: true,
            ..line(5_000, "kubectl", Update, "Pod", "web-1").changed(DELETION)
        },
        bystander(5_020),
        Line {
            deleting: true,
            ..line(5_030, "kubelet", Delete, "Pod", "web-1")
        },
    ]);
    assert_eq!(told.causes(3), [1]);
    assert_eq!(told.evidence(3), Some(Relation::Deletion));
}

#[test]
fn a_finalizer_that_is_removed_last_lets_an_object_go() {
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        Line {
            deleting: true,
            ..line(5_000, "kubectl", Update, "App", "web").changed(DELETION)
        },
        Line {
            deleting: true,
            ..line(5_100, "app-operator", Update, "App", "web").changed(&["metadata.finalizers"])
        },
        Line {
            deleting: true,
            ..line(5_110, "kube-apiserver", Delete, "App", "web")
        },
    ]);
    assert_eq!(told.causes(2), [1]);
    assert!(told.causes(3).contains(&2));
}

#[test]
fn a_lease_that_ran_out_is_a_root() {
    let told = tell(&[
        bystander(0),
        Line {
            actor: None,
            leased: true,
            called: false,
            ..line(10, "", Delete, "Event", "old")
        },
    ]);
    assert_eq!(told.class(1), Some(RootClass::Lease));
}

#[test]
fn heartbeats_are_timers() {
    let told = tell(&[
        line(0, "kubelet", Create, "Node", "node-1"),
        line(10_000, "kubelet", Update, "Node", "node-1").changed(STATUS),
        Line {
            group: "coordination.k8s.io",
            ..line(10_001, "kubelet", Update, "Lease", "node-1-lease").changed(SPEC)
        },
    ]);
    assert_eq!(told.class(1), Some(RootClass::Timer));
    assert_eq!(told.class(2), Some(RootClass::Timer));
}

#[test]
fn a_schedule_is_a_timer() {
    let cron_job = Line {
        group: "batch",
        ..line(0, "kubectl", Create, "CronJob", "nightly")
    };
    let told = tell(&[
        cron_job,
        Line {
            group: "batch",
            ..line(60_000, "cronjob-controller", Create, "Job", "nightly-1").owner("nightly")
        },
        line(60_020, "job-controller", Create, "Pod", "nightly-1-x").owner("nightly-1"),
    ]);
    assert_eq!(told.class(1), Some(RootClass::Timer));
    assert_eq!(told.causes(2), [1]);
}

#[test]
fn a_binding_that_names_nobody_follows_the_pod() {
    let told = tell(&[
        line(0, "kubectl", Create, "Pod", "web-1"),
        bystander(10),
        Line {
            actor: None,
            node: Some("node-1".to_owned()),
            ..line(20, "", Update, "Pod", "web-1").changed(SPEC)
        },
    ]);
    assert_eq!(told.causes(2), [0]);
    let actor = told.changes.row(2).unwrap().actor;
    assert_eq!(told.changes.actor(actor), Some("kube-scheduler"));
}

#[test]
fn an_event_follows_what_it_is_about() {
    let told = tell(&[
        line(0, "kubectl", Create, "Pod", "web-1"),
        Line {
            node: Some("node-1".to_owned()),
            ..line(20, "kube-scheduler", Update, "Pod", "web-1").changed(SPEC)
        },
        bystander(22),
        Line {
            related: vec!["web-1".to_owned()],
            reason: Some("Scheduled"),
            ..line(25, "kube-scheduler", Create, "Event", "web-1.1")
        },
    ]);
    assert_eq!(told.causes(3), [1]);
    assert_eq!(told.evidence(3), Some(Relation::Uid));
}

#[test]
fn nothing_reacts_to_events() {
    let told = tell(&[
        line(0, "kubectl", Create, "App", "web"),
        Line {
            related: vec!["web".to_owned()],
            ..line(10, "app-operator", Create, "Event", "web.1")
        },
        line(20, "app-operator", Update, "App", "web").changed(STATUS),
    ]);
    assert_eq!(told.causes(2), [0]);
}

#[test]
fn a_generation_that_was_not_seen_yet_is_no_cause() {
    // The loop is still busy with generation 1 when the user changes the spec: the status it writes at the
    // end says so.
    let told = tell(&[
        Line {
            generation: Some(1),
            ..line(0, "kubectl", Create, "App", "web")
        },
        line(20, "app-operator", Create, "Deployment", "web-a").owner("web"),
        Line {
            generation: Some(2),
            ..line(25, "kubectl", Update, "App", "web").changed(SPEC)
        },
        line(40, "app-operator", Create, "Deployment", "web-b").owner("web"),
        Line {
            generation: Some(2),
            observed: Some(1),
            ..line(50, "app-operator", Update, "App", "web").changed(STATUS)
        },
        line(70, "app-operator", Create, "Deployment", "web-c").owner("web"),
        Line {
            generation: Some(2),
            observed: Some(2),
            ..line(80, "app-operator", Update, "App", "web").changed(STATUS)
        },
    ]);
    assert_eq!(told.causes(3), [0]);
    assert_eq!(told.causes(5), [2]);
}

#[test]
fn a_rollout_follows_the_wish_even_where_readiness_sets_the_pace() {
    let pod = |at, name: &str| {
        line(at, "kubelet", Update, "Pod", name)
            .owner("set")
            .changed(&["status", "conditions.Ready"])
    };
    let told = tell(&[
        Line {
            generation: Some(1),
            ..line(0, "kubectl", Create, "StatefulSet", "set")
        },
        line(20, "statefulset-controller", Create, "Pod", "set-0").owner("set"),
        Line {
            generation: Some(1),
            observed: Some(1),
            ..line(25, "statefulset-controller", Update, "StatefulSet", "set").changed(STATUS)
        },
        Line {
            generation: Some(2),
            ..line(1_000, "kubectl", Update, "StatefulSet", "set").changed(SPEC)
        },
        Line {
            generation: Some(2),
            observed: Some(2),
            ..line(
                1_020,
                "statefulset-controller",
                Update,
                "StatefulSet",
                "set",
            )
            .changed(STATUS)
        },
        pod(3_000, "set-0"),
        line(3_020, "statefulset-controller", Create, "Pod", "set-1").owner("set"),
    ]);
    assert_eq!(told.causes(6), [3, 5]);
}

#[test]
fn a_cause_must_exist_but_is_not_in_the_trace() {
    let told = tell(&[line(0, "app-operator", Create, "Deployment", "web-app").owner("web")]);
    assert_eq!(told.class(0), Some(RootClass::Orphan));
}

/// Names count only where Kubernetes itself links by name, so others can be exchanged.
#[test]
fn edges_do_not_depend_on_names() {
    let story = |app: &str, child: &str, pod: &str| {
        [
            line(0, "kubectl", Create, "App", app),
            line(20, "app-operator", Create, "Deployment", child).owner(app),
            line(30, "app-operator", Create, "Pod", pod).owner(child),
            line(300, "kubelet", Update, "Pod", pod)
                .owner(child)
                .changed(STATUS),
            line(320, "app-operator", Update, "Deployment", child)
                .owner(app)
                .changed(STATUS),
            line(340, "app-operator", Update, "App", app).changed(STATUS),
        ]
    };
    let edges = |told: &super::story::Told| -> Vec<_> {
        (0..6)
            .map(|change| told.graph.edges(change).collect::<Vec<_>>())
            .collect()
    };
    let plain = tell(&story("web", "web-1", "web-1-x"));
    let renamed = tell(&story("k", "zzz", "aaa"));
    assert_eq!(edges(&plain), edges(&renamed));
    assert_eq!(plain.causes(5), [4]);
}

#[test]
fn evidence_can_be_switched_off() {
    let story = [
        line(0, "kubectl", Create, "App", "web"),
        line(20, "app-operator", Create, "Deployment", "web-app").owner("web"),
    ];
    assert_eq!(tell_without("child", &story).causes(1), [0]);
    assert!(tell_without("owner", &story).causes(1).is_empty());
    let spans = tell_without("spans", &story);
    assert_eq!(spans.changes.row(1).unwrap().actor, super::NONE);
}

/// The ReplicaSet that is made second is for the newest template, so the first was for the one before, although the newest
/// had been committed by then.
#[test]
fn what_is_made_for_each_wish_tells_which_wish_was_read() {
    let app = |at, generation, op| Line {
        generation: Some(generation),
        ..line(at, "kubectl", op, "App", "web").changed(SPEC)
    };
    let made = |at, name: &str| line(at, "app-operator", Create, "Deployment", name).owner("web");
    let mut story = vec![
        app(0, 1, Create),
        made(20, "web-a"),
        Line {
            observed: Some(1),
            generation: Some(1),
            ..line(40, "app-operator", Update, "App", "web").changed(STATUS)
        },
        app(5_000, 2, Update),
        app(5_080, 3, Update),
        made(5_100, "web-b"),
        made(5_140, "web-c"),
        Line {
            observed: Some(3),
            generation: Some(3),
            ..line(5_160, "app-operator", Update, "App", "web").changed(STATUS)
        },
    ];
    // Elsewhere it makes one for each wish.
    for at in (10_000..30_000).step_by(1_000) {
        let (app, made) = (format!("app-{at}"), format!("made-{at}"));
        story.push(line(at, "kubectl", Create, "App", &app));
        story.push(line(at + 20, "app-operator", Create, "Deployment", &made).owner(&app));
    }
    let told = tell(&story);
    assert_eq!(told.causes(5), [3]);
    assert!(told.causes(6).contains(&4));
}
