"""Apps of the example operator, which logs which changes each of its writes came of: truth for edges, not only for roots.

Created, changed, tampered with by hand in what the operator owns, changed many times in a row, deleted. Every write of a client
carries a CPID of its own in the object's annotation, as `app-operator apply --trace` would put it there, so that
reported CPIDs can be compared with causes that were found without them.
"""

import json
import time
import uuid

import templates
from driver import MERGE_PATCH

SIZE = 52
# Started before the mix, by scripts/truth.
OPERATOR = True

CPID = "eppppi.github.io/koc"


def run(driver):
    groups = [driver.group("app") for _ in range(driver.size)]
    # Drawn here, not in the threads, so that a seed gives the same delays.
    delays = {group.prefix: [driver.random.uniform(0.05, 1.5) for _ in range(6)] for group in groups}
    versions = {group.prefix: 1 for group in groups}

    def traced(manifest):
        cpid = {"cpid": str(uuid.UUID(int=driver.random.getrandbits(128), version=4)), "ancCpids": []}
        metadata = manifest.setdefault("metadata", {})
        metadata["annotations"] = metadata.get("annotations", {}) | {CPID: json.dumps(cpid)}
        return manifest

    def patch(group, kind, body, **options):
        driver.patch(group, kind, group.name(), traced(body), content_type=MERGE_PATCH, **options)

    def create(group):
        driver.create(
            group,
            traced(
                {
                    "apiVersion": "example.cascade.dev/v1",
                    "kind": "App",
                    "metadata": {"name": group.name()},
                    "spec": {
                        "image": templates.image(1),
                        "replicas": 1 + group.index % 3,
                        "port": 8080,
                        "config": {"COLOUR": "red"},
                        "podAnnotations": templates.DELAYS,
                    },
                }
            ),
        )

    def roll(group):
        versions[group.prefix] += 1
        patch(group, "App", {"spec": {"image": templates.image(versions[group.prefix])}}, manager="kubectl-set")

    def scale(group, replicas):
        patch(group, "App", {"spec": {"replicas": replicas}}, manager="kubectl-scale")

    def configure(group, colour):
        patch(group, "App", {"spec": {"config": {"COLOUR": colour}}}, manager="kubectl-edit")

    def move(group, port):
        patch(group, "App", {"spec": {"port": port}}, manager="kubectl-edit")

    def tamper(group, kind, body):
        patch(group, kind, body, manager="kubectl-edit")

    def change(group):
        (
            lambda: roll(group),
            lambda: scale(group, 4),
            lambda: configure(group, "green"),
            lambda: move(group, 9090),
        )[group.index % 4]()

    def by_hand(group):
        # What the operator owns is changed: it puts back what it wants, keeps what it does not know, and takes in the latter.
        (
            lambda: tamper(group, "ConfigMap", {"data": {"COLOUR": "by hand"}}),
            lambda: tamper(group, "ConfigMap", {"data": {"ADDED": str(group.index)}}),
            lambda: tamper(group, "Deployment", {"spec": {"replicas": 5}}),
            lambda: tamper(group, "Service", {"spec": {"sessionAffinity": "ClientIP"}}),
        )[group.index // 2 % 4]()

    def meet(group):
        # Two changes of different objects, close together: in one reconcile or in two.
        change_first = group.index % 2
        (by_hand, roll)[change_first](group)
        time.sleep(delays[group.prefix][0] / 10)
        (roll, by_hand)[change_first](group)

    def hurry(group):
        roll(group)
        time.sleep(delays[group.prefix][1])
        scale(group, 2 + group.index % 2)
        time.sleep(delays[group.prefix][2] / 5)
        configure(group, "blue")
        time.sleep(delays[group.prefix][3])
        roll(group)

    driver.phase("create", [lambda g=g: create(g) for g in groups])
    driver.phase("change", [lambda g=g: change(g) for g in groups])
    driver.phase("change by hand what the operator owns", [lambda g=g: by_hand(g) for g in groups])
    driver.phase("two changes meet", [lambda g=g: meet(g) for g in groups])
    driver.phase("four changes in a row", [lambda g=g: hurry(g) for g in groups])
    driver.phase(
        "delete a third, roll another",
        [lambda g=g: driver.delete(g, "App", g.name()) for g in groups if g.index % 3 == 0]
        + [lambda g=g: roll(g) for g in groups if g.index % 3 == 1],
    )
