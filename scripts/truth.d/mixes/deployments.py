"""Deployments with Services, all at once: created, scaled both ways, rolled out, rolled back, deleted."""

import templates

SIZE = 44


def run(driver):
    groups = [driver.group("deployment") for _ in range(driver.size)]

    def create(group):
        # Sometimes the Service comes first, sometimes last; every fourth has none; half bear the Deployment's name.
        service = templates.service(group, "" if group.index % 2 else "service")
        deployment = templates.deployment(group, 2 + group.index % 3)
        manifests = [deployment] if group.index % 4 == 3 else [deployment, service]
        if group.index % 3:
            manifests.reverse()
        for manifest in manifests:
            (driver.apply if group.index % 5 == 2 else driver.create)(group, manifest)

    def roll(group, version):
        driver.patch(
            group,
            "Deployment",
            group.name(),
            {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": templates.image(version)}]}}}},
            manager="kubectl-set",
        )

    def change(group):
        if group.index % 2:
            driver.scale(group, "Deployment", group.name(), (6, 1)[group.index % 4 == 3])
        else:
            roll(group, 2)

    def second_change(group):
        kind = group.index % 4
        if kind == 0:
            roll(group, 1)  # back to the ReplicaSet that is still there
        elif kind == 1:
            roll(group, 2)
        elif kind == 2:
            driver.scale(group, "Deployment", group.name(), 5)
        else:
            # Metadata only: the controller carries the annotation to the ReplicaSet, no pod changes.
            driver.patch(
                group,
                "Deployment",
                group.name(),
                {"metadata": {"annotations": {"note": "changed"}}},
                manager="kubectl-annotate",
            )

    def remove(group):
        policy = ("Background", "Foreground", "Background")[group.index // 3 % 3]
        driver.delete(group, "Deployment", group.name(), policy=policy)
        if group.index % 4 != 3:
            driver.delete(group, "Service", group.name("" if group.index % 2 else "service"))

    driver.phase("create", [lambda g=g: create(g) for g in groups])
    driver.phase("scale and roll", [lambda g=g: change(g) for g in groups])
    driver.phase("roll, roll back, scale, annotate", [lambda g=g: second_change(g) for g in groups])
    driver.phase(
        "delete a third, roll another",
        [lambda g=g: remove(g) for g in groups if g.index % 3 == 0]
        + [lambda g=g: roll(g, 3) for g in groups if g.index % 3 == 1],
    )
