"""Two users changing one object in the same moment, a kube-controller-manager and a kube-apiserver that restart midway."""

import threading
import time

import templates

SIZE = 32


def run(driver):
    groups = [driver.group("deployment" if index % 4 else "statefulset") for index in range(driver.size)]
    kind = lambda group: "StatefulSet" if group.shape == "statefulset" else "Deployment"

    def create(group):
        if group.shape == "statefulset":
            driver.create(group, templates.service(group, "headless", headless=True))
            driver.create(group, templates.stateful_set(group, 3, claims=False, parallel=group.index % 8 == 0))
        else:
            driver.create(group, templates.deployment(group, 3 + group.index % 3))
            if group.index % 2:
                driver.create(group, templates.service(group))

    def image_patch(version):
        return {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": templates.image(version)}]}}}}

    def roll(group, version, user=None):
        driver.patch(group, kind(group), group.name(), image_patch(version), manager="kubectl-set", user=user)

    def both(group):
        # One scales while the other rolls, or both roll: started together, ordered by etcd alone.
        barrier = threading.Barrier(2)

        def second():
            barrier.wait()
            driver.scale(group, kind(group), group.name(), 5, user="bob")

        thread = threading.Thread(target=second)
        thread.start()
        barrier.wait()
        roll(group, 2, user="alice")
        thread.join()

    def restart(component, after):
        def go():
            time.sleep(after)
            driver.control("kill", component)
            time.sleep(0.5)
            driver.control("restart", component)

        return go

    driver.phase("create", [lambda g=g: create(g) for g in groups])
    driver.phase("two users at once", [lambda g=g: both(g) for g in groups])
    driver.phase(
        "roll, kube-controller-manager restarts",
        [lambda g=g: roll(g, 3) for g in groups],
        meanwhile=restart("kube-controller-manager", 1.5),
    )
    driver.phase(
        "scale, kube-apiserver restarts",
        [lambda g=g: driver.scale(g, kind(g), g.name(), 2 + g.index % 5) for g in groups],
        meanwhile=restart("kube-apiserver", 1.0),
        quiet=6,
    )
    driver.phase("roll", [lambda g=g: roll(g, 4) for g in groups], quiet=4)
    driver.phase(
        "delete, kube-controller-manager restarts",
        [lambda g=g: driver.delete(g, kind(g), g.name()) for g in groups if g.index % 2],
        meanwhile=restart("kube-controller-manager", 0.3),
    )
