//! The column `facts`: further scalars per kind, under their path in the API object.

use super::node::{Node, push_json_text};
use super::time::to_rfc3339;
use super::value::Value;

/// How a fact is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// A text, number or truth value; left out when absent.
    Scalar,
    /// A number that Kubernetes' JSON leaves out when it is 0.
    Count,
    /// A truth value that Kubernetes' JSON leaves out when it is false.
    Flag,
    /// A time; left out when absent.
    Time,
    /// The number of items in a list.
    Length,
}

use Read::{Count, Flag, Length, Scalar, Time};

/// The facts of a kind: paths as in the API, and how they are read.
fn facts_of(group: &str, kind: &str) -> &'static [(&'static str, Read)] {
    match (group, kind) {
        ("", "Pod") => &[
            ("spec.priority", Scalar),
            ("spec.restartPolicy", Scalar),
            ("spec.schedulerName", Scalar),
            ("spec.schedulingGates", Length),
            ("spec.terminationGracePeriodSeconds", Scalar),
            ("status.nominatedNodeName", Scalar),
            ("status.podIP", Scalar),
            ("status.qosClass", Scalar),
            ("status.reason", Scalar),
            ("status.startTime", Time),
        ],
        ("apps", "Deployment") => &[
            ("spec.minReadySeconds", Count),
            ("spec.paused", Flag),
            ("spec.replicas", Scalar),
            ("spec.strategy.type", Scalar),
            ("status.terminatingReplicas", Scalar),
            ("status.unavailableReplicas", Count),
        ],
        ("apps", "ReplicaSet") => &[
            ("spec.minReadySeconds", Count),
            ("spec.replicas", Scalar),
            ("status.fullyLabeledReplicas", Count),
            ("status.terminatingReplicas", Scalar),
        ],
        ("apps", "StatefulSet") => &[
            ("spec.minReadySeconds", Count),
            ("spec.podManagementPolicy", Scalar),
            ("spec.replicas", Scalar),
            ("spec.updateStrategy.type", Scalar),
            ("status.currentReplicas", Count),
            ("status.currentRevision", Scalar),
            ("status.updateRevision", Scalar),
        ],
        ("apps", "DaemonSet") => &[
            ("spec.minReadySeconds", Count),
            ("spec.updateStrategy.type", Scalar),
            ("status.desiredNumberScheduled", Count),
            ("status.numberMisscheduled", Count),
            ("status.numberUnavailable", Count),
        ],
        ("apps", "ControllerRevision") => &[("revision", Count)],
        ("", "ReplicationController") => &[
            ("spec.replicas", Scalar),
            ("status.fullyLabeledReplicas", Count),
        ],
        ("batch", "Job") => &[
            ("spec.activeDeadlineSeconds", Scalar),
            ("spec.backoffLimit", Scalar),
            ("spec.completionMode", Scalar),
            ("spec.completions", Scalar),
            ("spec.parallelism", Scalar),
            ("spec.suspend", Scalar),
            ("spec.ttlSecondsAfterFinished", Scalar),
            ("status.active", Count),
            ("status.completedIndexes", Scalar),
            ("status.completionTime", Time),
            ("status.failed", Count),
            ("status.ready", Scalar),
            ("status.startTime", Time),
            ("status.succeeded", Count),
            ("status.terminating", Scalar),
        ],
        ("batch", "CronJob") => &[
            ("spec.concurrencyPolicy", Scalar),
            ("spec.schedule", Scalar),
            ("spec.suspend", Scalar),
            ("spec.timeZone", Scalar),
            ("status.active", Length),
            ("status.lastScheduleTime", Time),
            ("status.lastSuccessfulTime", Time),
        ],
        ("autoscaling", "HorizontalPodAutoscaler") => &[
            ("spec.maxReplicas", Count),
            ("spec.minReplicas", Scalar),
            ("status.currentReplicas", Count),
            ("status.desiredReplicas", Count),
            ("status.lastScaleTime", Time),
        ],
        ("policy", "PodDisruptionBudget") => &[
            ("spec.maxUnavailable", Scalar),
            ("spec.minAvailable", Scalar),
            ("status.currentHealthy", Count),
            ("status.desiredHealthy", Count),
            ("status.disruptionsAllowed", Count),
            ("status.expectedPods", Count),
        ],
        ("", "Service") => &[
            ("spec.clusterIP", Scalar),
            ("spec.externalName", Scalar),
            ("spec.type", Scalar),
        ],
        ("discovery.k8s.io", "EndpointSlice") => &[("addressType", Scalar), ("endpoints", Length)],
        ("", "Node") => &[("spec.taints", Length), ("spec.unschedulable", Flag)],
        ("", "PersistentVolumeClaim") => &[
            ("spec.storageClassName", Scalar),
            ("spec.volumeName", Scalar),
        ],
        ("", "PersistentVolume") => &[
            ("spec.persistentVolumeReclaimPolicy", Scalar),
            ("spec.storageClassName", Scalar),
            ("status.reason", Scalar),
        ],
        ("", "Event") => &[
            ("action", Scalar),
            ("count", Count),
            ("eventTime", Time),
            ("firstTimestamp", Time),
            ("involvedObject.kind", Scalar),
            ("involvedObject.name", Scalar),
            ("involvedObject.namespace", Scalar),
            ("lastTimestamp", Time),
            ("reason", Scalar),
            ("reportingComponent", Scalar),
            ("series.count", Scalar),
            ("source.component", Scalar),
            ("type", Scalar),
        ],
        ("", "ConfigMap") => &[("immutable", Scalar)],
        ("", "Secret") => &[("immutable", Scalar), ("type", Scalar)],
        ("coordination.k8s.io", "Lease") => &[
            ("spec.acquireTime", Time),
            ("spec.holderIdentity", Scalar),
            ("spec.leaseDurationSeconds", Scalar),
            ("spec.leaseTransitions", Scalar),
            ("spec.renewTime", Time),
        ],
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            &[("spec.signerName", Scalar), ("spec.username", Scalar)]
        }
        ("storage.k8s.io", "StorageClass") => &[
            ("provisioner", Scalar),
            ("reclaimPolicy", Scalar),
            ("volumeBindingMode", Scalar),
        ],
        ("storage.k8s.io", "VolumeAttachment") => {
            &[("spec.attacher", Scalar), ("status.attached", Flag)]
        }
        ("scheduling.k8s.io", "PriorityClass") => &[("value", Count)],
        ("networking.k8s.io", "IngressClass") => &[("spec.controller", Scalar)],
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &[
            ("spec.group", Scalar),
            ("spec.names.kind", Scalar),
            ("spec.names.plural", Scalar),
            ("spec.scope", Scalar),
        ],
        _ => &[],
    }
}

