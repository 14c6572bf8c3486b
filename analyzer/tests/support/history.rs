//! A cluster's history for tests, written change by change: dense revisions, versions as etcd
//! counts them, times as the test says.
#![allow(dead_code, unreachable_pub)] // each test binary uses a part

use cascade_proto::tables::{Change, Condition, Object, State};

use super::{change, delete, moment, state, update};

/// Changes in revision order.
#[derive(Default)]
pub struct History {
    /// The changes so far.
    pub changes: Vec<Change>,
    revision: i64,
}

impl History {
    /// An empty history whose first change gets the revision after `revision`.
    pub fn after(revision: i64) -> Self {
        Self {
            changes: Vec::new(),
            revision,
        }
    }

    /// Revision of the last change.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Loses so many revisions.
    pub fn skip(&mut self, revisions: i64) {
        self.revision += revisions;
    }

    /// Creates the object `millis` milliseconds into the hour.
    pub fn create(&mut self, millis: i64, object: Object) -> Change {
        let key = key(&object);
        self.push(millis, object, |revision| change(revision, &key))
    }

    /// Changes what `previous` left into `object`.
    pub fn update(&mut self, millis: i64, previous: &Change, object: Object) -> Change {
        self.push(millis, object, |revision| update(revision, previous))
    }

    /// Deletes what `previous` left.
    pub fn delete(&mut self, millis: i64, previous: &Change) -> Change {
        let object = previous.object.clone();
        self.push(millis, object, |revision| delete(revision, previous))
    }

    fn push(&mut self, millis: i64, object: Object, make: impl FnOnce(i64) -> Change) -> Change {
        self.revision += 1;
        let made = Change {
            seen: Some(moment(millis)),
            object,
            ..make(self.revision)
        };
        self.changes.push(made.clone());
        made
    }
}

/// An object that existed at `revision`, in its `version`th version, as the snapshot at
/// `snapshot_revision` shows it. The change it comes from is returned too, to go on from.
pub fn existing(snapshot_revision: i64, version: i64, object: Object) -> (State, Change) {
    let before = Change {
        version: Some(version),
        object: object.clone(),
        ..change(snapshot_revision, &key(&object))
    };
    (state(snapshot_revision, &before), before)
}

fn key(object: &Object) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "/registry/{}/{}/{}",
        part(&object.resource),
        part(&object.namespace),
        part(&object.name)
    )
}

/// An object of namespace `shop`.
pub fn object(api_group: &str, kind: &str, resource: &str, name: &str) -> Object {
    Object {
        api_group: Some(api_group.to_owned()),
        api_version: Some("v1".to_owned()),
        kind: Some(kind.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: Some("shop".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(format!("uid-{kind}-{name}")),
        ..Object::default()
    }
}

/// A Pod that nobody has looked at yet.
pub fn pod(name: &str) -> Object {
    Object {
        phase: Some("Pending".to_owned()),
        ..object("", "Pod", "pods", name)
    }
}

/// The Pod bound to a node.
pub fn scheduled(pod: &Object) -> Object {
    Object {
        node_name: Some("node-1".to_owned()),
        ..pod.clone()
    }
}

/// The Pod on a node in a phase.
pub fn in_phase(pod: &Object, phase: &str) -> Object {
    Object {
        phase: Some(phase.to_owned()),
        ..scheduled(pod)
    }
}

/// The Pod running, and ready or not.
pub fn running(pod: &Object, ready: bool) -> Object {
    let condition = |kind: &str, is_true: bool| Condition {
        kind: kind.to_owned(),
        status: if is_true { "True" } else { "False" }.to_owned(),
        ..Condition::default()
    };
    Object {
        conditions: Some(vec![
            condition("Initialized", true),
            condition("Ready", ready),
        ]),
        ..in_phase(pod, "Running")
    }
}

/// Counts of a Deployment's status.
#[derive(Clone, Copy)]
pub struct Rollout {
    /// metadata.generation.
    pub generation: i64,
    /// status.observedGeneration.
    pub observed: i64,
    /// spec.replicas.
    pub wanted: i64,
    /// status.replicas.
    pub replicas: i64,
    /// status.updatedReplicas.
    pub updated: i64,
    /// status.readyReplicas.
    pub ready: i64,
    /// status.availableReplicas.
    pub available: i64,
}

/// A Deployment with that status.
pub fn deployment(name: &str, rollout: Rollout) -> Object {
    Object {
        generation: Some(rollout.generation),
        observed_generation: Some(rollout.observed),
        replicas: Some(rollout.replicas),
        updated_replicas: Some(rollout.updated),
        ready_replicas: Some(rollout.ready),
        available_replicas: Some(rollout.available),
        facts: Some(format!("{{\"spec.replicas\":{}}}", rollout.wanted)),
        ..object("apps", "Deployment", "deployments", name)
    }
}

/// A Service.
pub fn service(name: &str) -> Object {
    object("", "Service", "services/specs", name)
}

/// An EndpointSlice of a Service.
pub fn slice(name: &str, service: &str, ready: i64) -> Object {
    Object {
        labels: Some(format!("{{\"kubernetes.io/service-name\":\"{service}\"}}")),
        ready_replicas: Some(ready),
        ..object("discovery.k8s.io", "EndpointSlice", "endpointslices", name)
    }
}

/// A node as kwok simulates it.
pub fn kwok_node(name: &str) -> Object {
    Object {
        namespace: None,
        annotations: Some("{\"kwok.x-k8s.io/node\":\"fake\"}".to_owned()),
        ..object("", "Node", "nodes", name)
    }
}
