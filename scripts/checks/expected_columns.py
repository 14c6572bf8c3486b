"""What the columns of a trace must hold for an object, computed from the object as the API serves it.

Written apart from the decoder, from the documentation of the columns and of the API, so that the two
check each other: the decoder reads stored bytes, this the JSON of `kubectl get`.
"""

import json
import re
from datetime import datetime, timezone

UID = re.compile(r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
UID_FIELD = re.compile(r"(^uid|[^a-zA-Z0-9]uid|[a-z0-9]Uid|(?<!U)UID)s?$")
CLUSTER_SCOPED = {
    "APIService", "CSIDriver", "ClusterRole", "ClusterTrustBundle", "CustomResourceDefinition", "DeviceClass",
    "IngressClass", "MutatingAdmissionPolicy", "Namespace", "Node", "PersistentVolume", "PriorityClass",
    "PriorityLevelConfiguration", "RuntimeClass", "StorageClass", "ValidatingAdmissionPolicy", "VolumeAttributesClass",
}
STATELESS_VOLUMES = {"secret", "configMap", "downwardAPI", "emptyDir", "projected"}
COUNTS = {
    "Deployment": ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"),
    "StatefulSet": ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"),
    "ReplicaSet": ("replicas", None, "readyReplicas", "availableReplicas"),
    "ReplicationController": ("replicas", None, "readyReplicas", "availableReplicas"),
    "DaemonSet": ("currentNumberScheduled", "updatedNumberScheduled", "numberReady", "numberAvailable"),
}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def moment(text):
    """A time as a number that does not depend on how it is written."""
    if text is None:
        return None
    parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=timezone.utc)
    return round(parsed.timestamp() * 1_000_000)


def at(node, *path):
    """The value at the end of a path, or None."""
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    return node


def expected(obj, group):
    """Column name -> value, for the columns that a served object determines."""
    metadata, spec, status = obj["metadata"], obj.get("spec"), obj.get("status")
    kind, namespace = obj["kind"], metadata.get("namespace")
    owners = [
        {
            "api_version": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["name"],
            "uid": owner["uid"],
            "controller": owner.get("controller", False),
        }
        for owner in metadata.get("ownerReferences", [])
    ]
    annotations = {
        key: value
        for key, value in metadata.get("annotations", {}).items()
        if key != LAST_APPLIED and len(value.encode()) <= 256
    }
    counts = COUNTS.get(kind) if group in ("", "apps") else None
    found = [at(status, name) if name else None for name in counts or COUNTS["Deployment"]]
    if counts:
        found = [value if value is not None or name is None else 0 for name, value in zip(counts, found)]
    columns = {
        "api_group": group,
        "kind": kind,
        "namespace": namespace,
        "name": metadata["name"],
        "uid": metadata.get("uid"),
        "generation": metadata.get("generation"),
        "observed_generation": at(status, "observedGeneration"),
        "creation_time": moment(metadata.get("creationTimestamp")),
        "deletion_time": moment(metadata.get("deletionTimestamp")),
        "finalizers": metadata.get("finalizers", []),
        "owners": owners,
        "related_uids": related_uids(obj, owners),
        "name_refs": name_refs(obj, group),
        "labels": metadata.get("labels", {}),
        "annotations": annotations,
        "node_name": at(spec, "nodeName"),
        "phase": at(status, "phase"),
        "conditions": conditions(status),
        "replicas": found[0],
        "updated_replicas": found[1],
        "ready_replicas": found[2],
        "available_replicas": found[3],
        "containers": None,
        "stateful": None,
    }
    columns["selector"], columns["selector_exact"] = selector(at(spec, "selector"))
    if (group, kind) == ("discovery.k8s.io", "EndpointSlice"):
        endpoints = obj.get("endpoints") or []
        columns["ready_replicas"] = sum(at(each, "conditions", "ready") is not False for each in endpoints)
    if (group, kind) == ("", "Pod"):
        columns["containers"] = containers(status)
        columns["stateful"] = any(not STATELESS_VOLUMES & set(volume) for volume in spec.get("volumes", []))
    return columns


