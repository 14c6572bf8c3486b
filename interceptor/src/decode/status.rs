//! Columns from an object's spec and status.

use cascade_proto::tables::{Condition, Container, Object};

use super::metadata::{counted, owned};
use super::node::{Map, Node};
use super::value::Value;

/// Volumes that keep a Pod stateless: ClusterLoader2's rule for its pod start-up latencies.
const STATELESS_VOLUMES: &[&str] = &[
    "secret",
    "configMap",
    "downwardAPI",
    "emptyDir",
    "projected",
];

/// Fills in what spec and status say.
pub(super) fn fill(value: &Value<'_>, object: &mut Object) {
    let spec = value.object.get("spec").and_then(Node::map);
    let status = value.object.get("status").and_then(Node::map);
    let text =
        |part: Option<&Map<'_>>, name| part.and_then(|part| part.text(name)).map(str::to_owned);

    object.node_name = text(spec, "nodeName");
    object.phase = text(status, "phase");
    object.observed_generation =
        status.and_then(|status| counted(status.get("observedGeneration")));
    object.conditions = status.map(conditions);
    if let Some((selector, exact)) = spec.and_then(|spec| selector(value, spec.get("selector")?)) {
        object.selector = Some(selector);
        object.selector_exact = Some(exact);
    }
    fill_counts(value, status, object);

    if value.is("", "Pod") {
        object.containers = Some(status.map(containers).unwrap_or_default());
        object.stateful = Some(spec.is_some_and(is_stateful));
    }
}

/// The entries of status.conditions that have a type and a status.
pub(super) fn conditions(status: &Map<'_>) -> Vec<Condition> {
    let entries = status.get("conditions").map_or(&[][..], Node::items);
    let conditions = entries.iter().filter_map(|entry| {
        let entry = entry.map()?;
        Some(Condition {
            kind: entry.text("type")?.to_owned(),
            status: entry.text("status")?.to_owned(),
            reason: entry.text("reason").map(str::to_owned),
            last_transition_time: entry.get("lastTransitionTime").and_then(Node::time),
        })
    });
    conditions.collect()
}

/// The equality part of a selector, and whether that is all of it. Either a label selector or, as
/// in a Service, the labels themselves; in these kinds no labels are no selector.
fn selector(value: &Value<'_>, selector: &Node<'_>) -> Option<(String, bool)> {
    let selector = selector.map()?;
    let of_labels = value.is("", "Service") || value.is("", "ReplicationController");
    if of_labels && selector.0.is_empty() {
        return None;
    }
    let labels = selector.get("matchLabels").and_then(Node::map);
    let expressions = selector.get("matchExpressions");
    if labels.is_some() || matches!(expressions, Some(Node::List(_))) {
        let known = |name: &str| name == "matchLabels" || name == "matchExpressions";
        let exact = expressions.is_none_or(|expressions| expressions.items().is_empty())
            && selector.iter().all(|(name, _)| known(name));
        let json = labels.map_or_else(|| "{}".to_owned(), |map| map.texts_as_json(|_, _| true));
        return Some((json, exact));
    }
    let all_texts = selector.iter().all(|(_, node)| node.any_text().is_some());
    all_texts.then(|| (selector.texts_as_json(|_, _| true), true))
}

/// Names of a kind's counts in status: all replicas, updated, ready, available. Kubernetes' JSON
/// leaves some of them out when they are 0.
type CountNames = [Option<&'static str>; 4];

const ALL_COUNTS: CountNames = [
    Some("replicas"),
    Some("updatedReplicas"),
    Some("readyReplicas"),
    Some("availableReplicas"),
];

fn count_names(value: &Value<'_>) -> Option<CountNames> {
    let [replicas, _, ready, available] = ALL_COUNTS;
    match (value.group()?, value.kind.as_deref()?) {
        ("apps", "Deployment" | "StatefulSet") => Some(ALL_COUNTS),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            Some([replicas, None, ready, available])
        }
        ("apps", "DaemonSet") => Some([
            Some("currentNumberScheduled"),
            Some("updatedNumberScheduled"),
            Some("numberReady"),
            Some("numberAvailable"),
        ]),
        _ => None,
    }
}

fn fill_counts(value: &Value<'_>, status: Option<&Map<'_>>, object: &mut Object) {
    let known = count_names(value);
    let count = |name: Option<&str>| -> Option<i64> {
        let found = status?.get(name?).and_then(Node::integer);
        found.or(known.map(|_| 0))
    };
    let [replicas, updated, ready, available] = known.unwrap_or(ALL_COUNTS);
    object.replicas = count(replicas);
    object.updated_replicas = count(updated);
    object.ready_replicas = count(ready);
    object.available_replicas = count(available);

    if value.is("discovery.k8s.io", "EndpointSlice") {
        let endpoints = value.object.get("endpoints").map_or(&[][..], Node::items);
        let ready = endpoints.iter().filter(|endpoint| {
            // The API: an unset condition is to be taken for ready.
            endpoint.at(&["conditions", "ready"]).and_then(Node::bool) != Some(false)
        });
        object.ready_replicas = i64::try_from(ready.count()).ok();
    }
}

/// Statuses of init containers, then of containers; of ephemeral ones none.
fn containers(status: &Map<'_>) -> Vec<Container> {
    let mut containers = Vec::new();
    for (field, init) in [
        ("initContainerStatuses", true),
        ("containerStatuses", false),
    ] {
        let statuses = status.get(field).map_or(&[][..], Node::items);
        containers.extend(statuses.iter().filter_map(Node::map).map(|status| {
            let restarts = status.get("restartCount").and_then(Node::integer);
            Container {
                name: owned(status, "name"),
                init,
                started: status.get("started").and_then(Node::bool),
                ready: status.get("ready").and_then(Node::bool) == Some(true),
                restarts: restarts.map_or(0, |count| i32::try_from(count).unwrap_or(i32::MAX)),
            }
        }));
    }
    containers
}

fn is_stateful(spec: &Map<'_>) -> bool {
    let volumes = spec.get("volumes").map_or(&[][..], Node::items);
    volumes.iter().filter_map(Node::map).any(|volume| {
        !STATELESS_VOLUMES
            .iter()
            .any(|source| volume.get(source).is_some())
    })
}
