"""Carries out a mix and writes down every client write with the revision it got: the truth that rules never see.

`marks.jsonl` has one JSON object per line:
- `group`: a workload: its name prefix and what it is (`name`, `shape`).
- `phase`: begins after revision `after`, when everything before had settled (`settled` false: it had not).
- `write`: a client write: group, phase, kind, namespace, name, verb, `revision` (NULL where the API does not tell it:
  deletes and evictions, found in the trace by `uid`), `mark` (what the pod template carries), `reaches` (other groups it
  rightly reaches), `manager`, `user`.
- `clock`: a Job that the clock ends, and how (`ttl`, `deadline`): that end may be a root.
- `settled`: the revision at which the phase had settled.
"""

import concurrent.futures
import json
import random
import threading
import time
import urllib.parse

from api import Refused, api_path

# Requests under way at once.
WORKERS = 12
# Seconds for a phase to settle before the mix goes on regardless, which its mark then says.
SETTLE_SECONDS = 150
# What is quiet for so long has settled: longer than any delay of the pods' stages (see templates.py).
QUIET_SECONDS = 3

# The annotation of a pod template that tells which write its pods belong to.
MARK = "truth.example/mark"

USER_AGENTS = {
    "kubectl": "kubectl/v1.34.4 (linux/amd64) kubernetes/archive",
    "helm": "Helm/3.18.4",
    "curl": "curl/8.5.0",
}
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Group:
    """One workload: every object of it has the prefix in its name or in that of its namespace."""

    def __init__(self, prefix, shape, namespace, index):
        self.prefix, self.shape, self.namespace, self.index = prefix, shape, namespace, index
        self.mark = 0

    def name(self, suffix=""):
        """A name of this workload."""
        return f"{self.prefix}-{suffix}" if suffix else self.prefix