def writers(obj):
    """managedFields as the column `writers` holds them, all entries."""
    return [
        {
            "manager": entry["manager"],
            "operation": entry["operation"],
            "subresource": entry.get("subresource"),
            "time": moment(entry.get("time")),
        }
        for entry in obj["metadata"].get("managedFields", [])
    ]


def conditions(status):
    """status.conditions as the column holds them."""
    if not isinstance(status, dict):
        return None
    return [
        {
            "type": each["type"],
            "status": each["status"],
            "reason": each.get("reason") or None,
            "last_transition_time": moment(each.get("lastTransitionTime")),
        }
        for each in status.get("conditions") or []
    ]


def containers(status):
    """Container statuses of a Pod as the column holds them."""
    return [
        {
            "name": each["name"],
            "init": init,
            "started": each.get("started"),
            "ready": each["ready"],
            "restarts": each["restartCount"],
        }
        for field, init in (("initContainerStatuses", True), ("containerStatuses", False))
        for each in status.get(field, [])
    ]


def selector(found):
    """spec.selector's equality part, and whether that is all."""
    if not isinstance(found, dict):
        return None, None
    if "matchLabels" in found or "matchExpressions" in found:
        return found.get("matchLabels", {}), not found.get("matchExpressions")
    return found, True


def fields_of(node, field=""):
    """Yields (name of the field it stands in, value) of everything in an object, lists unfolded."""
    if isinstance(node, list):
        for item in node:
            yield from fields_of(item, field)
    else:
        yield field, node
        if isinstance(node, dict) and field != "openAPIV3Schema":
            for key, value in node.items():
                yield from fields_of(value, key)


def content(obj):
    """The parts of an object in which references are looked for."""
    hidden = {"metadata", "apiVersion", "kind"}
    if obj["kind"] in ("Secret", "ConfigMap", "ControllerRevision"):
        hidden |= {"data", "binaryData", "stringData"}
    return {key: value for key, value in obj.items() if key not in hidden}


def related_uids(obj, owners):
    """Uids of other objects, sorted."""
    metadata = obj["metadata"]
    places = [content(obj), metadata.get("labels", {}), metadata.get("annotations", {})]
    found = {
        value
        for place in places
        for field, value in fields_of(place)
        if isinstance(value, str) and UID_FIELD.search(field) and UID.match(value)
    }
    uncounted = at(obj, "status", "uncountedTerminatedPods") or {}
    found |= {uid for uids in uncounted.values() for uid in uids}
    return sorted(found - {metadata.get("uid")} - {owner["uid"] for owner in owners})


BY_FIELD = {
    "claimName": "PersistentVolumeClaim", "secretName": "Secret", "serviceAccountName": "ServiceAccount",
    "storageClassName": "StorageClass", "priorityClassName": "PriorityClass", "runtimeClassName": "RuntimeClass",
    "ingressClassName": "IngressClass", "volumeAttributesClassName": "VolumeAttributesClass",
    "persistentVolumeName": "PersistentVolume", "resourceClaimName": "ResourceClaim",
    "resourceClaimTemplateName": "ResourceClaimTemplate", "deviceClassName": "DeviceClass", "configMapName": "ConfigMap",
}
BY_FIELD_BUILT_IN = {"serviceName": "Service", "volumeName": "PersistentVolume", "podName": "Pod"}
BY_MAP = {
    "configMap": "ConfigMap", "configMapRef": "ConfigMap", "configMapKeyRef": "ConfigMap", "secret": "Secret",
    "secretRef": "Secret", "secretKeyRef": "Secret", "imagePullSecrets": "Secret",
}
BY_MAP_BUILT_IN = {"service": "Service", "secrets": "Secret", "priorityLevelConfiguration": "PriorityLevelConfiguration"}


def is_built_in(group):
    """Whether a group is Kubernetes' own."""
    return group.endswith(".k8s.io") or "." not in group