/// The facts of a value as a JSON object; `None` when its kind has none.
pub(super) fn facts(value: &Value<'_>) -> Option<String> {
    let facts = facts_of(value.group()?, value.kind.as_deref()?);
    let mut json = String::new();
    for (path, read) in facts {
        let node = find(value, path);
        let before = json.len();
        json.push(if json.is_empty() { '{' } else { ',' });
        push_json_text(&mut json, path);
        json.push(':');
        if push_fact(&mut json, node, *read).is_none() {
            json.truncate(before);
        }
    }
    if json.is_empty() {
        return None;
    }
    json.push('}');
    Some(json)
}

fn find<'v, 'a>(value: &'v Value<'a>, path: &str) -> Option<&'v Node<'a>> {
    let mut segments = path.split('.');
    let first = value.object.get(segments.next()?)?;
    segments.try_fold(first, |node, segment| node.get(segment))
}

/// Adds a fact's value; `None` when there is none.
fn push_fact(json: &mut String, node: Option<&Node<'_>>, read: Read) -> Option<()> {
    match read {
        Scalar => push_scalar(json, node?),
        Count => push_scalar(
            json,
            &Node::Integer(node.and_then(Node::integer).unwrap_or(0)),
        ),
        Flag => push_scalar(json, &Node::Bool(node.and_then(Node::bool) == Some(true))),
        Time => {
            push_json_text(json, &to_rfc3339(node?.time()?));
            Some(())
        }
        Length => {
            let length = node.map_or(0, |node| node.items().len());
            push_scalar(json, &Node::Integer(i64::try_from(length).ok()?))
        }
    }
}

fn push_scalar(json: &mut String, node: &Node<'_>) -> Option<()> {
    use std::fmt::Write as _;
    match node {
        Node::Text(text) if !text.is_empty() => push_json_text(json, text),
        // Writing to a String cannot fail.
        Node::Integer(number) => drop(write!(json, "{number}")),
        Node::Bool(flag) => drop(write!(json, "{flag}")),
        _ => return None,
    }
    Some(())
}
