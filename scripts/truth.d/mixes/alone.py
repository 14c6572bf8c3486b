"""One write at a time, each when everything before has come to rest: whatever happens next comes of that one write.

Here nothing but time tells the truth: no name, no mark, and no other write that might be meant.
"""

import templates

# Rounds; each has workloads of its own, and some twenty writes.
SIZE = 3


def run(driver):
    for _ in range(driver.size):
        one_round(driver)


def one_round(driver):
    web, store, daemons, batch = (driver.group(shape) for shape in ("deployment", "statefulset", "daemonset", "job"))
    tenant = driver.group("quota", own_namespace=True)
    pool = driver.group("cordoned")

    def alone(what, write):
        driver.phase(what, [write])

    def image(version):
        return {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": templates.image(version)}]}}}}

    def roll(group, kind, version):
        driver.patch(group, kind, group.name(), image(version), manager="kubectl-set")

    def first_pod(group, act):
        for pod in sorted(driver.pods(group), key=lambda pod: pod["metadata"]["name"])[:1]:
            act(pod)

    def node(spec):
        driver.patch(pool, "Node", pool.name("node-1"), {"spec": spec}, reaches=[daemons.prefix])

    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": tenant.name("quota")},
        "spec": {"hard": {"pods": "2"}},
    }

    alone("create a Service", lambda: driver.create(web, templates.service(web)))
    alone("create a Deployment", lambda: driver.create(web, templates.deployment(web, 3)))
    alone("create a budget", lambda: driver.create(web, templates.budget(web)))
    alone("roll a Deployment", lambda: roll(web, "Deployment", 2))
    alone("evict a Pod", lambda: first_pod(web, lambda pod: driver.evict(web, pod)))
    alone("scale a Deployment up", lambda: driver.scale(web, "Deployment", web.name(), 6))
    alone("roll it back", lambda: roll(web, "Deployment", 1))
    alone("scale it down", lambda: driver.scale(web, "Deployment", web.name(), 1))
    alone("create a StatefulSet", lambda: driver.create(store, templates.stateful_set(store, 3, claims=False)))
    alone("roll a StatefulSet", lambda: roll(store, "StatefulSet", 2))
    alone(
        "delete a Pod",
        lambda: first_pod(store, lambda pod: driver.delete(store, "Pod", pod["metadata"]["name"])),
    )
    alone("scale a StatefulSet down", lambda: driver.scale(store, "StatefulSet", store.name(), 1))
    alone("create a DaemonSet", lambda: driver.create(daemons, templates.daemon_set(daemons)))
    alone("add a Node", lambda: driver.create(pool, templates.node(pool, 1), reaches=[daemons.prefix]))
    alone("cordon a Node", lambda: node({"unschedulable": True}))
    alone("taint a Node", lambda: node({"taints": [{"key": "maintenance", "effect": "NoExecute"}]}))
    alone("roll a DaemonSet", lambda: roll(daemons, "DaemonSet", 2))
    alone("create a Job", lambda: driver.create(batch, templates.job(batch, 3, 2)))
    alone("delete a Job", lambda: driver.delete(batch, "Job", batch.name()))
    alone("create a Namespace", lambda: driver.create(tenant, templates.namespace(tenant)))
    alone("create a quota", lambda: driver.create(tenant, quota))
    alone("create a Deployment within a quota", lambda: driver.create(tenant, templates.deployment(tenant, 2)))
    alone("delete a Deployment", lambda: driver.delete(tenant, "Deployment", tenant.name()))
    alone("delete a StatefulSet", lambda: driver.delete(store, "StatefulSet", store.name(), policy="Foreground"))
    alone("delete a Deployment with its Pods", lambda: driver.delete(web, "Deployment", web.name()))
    alone("delete a DaemonSet", lambda: driver.delete(daemons, "DaemonSet", daemons.name()))
