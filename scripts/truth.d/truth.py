#!/usr/bin/env python3
"""Turns the marks of a driven mix and the recorded changes into truth.csv: for every change, the roots it may rightly have.

Usage: truth.py MARKS_FILE CHANGES_CSV > truth.csv

The rules under test never see names' prefixes, phases or marks; this file sees nothing else. See testdata/truth/README.md
for the columns and for what "right" means.
"""

import argparse
import bisect
import collections
import csv
import json
import re
import sys

# What the truth builder needs of a trace, for `cascade sql`.
CHANGES_QUERY = """SELECT revision, ordinal, key, op, coalesce(kind, '') AS kind, coalesce(namespace, '') AS namespace,
coalesce(name, '') AS name, coalesce(uid, '') AS uid, coalesce(annotations->>'truth.example/mark', '') AS mark,
deletion_time IS NOT NULL AS deleting, coalesce(owners[1]['kind'], '') AS owner_kind, coalesce(owners[1]['name'], '') AS owner_name,
coalesce(owners[1]['uid'], '') AS owner_uid, coalesce(name_refs[1]['name'], '') AS name_ref, coalesce(node_name, '') AS node_name,
coalesce(array_to_string(changed, ' '), '') AS changed
FROM raw.changes ORDER BY revision, ordinal"""

COLUMNS = ["revision", "ordinal", "key", "op", "kind", "group", "phase", "scope", "expected", "tolerated", "may_start"]

WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}
ENDPOINTS = {"EndpointSlice", "Endpoints"}
# Kinds whose write reaches only these kinds, where the verb is not delete; all others reach everything of their group.
REACH = {
    "Service": ENDPOINTS | {"Service", "IPAddress"},
    "PodDisruptionBudget": {"PodDisruptionBudget"},
    "ConfigMap": {"ConfigMap"},
    "ServiceAccount": {"ServiceAccount"},
    "StorageClass": {"StorageClass"},
    "ClusterRole": {"ClusterRole"},
    "PersistentVolume": {"PersistentVolume"},
}
REACH_OF_CREATE = {
    "ResourceQuota": {"ResourceQuota"},
    "Namespace": {"Namespace", "ConfigMap", "ServiceAccount"},
}
# The shape of workloads whose objects are all watched by an operator.
OPERATED = "app"
# Shared objects: what many workloads, or none, write through one object.
SHARED = {"Node", "ResourceQuota", "Namespace"}
# Written by kube-apiserver itself while it serves a client's request, before or after the object of the request.
OF_A_REQUEST = {"IPAddress", "RangeAllocation"}


class Change:
    """A recorded change, from CHANGES_QUERY."""

    def __init__(self, row):
        self.revision, self.ordinal = int(row["revision"]), int(row["ordinal"])
        self.key, self.op, self.kind = row["key"], row["op"], row["kind"]
        self.namespace, self.name, self.uid = row["namespace"], row["name"], row["uid"]
        self.owner_kind, self.owner_name, self.owner_uid = row["owner_kind"], row["owner_name"], row["owner_uid"]
        self.name_ref, self.node_name = row["name_ref"], row["node_name"]
        self.changed = row["changed"].split()
        self.of_status = "status" in self.changed
        self.mark = int(row["mark"]) if row["mark"] else None
        self.goes = row["op"] == "delete" or row["deleting"] == "true"


class Write:
    """A client write with its revision."""

    def __init__(self, mark, revision):
        self.group, self.phase, self.kind, self.name, self.verb = (
            mark["group"],
            mark["phase"],
            mark["kind"],
            mark["name"],
            mark["verb"],
        )
        self.mark, self.reaches, self.uid, self.revision = mark["mark"], set(mark["reaches"]), mark["uid"], revision
        # Whether an operator watches whatever is written: then it may reach everything of its group.
        self.is_watched = False
        # Earlier changes of the same request: what follows from the write may be said to follow from these.
        self.also = set()

    def touches(self, kind):
        """Whether it can have an effect on objects of that kind."""
        if self.is_watched:
            return True
        if self.verb == "delete" or self.verb == "evict":
            return self.kind != "Service" or kind in REACH["Service"]
        if self.verb in ("create", "apply") and self.kind in REACH_OF_CREATE:
            return kind in REACH_OF_CREATE[self.kind]
        return self.kind not in REACH or kind in REACH[self.kind]


