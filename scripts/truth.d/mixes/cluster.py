"""Nodes added, cordoned, tainted and lost, pods evicted, quotas, namespaces deleted with content, accounts and roles.

Each workload has a pool of nodes of its own where nodes matter, so that the name tells the truth for a node's effects too.
One group of DaemonSets runs on every node: what a node does to it is a shared effect, and the write says so.
"""

import time

import templates

SIZE = 32
# Nodes that scripts/control-plane made, told from those of the groups by a label.
BASE = {"kubernetes.io/arch": "amd64"}


def run(driver):
    shapes = ["cordoned", "tainted", "evicted", "lost", "namespace", "quota", "roles", "namespace"]
    groups = [
        driver.group(shapes[index % len(shapes)], own_namespace=shapes[index % len(shapes)] in ("namespace", "quota"))
        for index in range(driver.size)
    ]
    everywhere = [driver.group("everywhere") for _ in range(2)]
    on_nodes = [group.prefix for group in everywhere]
    by_shape = lambda *wanted: [group for group in groups if group.shape in wanted]
    pooled = by_shape("cordoned", "tainted", "evicted", "lost")

    def nodes(group):
        for index in (1, 2):
            driver.create(group, templates.node(group, index), reaches=on_nodes)

    def patch_node(group, index, spec):
        driver.patch(group, "Node", group.name(f"node-{index}"), {"spec": spec}, reaches=on_nodes)

    def content(group):
        pool = {"pool": group.prefix} if group in pooled else BASE
        driver.create(group, templates.deployment(group, 4, node=pool))
        if group.shape == "evicted":
            driver.create(group, templates.budget(group, 2))
        if group.index % 2 == 0 or group.shape == "namespace":
            driver.create(group, templates.service(group, "service"))
        if group.shape == "namespace":
            for index in range(3):
                driver.create(
                    group,
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": {"name": group.name(f"settings-{index}")},
                        "data": {"a": "b"},
                    },
                )
            driver.create(
                group, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": group.name("account")}}
            )
            driver.create(group, templates.job(group, 2, 2, suffix="job", node=BASE))

    def quota(group):
        driver.create(group, templates.namespace(group))
        driver.create(
            group,
            {
                "apiVersion": "v1",
                "kind": "ResourceQuota",
                "metadata": {"name": group.name("quota")},
                "spec": {"hard": {"pods": "6"}},
            },
        )

    def roles(group, first):
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"] if first else ["get", "list"]}]
        part = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": group.name("part"), "labels": {"aggregate": group.prefix}},
            "rules": rules,
        }
        whole = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": group.name("whole")},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"aggregate": group.prefix}}]},
            "rules": [],
        }
        if first:
            for manifest in (part, whole):
                driver.create(group, manifest)
            driver.create(
                group, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": group.name("account")}}
            )
        else:
            driver.patch(group, "ClusterRole", group.name("part"), {"rules": rules}, manager="kubectl-edit")

    def evict_some(group):
        for pod in driver.pods(group)[:3]:
            driver.evict(group, pod)

    def delete_a_pod(group):
        pods = [pod for pod in driver.pods(group) if pod["spec"].get("nodeName") == group.name("node-1")]
        for pod in pods[:1]:
            driver.delete(group, "Pod", pod["metadata"]["name"])

    def until_collected():
        # The collector of pods without a node waits 40 s and looks every 20 s.
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and any(
            pod["spec"].get("nodeName") == group.name("node-1")
            for group in by_shape("lost")
            for pod in driver.pods(group)
        ):
            time.sleep(1)

    def until_deleted():
        # The namespace controller begins 5 s after the deletion; a ReplicaSet that met its quota tries again ever later.
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and (
            any(driver.cluster.get("Namespace", None, group.prefix) for group in by_shape("namespace"))
            or any(len(driver.pods(group)) < 9 for group in by_shape("quota"))
        ):
            time.sleep(1)

    driver.phase(
        "namespaces, nodes for everywhere",
        [lambda g=g: driver.create(g, templates.namespace(g)) for g in by_shape("namespace")]
        + [lambda g=g: quota(g) for g in by_shape("quota")]
        + [lambda g=g: driver.create(g, templates.daemon_set(g)) for g in everywhere],
    )
    driver.phase("nodes added", [lambda g=g: nodes(g) for g in pooled])
    driver.phase(
        "content",
        [lambda g=g: content(g) for g in groups if g.shape != "roles"]
        + [lambda g=g: roles(g, True) for g in by_shape("roles")],
    )
    driver.phase(
        "cordon, taint, evict, lose, exceed the quota",
        [lambda g=g: patch_node(g, 1, {"unschedulable": True}) for g in by_shape("cordoned")]
        + [
            lambda g=g: patch_node(g, 1, {"taints": [{"key": "maintenance", "effect": "NoExecute"}]})
            for g in by_shape("tainted")
        ]
        + [lambda g=g: evict_some(g) for g in by_shape("evicted")]
        + [lambda g=g: driver.delete(g, "Node", g.name("node-1"), reaches=on_nodes) for g in by_shape("lost")]
        + [lambda g=g: driver.scale(g, "Deployment", g.name(), 9) for g in by_shape("quota")]
        + [lambda g=g: roles(g, False) for g in by_shape("roles")],
        wait=until_collected,
    )
    driver.phase(
        "pods on cordoned nodes deleted, namespaces deleted, quota raised",
        [lambda g=g: delete_a_pod(g) for g in by_shape("cordoned")]
        + [lambda g=g: driver.delete(g, "Namespace", g.prefix) for g in by_shape("namespace")]
        + [
            lambda g=g: driver.patch(g, "ResourceQuota", g.name("quota"), {"spec": {"hard": {"pods": "20"}}})
            for g in by_shape("quota")
        ],
        wait=until_deleted,
    )
    driver.phase(
        "uncordon, untaint, roll",
        [lambda g=g: patch_node(g, 1, {"unschedulable": None}) for g in by_shape("cordoned")]
        + [lambda g=g: patch_node(g, 1, {"taints": None}) for g in by_shape("tainted")]
        + [
            lambda g=g: driver.patch(
                g,
                "Deployment",
                g.name(),
                {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": templates.image(2)}]}}}},
                manager="kubectl-set",
            )
            for g in by_shape("quota", "evicted", "lost")
        ],
    )
    driver.phase(
        "roll and delete",
        [lambda g=g: driver.delete(g, "Deployment", g.name()) for g in by_shape("quota", "lost")]
        + [lambda g=g: driver.delete(g, "DaemonSet", g.name()) for g in everywhere[:1]],
    )
