#!/usr/bin/env python3
"""Causes by the simplest rules that work at all: the peer that the analyzer's kernel has to beat.

Usage: baseline.py CHANGES_CSV > edges.csv        baseline.py --query

For every change: find the object its writer was working on (the reconcile root), take the newest change around it that the
writer had not reacted to yet, and what came within a moment before. No statistics, no content, no request spans.
"""

import argparse
import collections
import csv
import json
import sys

CHANGES_QUERY = """SELECT revision, ordinal, key, op, coalesce(kind, '') AS kind, coalesce(namespace, '') AS namespace,
coalesce(name, '') AS name, coalesce(uid, '') AS uid, owners, related_uids, coalesce(labels, '{}') AS labels,
coalesce(selector, '') AS selector, writers, changed,
deletion_time IS NOT NULL AS deleting, coalesce(seen_unix_nano, 0) AS at
FROM raw.changes ORDER BY revision, ordinal"""

CLIENTS = ("kubectl", "helm", "curl", "Helm")
# Inputs so close before the newest count as seen together with it, in nanoseconds.
BATCH_NS = 20_000_000
# Earlier changes of one object that are remembered.
REMEMBERED = 64

Seen = collections.namedtuple("Seen", "revision at loop")


class Live:
    """An object: what it refers to, and its latest changes."""

    def __init__(self):
        self.owners, self.mentions, self.owned, self.mentioned_by = [], set(), set(), set()
        self.changes = collections.deque(maxlen=REMEMBERED)
        self.labels, self.selector, self.namespace, self.kind, self.name, self.deleting = {}, {}, "", "", "", False


class Baseline:
    """Consumes changes in revision order and gives each its causes."""

    def __init__(self):
        self.objects, self.selectors, self.names = {}, collections.defaultdict(set), {}
        self.last_writes = {}  # (loop, root) to (revision, causes)

    def causes(self, row):
        """The causes of the next change and on what evidence."""
        revision, at = int(row["revision"]), int(row["at"])
        row["manager"] = next((writer["manager"] for writer in reversed(json.loads(row["writers"] or "[]"))), "")
        uid = row["uid"] or row["key"]
        known = uid in self.objects
        live = self.objects.setdefault(uid, Live())
        previous = live.changes[-1] if live.changes else None
        was_deleting, deleting = live.deleting, row["deleting"] == "true"
        self._learn(live, uid, row)
        status_only = (
            row["op"] == "update" and row["changed"] and '"status"' in row["changed"] and '"spec"' not in row["changed"]
        )
        loop = (row["manager"] if not status_only else "status", row["kind"])
        found, evidence = self._derive(
            row, uid, live, previous, was_deleting, deleting, status_only, loop, revision, known
        )
        live.changes.append(Seen(revision, at, loop))
        live.deleting = deleting
        if row["op"] == "delete" and row["kind"] == "Pod":
            self.selectors[("Pod", row["namespace"])].discard(uid)
        return found, evidence

    def _learn(self, live, uid, row):
        live.owners = [owner["uid"] for owner in json.loads(row["owners"] or "[]") or []]
        for owner in live.owners:
            self.objects.setdefault(owner, Live()).owned.add(uid)
        for mentioned in json.loads(row["related_uids"] or "[]") or []:
            live.mentions.add(mentioned)
            self.objects.setdefault(mentioned, Live()).mentioned_by.add(uid)
        live.labels, live.selector = json.loads(row["labels"]), json.loads(row["selector"] or "{}")
        live.namespace, live.kind, live.name = row["namespace"], row["kind"], row["name"]
        self.names[(row["kind"], row["namespace"], row["name"])] = uid
        if row["kind"] == "Pod":
            self.selectors[("Pod", row["namespace"])].add(uid)

    def _family(self, root):
        live = self.objects[root]
        family = {root, *live.owners, *live.owned, *live.mentions, *live.mentioned_by}
        if live.kind == "Endpoints":
            service = self.names.get(("Service", live.namespace, live.name))
            if service:
                family.add(service)
                live = self.objects[service]
        if live.selector:
            family |= {
                pod
                for pod in self.selectors[("Pod", live.namespace)]
                if live.selector.items() <= self.objects[pod].labels.items()
            }
        return family

    def _derive(self, row, uid, live, previous, was_deleting, deleting, status_only, loop, revision, known):
        if row["kind"] in ("Lease", "Node"):
            return [], ""
        if row["kind"] == "Event":
            return self._newest(live.mentions, revision), "uid"
        if row["manager"].startswith(CLIENTS) and not status_only and row["op"] != "delete":
            return [], ""
        if row["op"] == "delete" or (deleting and not was_deleting):
            if was_deleting and previous:
                return [previous.revision], "same_object"
            if not live.owners:
                service = self.names.get(("Service", live.namespace, live.name)) if live.kind == "Endpoints" else None
                return (self._newest({service}, revision), "name") if service else ([], "")
            root = live.owners[0]
        elif row["op"] == "create" or not status_only:
            root = (
                live.owners[0]
                if live.owners and row["manager"] == "kube-controller-manager" and row["kind"] not in ("EndpointSlice",)
                else uid
            )
        else:
            root = uid
        if not status_only and row["kind"] == "Pod" and row["op"] == "update" and not deleting and previous:
            return [previous.revision], "same_object"  # the binding
        last_revision, last_causes = self.last_writes.get((loop, root), (0, []))
        inputs = []
        for member in self._family(root):
            inputs += [
                seen
                for seen in self.objects[member].changes
                if last_revision < seen.revision < revision and (seen.loop != loop or member != uid)
            ]
        if inputs:
            newest = max(seen.at for seen in inputs)
            found, evidence = [seen.revision for seen in inputs if seen.at >= newest - BATCH_NS], (
                "owner" if root != uid else "child"
            )
        elif last_causes:
            found, evidence = last_causes, "same_reconcile"
        elif previous:
            found, evidence = [previous.revision], "same_object"
        else:
            found, evidence = [], ""
        self.last_writes[(loop, root)] = (revision, found)
        return found, evidence

    def _newest(self, uids, revision):
        seen = [
            self.objects[uid].changes[-1].revision for uid in uids if uid in self.objects and self.objects[uid].changes
        ]
        return [max(seen)] if seen else []


def main():
    parser = argparse.ArgumentParser(description="Writes edges by the baseline rules to stdout.")
    parser.add_argument("changes", nargs="?")
    parser.add_argument("--query", action="store_true", help="print the query that makes CHANGES_CSV, and end")
    arguments = parser.parse_args()
    if arguments.query:
        print(CHANGES_QUERY)
        return
    csv.field_size_limit(1 << 30)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(
        [
            "effect_revision",
            "effect_ordinal",
            "cause_revision",
            "cause_ordinal",
            "relation",
            "evidence",
            "confidence",
            "chosen",
        ]
    )
    baseline = Baseline()
    with open(arguments.changes, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found, evidence = baseline.causes(row)
            for cause in sorted(set(found)):
                writer.writerow([row["revision"], row["ordinal"], cause, 0, "trigger", evidence, "", "true"])


if __name__ == "__main__":
    main()
