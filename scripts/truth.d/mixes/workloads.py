"""StatefulSets with claims, DaemonSets, Jobs, CronJobs and PodDisruptionBudgets; two minutes of schedules."""

import time

import templates

SIZE = 40


def run(driver):
    share = driver.size // 5
    stateful = [driver.group("statefulset") for _ in range(2 * share)]
    daemons = [driver.group("daemonset") for _ in range(share)]
    jobs = [driver.group("job") for _ in range(driver.size - 4 * share)]
    crons = [driver.group("cronjob") for _ in range(max(2, share // 2))]

    def volumes(group):
        driver.create(group, templates.storage_class(group))
        for index in range(4):
            driver.create(group, templates.volume(group, index))

    def create_stateful(group):
        driver.create(group, templates.service(group, "headless", headless=True))
        driver.create(group, templates.stateful_set(group, 3, parallel=group.index % 3 == 0))
        if group.index % 2:
            driver.create(group, templates.budget(group))

    def create_daemons(group):
        driver.create(group, templates.daemon_set(group))
        if group.index % 2:
            driver.create(group, templates.service(group, "service"))

    def create_job(group):
        options = ({}, {"completionMode": "Indexed"}, {"ttlSecondsAfterFinished": 2}, {"suspend": True})[
            group.index % 4
        ]
        if "ttlSecondsAfterFinished" in options:
            driver.clock(group, group.name(), "ttl")
        driver.create(group, templates.job(group, 6, 3, **options))

    def roll(group, kind, version):
        driver.patch(
            group,
            kind,
            group.name(),
            {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": templates.image(version)}]}}}},
            manager="kubectl-set",
        )

    def change_job(group):
        if group.index % 4 == 3:
            driver.patch(group, "Job", group.name(), {"spec": {"suspend": False}})
        elif group.index % 3 == 0:
            driver.clock(group, group.name("second"), "deadline")
            driver.create(group, templates.job(group, 4, 4, suffix="second", complete=False, activeDeadlineSeconds=4))
        else:
            driver.create(group, templates.job(group, 4, 4, suffix="second"))

    def delete_a_pod(group):
        pods = sorted(driver.pods(group), key=lambda pod: pod["metadata"]["name"])
        if pods:
            driver.delete(group, "Pod", pods[group.index % len(pods)]["metadata"]["name"])

    def remove(group, kind):
        driver.delete(group, kind, group.name(), policy=("Background", "Foreground")[group.index % 2])

    def schedules():
        # Past the next full minute, when the schedules come up, and to their ends.
        time.sleep(60 - time.time() % 60 + 8)

    driver.phase("volumes", [lambda g=g: volumes(g) for g in stateful])
    driver.phase(
        "create",
        [lambda g=g: create_stateful(g) for g in stateful]
        + [lambda g=g: create_daemons(g) for g in daemons]
        + [lambda g=g: create_job(g) for g in jobs]
        + [lambda g=g: driver.create(g, templates.cron_job(g)) for g in crons],
    )
    driver.phase(
        "roll",
        [lambda g=g: roll(g, "StatefulSet", 2) for g in stateful]
        + [lambda g=g: roll(g, "DaemonSet", 2) for g in daemons]
        + [lambda g=g: change_job(g) for g in jobs],
        wait=schedules,
    )
    driver.phase(
        "scale, and pods deleted by hand",
        [lambda g=g: driver.scale(g, "StatefulSet", g.name(), 4 if g.index % 2 else 2) for g in stateful if g.index % 3]
        + [lambda g=g: delete_a_pod(g) for g in stateful if g.index % 3 == 0]
        + [lambda g=g: delete_a_pod(g) for g in daemons],
        wait=schedules,
    )
    driver.phase(
        "delete",
        [lambda g=g: remove(g, "StatefulSet") for g in stateful if g.index % 2 == 0]
        + [lambda g=g: remove(g, "DaemonSet") for g in daemons if g.index % 2 == 0]
        + [lambda g=g: remove(g, "CronJob") for g in crons]
        + [lambda g=g: remove(g, "Job") for g in jobs if g.index % 4 != 2],
    )