class Truth:
    """The marks of one run, resolved against its changes."""

    def __init__(self, marks, changes):
        self.changes = changes
        self.shapes = {mark["prefix"]: mark["shape"] for mark in marks if mark["type"] == "group"}
        self.phases = sorted((mark["after"], mark["phase"]) for mark in marks if mark["type"] == "phase")
        self._prefixes = re.compile("(?<![a-z0-9])(" + "|".join(sorted(self.shapes)) + ")(?![a-z0-9])")
        self.unresolved = []
        # uid to the change that asked for its deletion, or deleted it at once.
        self._first_going = {}
        self._writes = self._resolve([mark for mark in marks if mark["type"] == "write"])
        self.by_revision = {write.revision: write for write in self._writes}
        # An eviction states the reason on the pod before it deletes it, in the same request.
        evictions = {write.uid: write for write in self._writes if write.verb == "evict"}
        self._evicting = {(write.group, write.phase) for write in evictions.values()}
        for change in changes:
            write = evictions.get(change.uid)
            if write and change.revision < write.revision and "conditions.DisruptionTarget" in change.changed:
                write.also.add(change.revision)
        # A pod without grace is gone within the request that deletes it, which first states that it goes.
        deletions = {write.uid: write for write in self._writes if write.verb == "delete" and write.kind == "Pod"}
        self._second = set()
        for change in changes:
            write = deletions.get(change.uid)
            if write and change.op == "delete" and change.revision > write.revision:
                write.also.add(change.revision)
                self._second.add(change.revision)
        self._in_requests = set().union(*(write.also for write in self._writes)) - self._second
        self._reaching = collections.defaultdict(list)
        for write in self._writes:
            for group in {write.group} | write.reaches:
                self._reaching[group].append(write)
        self._of_nodes = collections.defaultdict(list)
        for write in self._writes:
            if write.kind == "Node":
                self._of_nodes[write.name].append(write)
        self._births, self._marks_of_owners, self._nodes, self._jobs = {}, {}, {}, collections.defaultdict(list)
        for change in changes:
            if change.node_name:
                self._nodes[change.uid] = change.node_name
            if change.op == "create":
                self._births[change.uid] = change.revision
                if change.kind == "Job" and change.owner_kind == "CronJob":
                    self._jobs[change.owner_name].append((change.name, change.revision))
            if change.kind == "Pod" and change.mark is not None and change.owner_kind == "ReplicaSet":
                self._marks_of_owners[change.owner_uid] = change.mark

        self._pods_on_nodes = collections.defaultdict(set)
        for change in changes:
            if change.kind == "Pod" and change.node_name:
                self._pods_on_nodes[self.group_of(change)].add(
                    (change.node_name, self._births.get(change.uid, change.revision))
                )
        # Marks that pods bear: a write without a template has one that no pod bears.
        self._carried = {(self.group_of(change), change.mark) for change in changes if change.kind == "Pod"}
        # What the clock does: Job to the change that it begins with.
        clocks = {mark["name"]: mark["what"] for mark in marks if mark["type"] == "clock"}
        self._clocked = {}
        for change in changes:
            if change.kind == "Job" and change.name in clocks and change.name not in self._clocked:
                if change.goes if clocks[change.name] == "ttl" else "conditions.FailureTarget" in change.changed:
                    self._clocked[change.name] = change.revision

    def _resolve(self, marks):
        """Gives each write its revision. A write that changed nothing has none; one that is not in the trace is reported."""
        first_going, rows = self._first_going, {}
        for change in self.changes:
            rows[change.revision] = change
            if change.goes and change.uid:
                first_going.setdefault(change.uid, change.revision)
        writes, taken = [], set()
        for mark in sorted(marks, key=lambda mark: mark["time"]):
            revision = first_going.get(mark["uid"]) if mark["verb"] in ("delete", "evict") else mark["revision"]
            change = rows.get(revision)
            if change is None or change.name != mark["name"] or change.uid != mark["uid"]:
                self.unresolved.append(mark)
            elif mark["verb"] in ("patch", "apply") and (self.phase_of(revision) < mark["phase"] or change.of_status):
                # It changed nothing: the answer names the object's latest revision, which somebody else wrote.
                self.unresolved.append(mark)
            elif revision not in taken:  # else the second of two identical writes: a no-op, answered with the first's
                taken.add(revision)
                write = Write(mark, revision)
                write.is_watched = self.shapes.get(write.group) == OPERATED
                writes.append(write)
        return sorted(writes, key=lambda write: write.revision)

    def phase_of(self, revision):
        """The phase of a revision; 0 before the first."""
        position = bisect.bisect_left(self.phases, (revision, 0))
        return self.phases[position - 1][1] if position else 0

    def group_of(self, change):
        """The prefix in a change's name or namespace, or None."""
        for text in (change.name, change.namespace, change.name_ref if change.kind == "IPAddress" else ""):
            found = self._prefixes.search(text)
            if found:
                return found.group(1)
        return None

    def candidates(self, group, change):
        """The writes of the group's newest phase so far that can have reached this change."""
        reaching = self._reaching[group]
        if change.kind == "Pod":
            # Whatever is done to the node that it runs on.
            reaching = reaching + [
                write for write in self._of_nodes[self._nodes.get(change.uid)] if write not in reaching
            ]
        before = [write for write in reaching if self._is_in_time(write, change) and write.touches(change.kind)]
        # The newest phase in which such a write came at all: what comes late belongs to it.
        newest = max((write.phase for write in before), default=None)
        found = [write for write in before if write.phase == newest]
        same = [write for write in found if write.uid == change.uid]
        if change.kind in ("Pod", "Node") and same:
            return same
        if change.kind == "Pod" and change.uid in self._nodes:
            # Of the nodes written in this phase, its own.
            node = self._nodes[change.uid]
            found = [write for write in found if write.kind != "Node" or write.name == node] or found
        if change.kind in ENDPOINTS:
            # They follow the group's pods, those that nodes of other groups take along as well.
            foreign = self._foreign_nodes(group, change)
            latest = max((write.phase for write in foreign), default=-1)
            if latest >= (newest or 0):
                found = found + [write for write in foreign if write.phase == latest]
        if change.kind not in ENDPOINTS and change.kind != "PodDisruptionBudget":
            # Of several workloads of one group, the one whose name is the longest part of this one's.
            stems = [write.name for write in found if write.kind in WORKLOADS and write.name in change.name]
            if stems:
                longest = max(stems, key=len)
                found = [write for write in found if write.kind not in WORKLOADS or write.name == longest]
        return found

    def _is_in_time(self, write, change):
        """Whether a write can have an effect on a change: it came before. A Pod that is being deleted already goes on to go."""
        asked = self._first_going.get(change.uid) if change.kind == "Pod" else None
        if asked is not None and asked < change.revision:
            return write.revision <= asked
        return write.revision < change.revision

    def _foreign_nodes(self, group, change):
        """The writes before a change to nodes of other groups on which pods of this one ran."""
        nodes = {node for node, birth in self._pods_on_nodes[group] if birth < change.revision}
        writes = [write for node in sorted(nodes) for write in self._of_nodes[node] if write.group != group]
        return [write for write in writes if write.revision < change.revision]

    def _marked(self, group, change, candidates):
        """Expected and tolerated roots where marks tell more than phases do, or None."""
        mark = change.mark if change.kind == "Pod" else None
        if change.kind == "ReplicaSet" and change.op == "create":
            mark = self._marks_of_owners.get(change.uid)
        if mark is None:
            return None
        chain = [
            write for write in self._reaching[group] if write.kind in WORKLOADS and write.revision < change.revision
        ]
        own = next((write for write in chain if write.mark == mark), None)
        if own is None:
            return None
        now = [write for write in candidates if write.kind in WORKLOADS]
        if change.goes:
            # It goes because of what came after it; how fast, depends on everything under way.
            later = {write.revision for write in now if write.revision > own.revision}
            if not later:
                return None
            return later, {write.revision for write in now} - later
        birth = self._births.get(change.uid, change.revision)
        # A write without a template (a scale, a suspension) between the mark and the birth may have made it as well.
        without = {
            write.revision
            for write in chain
            if own.revision < write.revision < birth and (write.group, write.mark) not in self._carried
        }
        expected = {own.revision} | without
        tolerated = {write.revision for write in chain if write.phase == own.phase and write.revision < own.revision}
        return expected, tolerated

    def _scheduled(self, group, change, candidates):
        """Truth of what a CronJob's schedule started: the creation of the Job is a root of its own."""
        for cron_job, jobs in self._jobs.items():
            if self.group_of_name(cron_job) != group:
                continue
            started = [(name, revision) for name, revision in jobs if revision < change.revision]
            own = [
                revision
                for name, revision in jobs
                if change.name == name or change.name.startswith(name + "-") or change.name.startswith(name + ".")
            ]
            written = {write.revision for write in candidates}
            if own and change.revision in own:
                return "timer", set(), True
            if own and not change.goes:
                return "effect", set(own), False
            # Its end may come from the client's deletion or from a later Job that completed (the history limit).
            return "effect", {revision for _, revision in started} | written, False
        return None

    def group_of_name(self, name):
        """The prefix in a name, or None."""
        found = self._prefixes.search(name)
        return found.group(1) if found else None

    def rows(self):
        """Yields the rows of truth.csv, from the first phase on."""
        begin = self.phases[0][0]
        for change in self.changes:
            if change.revision > begin:
                yield self.row(change)

    def row(self, change):
        """The row of one change."""
        group = self.group_of(change)
        phase = self.phase_of(change.revision)
        expected, tolerated, may_start = set(), set(), False
        if change.kind == "Lease" or change.key.startswith("/registry/masterleases/"):
            scope, may_start = "lease", True
        elif change.revision in self.by_revision:
            scope, may_start = "client", True
            expected = {also for also in self.by_revision[change.revision].also if also < change.revision}
        elif change.revision in self._in_requests:
            scope, may_start = "request", True
        elif group is None:
            scope, may_start = "background", True
        else:
            candidates = self.candidates(group, change)
            expected = {write.revision for write in candidates}.union(*(write.also for write in candidates))
            expected = {revision for revision in expected if revision < change.revision}
            scheduled = self._scheduled(group, change, candidates) if self._jobs else None
            marked = self._marked(group, change, candidates)
            if change.kind == "Event":
                # An Event tells of whatever its object went through; those of one object may come late and together.
                scope, may_start = "event", True
                expected |= {write.revision for write in self._reaching[group] if write.revision < change.revision}
                if scheduled:
                    expected |= scheduled[1]
            elif change.kind in OF_A_REQUEST:
                scope, may_start = "request", True
            elif scheduled:
                scope, expected, may_start = scheduled
            elif marked:
                scope = "effect"
                expected, tolerated = marked
            else:
                scope = "effect"
                if change.kind == "PodDisruptionBudget" and (group, phase) in self._evicting:
                    # An eviction takes from the budget before it deletes the pod.
                    scope, may_start = "request", True
                elif change.kind in SHARED or any(write.group != group for write in candidates):
                    scope, may_start = "shared", change.kind in SHARED
                may_start = may_start or change.revision in self._second
                may_start = may_start or self._clocked.get(change.name) == change.revision and change.kind == "Job"
            # What the clock began goes on from there.
            expected |= {
                revision
                for job, revision in self._clocked.items()
                if revision < change.revision and (change.name == job or change.name.startswith((job + "-", job + ".")))
            }
        return {
            "revision": change.revision,
            "ordinal": change.ordinal,
            "key": change.key,
            "op": change.op,
            "kind": change.kind,
            "group": group or "",
            "phase": phase,
            "scope": scope,
            "expected": ";".join(map(str, sorted(expected))),
            "tolerated": ";".join(map(str, sorted(tolerated))),
            "may_start": "true" if may_start else "false",
        }


def load_changes(file):
    """The changes of a CSV made by CHANGES_QUERY."""
    return [Change(row) for row in csv.DictReader(file)]


def main():
    parser = argparse.ArgumentParser(description="Writes truth.csv of a driven mix to stdout.")
    parser.add_argument("marks", nargs="?")
    parser.add_argument("changes", nargs="?")
    parser.add_argument("--query", action="store_true", help="print the query that makes CHANGES_CSV, and end")
    arguments = parser.parse_args()
    if arguments.query:
        print(CHANGES_QUERY)
        return
    csv.field_size_limit(1 << 30)
    with open(arguments.marks, encoding="utf-8") as file:
        marks = [json.loads(line) for line in file]
    with open(arguments.changes, encoding="utf-8", newline="") as file:
        truth = Truth(marks, load_changes(file))
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in truth.rows():
        writer.writerow(row)
    if truth.unresolved:
        print(
            f"{len(truth.unresolved)} writes changed nothing, or are not in the trace: "
            + ", ".join(f"{mark['verb']} {mark['kind']} {mark['name']}" for mark in truth.unresolved[:5]),
            file=sys.stderr,
        )


if __name__ == "__main__":
    csv.field_size_limit(1 << 30)
    main()
