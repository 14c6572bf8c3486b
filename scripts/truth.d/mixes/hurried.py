"""Every workload changed again 0.2 to 2 s into its rollout; truth by marks.

The mark is an annotation of the pod template, `truth.example/mark`, whose value is the number of the write within its
workload. Controllers carry it by themselves: Deployment to ReplicaSet (template) to Pod, StatefulSet and DaemonSet to
Pod, Job to Pod. A scale carries no mark; the truth builder knows which pods came after it.
"""

import time

import templates
from driver import MARK

SIZE = 28


def run(driver):
    shapes = ["deployment", "deployment", "deployment", "deployment", "statefulset", "daemonset", "job"]
    groups = [driver.group(shapes[index % len(shapes)]) for index in range(driver.size)]
    kinds = {"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet", "job": "Job"}
    # Drawn here, not in the threads, so that a seed gives the same delays.
    delays = {group.prefix: [driver.random.uniform(0.2, 2.0) for _ in range(4)] for group in groups}

    def create(group):
        group.mark += 1
        manifest = {
            "deployment": lambda: templates.deployment(group, 3, mark=group.mark),
            "statefulset": lambda: templates.stateful_set(
                group, 3, mark=group.mark, claims=False, parallel=group.index % 2 == 0
            ),
            "daemonset": lambda: templates.daemon_set(group, mark=group.mark),
            "job": lambda: templates.job(group, 6, 3, mark=group.mark, suffix="1"),
        }[group.shape]()
        driver.create(group, manifest, mark=group.mark)
        if group.index % 2 and group.shape != "job":
            driver.create(group, templates.service(group, "service"))

    def roll(group):
        group.mark += 1
        driver.patch(
            group,
            kinds[group.shape],
            group.name(),
            {
                "spec": {
                    "template": {
                        "metadata": {"annotations": {MARK: str(group.mark)}},
                        "spec": {"containers": [{"name": "app", "image": templates.image(group.mark)}]},
                    }
                }
            },
            manager="kubectl-set",
            mark=group.mark,
        )

    def scale(group, replicas):
        group.mark += 1
        driver.scale(group, kinds[group.shape], group.name(), replicas, mark=group.mark)

    def again(group, replicas):
        if group.shape == "job":
            # A Job's template cannot change: the hurried change stops it, as `kubectl patch` would.
            group.mark += 1
            driver.patch(group, "Job", group.name("1"), {"spec": {"suspend": replicas % 2 == 0}}, mark=group.mark)
        elif group.shape == "daemonset" or group.index % 4 or replicas == 0:
            roll(group)
        else:
            scale(group, replicas)

    def hurried(group, first, pause, replicas):
        first(group)
        time.sleep(delays[group.prefix][pause])
        again(group, replicas)

    def thrice(group):
        hurried(group, lambda g: again(g, 0), 2, 6)
        time.sleep(delays[group.prefix][3])
        again(group, 0)

    driver.phase("create, and change at once", [lambda g=g: hurried(g, create, 0, 5) for g in groups])
    driver.phase("roll, and change at once", [lambda g=g: hurried(g, lambda g: again(g, 0), 1, 2) for g in groups])
    driver.phase("roll thrice", [lambda g=g: thrice(g) for g in groups if g.shape != "job"])
    driver.phase(
        "roll, and delete at once",
        [
            lambda g=g: (roll(g), time.sleep(delays[g.prefix][0]), driver.delete(g, kinds[g.shape], g.name()))
            for g in groups
            if g.shape != "job" and g.index % 2
        ],
    )
