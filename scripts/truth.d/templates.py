"""Manifests of the mixes. Pods are kwok's, with short delays, as in workloads/."""

from driver import MARK

DELAYS = {
    "pod-create.stage.kwok.x-k8s.io/delay": "100ms",
    "pod-create.stage.kwok.x-k8s.io/jitter-delay": "500ms",
    "pod-ready.stage.kwok.x-k8s.io/delay": "200ms",
    "pod-ready.stage.kwok.x-k8s.io/jitter-delay": "1s",
    "pod-complete.stage.kwok.x-k8s.io/delay": "300ms",
    "pod-complete.stage.kwok.x-k8s.io/jitter-delay": "1500ms",
    "pod-delete.stage.kwok.x-k8s.io/delay": "1ms",
}


def image(version):
    """A container image of that version."""
    return f"registry.example/app:{version}"


def pod_template(group, *, mark=None, version=1, restart="Always", node=None, claims=False, grace=1, complete=True):
    """A pod template; `mark` is carried into the pods, `node` selects their nodes by labels."""
    annotations = dict(DELAYS)
    if mark is not None:
        annotations[MARK] = str(mark)
    if not complete:
        annotations["pod-complete.stage.kwok.x-k8s.io/delay"] = "10m"
        annotations["pod-complete.stage.kwok.x-k8s.io/jitter-delay"] = "20m"
    container = {"name": "app", "image": image(version)}
    if claims:
        container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    spec = {"terminationGracePeriodSeconds": grace, "restartPolicy": restart, "containers": [container]}
    if node:
        spec["nodeSelector"] = node
    return {"metadata": {"labels": {"run": group.prefix}, "annotations": annotations}, "spec": spec}


def _workload(api_version, kind, group, spec, suffix="", annotations=None):
    metadata = {"name": group.name(suffix), "labels": {"run": group.prefix}}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}


def deployment(group, replicas, *, mark=None, suffix="", strategy=None, **template):
    """A Deployment."""
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"run": group.prefix}},
        "template": pod_template(group, mark=mark, **template),
    }
    if strategy:
        spec["strategy"] = strategy
    return _workload("apps/v1", "Deployment", group, spec, suffix)


def stateful_set(group, replicas, *, mark=None, claims=True, parallel=False, **template):
    """A StatefulSet with a claim per pod, of the group's own storage class."""
    spec = {
        "replicas": replicas,
        "serviceName": group.name("headless"),
        "selector": {"matchLabels": {"run": group.prefix}},
        "podManagementPolicy": "Parallel" if parallel else "OrderedReady",
        # No grace, and no delay of the deletion: kwok deletes by name, and later would hit the pod that comes after it.
        "template": pod_template(group, mark=mark, claims=claims, grace=0, **template),
    }
    if claims:
        spec["persistentVolumeClaimRetentionPolicy"] = {"whenDeleted": "Delete", "whenScaled": "Delete"}
        spec["volumeClaimTemplates"] = [
            {
                "metadata": {"name": "data"},
                "spec": {
                    "storageClassName": group.prefix,
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }
        ]
    return _workload("apps/v1", "StatefulSet", group, spec)


def daemon_set(group, *, mark=None, **template):
    """A DaemonSet."""
    spec = {"selector": {"matchLabels": {"run": group.prefix}}, "template": pod_template(group, mark=mark, **template)}
    return _workload("apps/v1", "DaemonSet", group, spec)


def job(group, completions, parallelism, *, suffix="", mark=None, complete=True, node=None, **options):
    """A Job; options go into its spec."""
    spec = {
        "completions": completions,
        "parallelism": parallelism,
        "template": pod_template(group, mark=mark, restart="Never", complete=complete, node=node),
    } | options
    return _workload("batch/v1", "Job", group, spec, suffix)


def cron_job(group, completions=2):
    """A CronJob that starts a Job every minute."""
    spec = {
        "schedule": "* * * * *",
        "concurrencyPolicy": "Allow",
        "successfulJobsHistoryLimit": 1,
        "jobTemplate": {
            "spec": {
                "completions": completions,
                "parallelism": completions,
                "template": pod_template(group, restart="Never"),
            }
        },
    }
    return _workload("batch/v1", "CronJob", group, spec)


def service(group, suffix="", headless=False):
    """A Service for the pods of the group."""
    spec = {"selector": {"run": group.prefix}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    if headless:
        spec["clusterIP"] = "None"
    return _workload("v1", "Service", group, spec, suffix)


def budget(group, max_unavailable=1):
    """A PodDisruptionBudget."""
    spec = {"maxUnavailable": max_unavailable, "selector": {"matchLabels": {"run": group.prefix}}}
    return _workload("policy/v1", "PodDisruptionBudget", group, spec, "budget")


def storage_class(group):
    """A storage class whose volumes are made by hand."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": group.prefix},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def volume(group, index):
    """A volume of the group's class. Retain: Delete would make kube-controller-manager delete a folder of this machine."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": group.name(f"volume-{index}")},
        "spec": {
            "storageClassName": group.prefix,
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"/nonexistent/{group.name(str(index))}"},
        },
    }


def namespace(group):
    """The group's own namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": group.prefix}}


def node(group, index):
    """A fake node of the group's own pool."""
    name = group.name(f"node-{index}")
    resources = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"pool": group.prefix, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "status": {"allocatable": resources, "capacity": resources},
    }