class Driver:
    """Sends the writes of a mix and notes them."""

    def __init__(self, cluster, marks_file, seed, size, control):
        self.cluster, self.size, self.control = cluster, size, control
        self.random = random.Random(seed)
        self._marks, self._lock = marks_file, threading.Lock()
        self._phase = 0
        self._prefixes = set()
        self.groups = []

    def _note(self, **mark):
        with self._lock:
            self._marks.write(json.dumps(mark | {"time": time.time()}) + "\n")
            self._marks.flush()

    # --- groups and phases -------------------------------------------------------------------------------------------

    def group(self, shape, namespace="truth", own_namespace=False):
        """A new workload under a random prefix; `own_namespace`: it lives in a namespace of that name."""
        while True:
            prefix = "".join(self.random.choice("bcdfghjklmnpqrstvwxz") for _ in range(7))
            if prefix not in self._prefixes:
                break
        self._prefixes.add(prefix)
        group = Group(prefix, shape, prefix if own_namespace else namespace, len(self.groups))
        self.groups.append(group)
        self._note(type="group", prefix=prefix, shape=shape)
        return group

    def phase(self, name, actions, *, quiet=QUIET_SECONDS, wait=None, meanwhile=None):
        """Runs the actions at once, in random order, then waits until the cluster has settled.

        `wait` is called before settling: for what comes late (a schedule, a quarantine). `meanwhile` runs beside the
        actions, in a thread of its own.
        """
        self._phase += 1
        revision, _ = self.cluster.fingerprint()
        self._note(type="phase", phase=self._phase, name=name, after=revision)
        actions = list(actions)
        self.random.shuffle(actions)
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            futures = [pool.submit(action) for action in actions]
            if meanwhile:
                futures.append(pool.submit(meanwhile))
            for future in futures:
                future.result()
        if wait:
            wait()
        settled = self.cluster.settle(quiet, SETTLE_SECONDS)
        self._note(type="settled", phase=self._phase, revision=settled)
        print(
            f"  phase {self._phase} {name}: {len(actions)} actions, {'settled' if settled else 'NOT SETTLED'} at revision {settled}",
            flush=True,
        )

    # --- writes ------------------------------------------------------------------------------------------------------

    def _client(self, group):
        """The client program of a group: mostly kubectl, as on real clusters."""
        return ("kubectl", "kubectl", "kubectl", "helm", "curl")[group.index % 5]

    def _send(
        self,
        group,
        verb,
        kind,
        method,
        path,
        body,
        *,
        manager,
        user,
        content_type,
        uid=None,
        reaches=(),
        mark=None,
        name=None,
    ):
        client = self._client(group)
        query = {}
        if method != "DELETE":
            query["fieldManager"] = manager if client == "kubectl" else client
        if content_type == APPLY_PATCH:
            query["force"] = "true"
        if query:
            path += "?" + urllib.parse.urlencode(query)
        answer = self.cluster.request(
            method, path, body, user_agent=USER_AGENTS[client], user=user, content_type=content_type
        )
        metadata = answer.get("metadata", {})
        revision = metadata.get("resourceVersion")
        self._note(
            type="write",
            group=group.prefix,
            phase=self._phase,
            verb=verb,
            kind=kind,
            namespace=group.namespace,
            name=name or metadata.get("name"),
            revision=int(revision) if revision and verb not in ("delete", "evict") else None,
            uid=uid or metadata.get("uid"),
            reaches=list(reaches),
            mark=mark,
            manager=query.get("fieldManager", client),
            user=user,
        )
        return answer

    def create(self, group, manifest, *, mark=None, user=None, reaches=()):
        """Creates an object of a manifest."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        manager = "kubectl-create" if group.index % 2 else "kubectl-client-side-apply"
        return self._send(
            group,
            "create",
            kind,
            "POST",
            api_path(kind, group.namespace),
            manifest,
            manager=manager,
            user=user,
            content_type="application/json",
            mark=mark,
            name=name,
            reaches=reaches,
        )

    def apply(self, group, manifest, *, mark=None, user=None, reaches=()):
        """Server-side apply of a manifest."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        return self._send(
            group,
            "apply",
            kind,
            "PATCH",
            api_path(kind, group.namespace, name),
            manifest,
            manager="kubectl",
            user=user,
            content_type=APPLY_PATCH,
            mark=mark,
            name=name,
            reaches=reaches,
        )

    def patch(
        self,
        group,
        kind,
        name,
        body,
        *,
        manager="kubectl-patch",
        subresource=None,
        mark=None,
        user=None,
        reaches=(),
        content_type=None,
    ):
        """Patches an object; a no-op patch gets no revision of its own, and the truth builder drops it."""
        content_type = content_type or (MERGE_PATCH if subresource else STRATEGIC_PATCH)
        return self._send(
            group,
            "patch",
            kind,
            "PATCH",
            api_path(kind, group.namespace, name, subresource),
            body,
            manager=manager,
            user=user,
            content_type=content_type,
            mark=mark,
            name=name,
            reaches=reaches,
        )

    def scale(self, group, kind, name, replicas, *, mark=None, user=None):
        """What `kubectl scale` sends."""
        return self.patch(
            group,
            kind,
            name,
            {"spec": {"replicas": replicas}},
            manager="kubectl-scale",
            subresource="scale",
            mark=mark,
            user=user,
        )

    def delete(self, group, kind, name, *, policy="Background", user=None, reaches=(), grace=None):
        """Deletes an object with a propagation policy."""
        found = self.cluster.get(kind, group.namespace, name)
        if found is None:
            return
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        self._send(
            group,
            "delete",
            kind,
            "DELETE",
            api_path(kind, group.namespace, name),
            body,
            manager="",
            user=user,
            content_type="application/json",
            uid=found["metadata"]["uid"],
            name=name,
            reaches=reaches,
        )

    def evict(self, group, pod):
        """Evicts a pod through the Eviction API; returns whether a budget let it happen."""
        name = pod["metadata"]["name"]
        body = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name, "namespace": group.namespace}}
        try:
            self._send(
                group,
                "evict",
                "Pod",
                "POST",
                api_path("Pod", group.namespace, name, "eviction"),
                body,
                manager="kubectl",
                user=None,
                content_type="application/json",
                uid=pod["metadata"]["uid"],
                name=name,
            )
        except Refused as refused:
            if refused.status == 429:
                return False
            raise
        return True

    def clock(self, group, name, what):
        """Notes that a Job of the group will end by the clock: by its time to live (`ttl`) or its `deadline`."""
        self._note(type="clock", group=group.prefix, name=name, what=what)

    def pods(self, group):
        """The pods of a group that are not being deleted."""
        return [
            pod
            for pod in self.cluster.list("Pod", group.namespace, f"run={group.prefix}")
            if "deletionTimestamp" not in pod["metadata"]
        ]