def name_refs(obj, group):
    """References by name only, as a sorted list of (kind, namespace, name)."""
    metadata, kind = obj["metadata"], obj["kind"]
    built_in = is_built_in(group)
    by_field = BY_FIELD | (BY_FIELD_BUILT_IN if built_in else {})
    by_map = BY_MAP | (BY_MAP_BUILT_IN if built_in else {})
    found = set()

    def add(to, name, namespace=None):
        if name:
            found.add((to, None if to in CLUSTER_SCOPED else namespace or metadata.get("namespace"), name))

    for field, value in fields_of(content(obj)):
        if isinstance(value, str):
            if field in by_field:
                add(by_field[field], value)
            elif field == "policyName" and built_in:
                add(kind.removesuffix("Binding"), value)
        elif isinstance(value, dict) and isinstance(value.get("name"), str) and not UID.match(str(value.get("uid", ""))):
            stated = value.get("kind")
            if isinstance(stated, str) and stated[:1].isupper() and stated not in ("User", "Group"):
                add(stated, value["name"], value.get("namespace"))
            elif field in by_map or field.endswith("SecretRef"):
                add(by_map.get(field, "Secret"), value["name"], value.get("namespace"))
            elif field == "parentRef" and value.get("resource") == "services":
                add("Service", value["name"], value.get("namespace"))
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    if kind == "EndpointSlice":
        add("Service", labels.get("kubernetes.io/service-name"))
    if kind == "Endpoints":
        add("Service", metadata["name"])
    if kind == "PersistentVolumeClaim":
        add("Node", annotations.get("volume.kubernetes.io/selected-node"))
    if kind == "Secret":
        add("ServiceAccount", annotations.get("kubernetes.io/service-account.name"))
    return sorted(found, key=lambda ref: (ref[0], ref[1] or "", ref[2]))


def fact_differs(obj, path, value):
    """Whether a fact, by its path in the object, is not what the object says."""
    served = at(obj, *path.split("."))
    if isinstance(served, list):
        served = len(served)
    if served is None:
        return value not in (0, False)
    if isinstance(value, str) and isinstance(served, str) and re.match(r"^\d{4}-\d\d-\d\dT", value):
        return moment(value) != moment(served)
    return value != served


def canonical(name, value):
    """A column's value of a row, in the form that `expected` gives."""
    if value is None:
        return None
    if name in ("labels", "annotations", "selector", "facts"):
        return json.loads(value)
    if name in ("creation_time", "deletion_time"):
        return moment(value)
    if name == "name_refs":
        refs = [(ref["kind"], ref.get("namespace"), ref["name"]) for ref in value]
        return sorted(refs, key=lambda ref: (ref[0], ref[1] or "", ref[2]))
    times = {"writers": "time", "conditions": "last_transition_time"}
    fields = {
        "writers": ("manager", "operation", "subresource", "time"),
        "conditions": ("type", "status", "reason", "last_transition_time"),
        "containers": ("name", "init", "started", "ready", "restarts"),
    }
    if name in fields:
        return [
            {field: moment(item.get(field)) if field == times.get(name) else item.get(field) for field in fields[name]}
            for item in value
        ]
    return value


def filled_in_on_reading(obj, column, found):
    """Whether an object that nobody has updated yet lacks what kube-apiserver adds when it is read."""
    if (obj["kind"], column) == ("Job", "labels"):
        return found == {} and obj["metadata"]["labels"] == at(obj, "spec", "template", "metadata", "labels")
    return (obj["kind"], column, found) == ("PersistentVolumeClaim", "phase", None) and obj["status"]["phase"] == "Pending"


def differences(row, obj, group, all_writers):
    """Yields (column, found, expected) for each column of a row that differs from the object.

    `all_writers`: whether `writers` must hold every managedFields entry (as in `states`), or any of
    them (as in `changes`, where only the new ones stand).
    """
    if row.get("decode_error") is not None:
        yield "decode_error", row["decode_error"], None
    for name, value in expected(obj, group).items():
        found = canonical(name, row.get(name))
        if found != value and not filled_in_on_reading(obj, name, found):
            yield name, found, value
    found, known = canonical("writers", row.get("writers")) or [], writers(obj)
    if found != known if all_writers else any(writer not in known for writer in found):
        yield "writers", found, known
    for path, value in (canonical("facts", row.get("facts")) or {}).items():
        if fact_differs(obj, path, value):
            yield f"facts.{path}", value, at(obj, *path.split("."))
