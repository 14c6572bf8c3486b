//! Annotations that Kubernetes' own controllers copy from an object to what they make for it.
//!
//! Such a copy says that the owner carried the CPID, not that the owner's last change was due to it: a
//! Deployment keeps the annotation of a change long past while others change it. So a copied CPID is
//! inherited, unless the controller is known to maintain CPIDs.

use bytemuck::{Pod, Zeroable};

/// A kind of object that gets its owner's annotations, or those of the template in the owner.
struct Copy {
    api_group: &'static str,
    kind: &'static str,
    owner_kind: &'static str,
    /// The controller's name, as its user agent ends.
    controller: &'static str,
}

const fn copy(
    api_group: &'static str,
    kind: &'static str,
    owner_kind: &'static str,
    controller: &'static str,
) -> Copy {
    Copy {
        api_group,
        kind,
        owner_kind,
        controller,
    }
}

/// Read in Kubernetes' sources: all annotations of a Deployment at each sync, those of StatefulSets and
/// DaemonSets when a revision is made, those of Endpoints when they are mirrored; of the others the
/// annotations of the template.
const COPIES: [Copy; 10] = [
    copy("apps", "ReplicaSet", "Deployment", "deployment-controller"),
    copy(
        "apps",
        "ControllerRevision",
        "StatefulSet",
        "statefulset-controller",
    ),
    copy(
        "apps",
        "ControllerRevision",
        "DaemonSet",
        "daemon-set-controller",
    ),
    copy(
        "discovery.k8s.io",
        "EndpointSlice",
        "Endpoints",
        "endpointslicemirroring-controller",
    ),
    copy("", "Pod", "ReplicaSet", "replicaset-controller"),
    copy("", "Pod", "ReplicationController", "replication-controller"),
    copy("", "Pod", "StatefulSet", "statefulset-controller"),
    copy("", "Pod", "DaemonSet", "daemon-set-controller"),
    copy("", "Pod", "Job", "job-controller"),
    copy("batch", "Job", "CronJob", "cronjob-controller"),
];

/// The field manager of all of them.
const CONTROLLER_MANAGER: &str = "kube-controller-manager";

/// Controller of Kubernetes itself that copies annotations to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(super) struct Copier(
    /// Index into the copies plus one.
    u8,
);

impl Copier {
    /// Nobody copies to such an object.
    pub(super) const NONE: Self = Self(0);

    /// The one that copies annotations to an object of this kind from its controlling owner.
    pub(super) fn of(api_group: &str, kind: &str, owner_kind: &str) -> Self {
        let object = (api_group, kind, owner_kind);
        let is_of = |copy: &Copy| (copy.api_group, copy.kind, copy.owner_kind) == object;
        let index = COPIES.iter().position(is_of);
        Self(index.map_or(0, |index| u8::try_from(index + 1).unwrap_or(0)))
    }

    /// Its name.
    pub(super) fn controller(self) -> Option<&'static str> {
        let index = usize::from(self.0).checked_sub(1)?;
        Some(COPIES.get(index)?.controller)
    }
}

/// Whether a write by `actor` to an object that `copier` makes is that controller's. A write of an unknown
/// actor is taken for one: what is not known to be reported is not.
pub(super) fn is_copier(actor: Option<&str>, copier: &str) -> bool {
    actor.is_none_or(|actor| actor == copier || actor == CONTROLLER_MANAGER)
}
