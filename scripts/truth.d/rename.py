#!/usr/bin/env python3
"""Writes a copy of a trace in which every object has a random name: what rules must not read out of names, they cannot.

Usage: rename.py TRACE OUTPUT [--seed N]; needs pyarrow.

Two names stay equal only where Kubernetes itself links by name: a reference by kind and name (owners, name_refs, nodeName,
namespaces, the well-known labels and annotations of LINKS), and Endpoints, which bear the name of their Service. All else is
independent: objects of different kinds that happened to share a name no longer do, and a generated name (a Pod's, an Event's) no
longer begins with that of its parent. Values of labels and selectors that are names change too, alike for one label key, so that
selectors still select. Uids, hashes, times, sizes and writers stay as they are.
"""

import argparse
import json
import pathlib
import random
import sys

# Kinds that share their names: Kubernetes finds the one by the name of the other.
SAME_NAMES = {"Endpoints": "Service"}
# Labels and annotations whose values are names of objects of a kind.
LINKS = {
    "kubernetes.io/service-name": "Service",
    "kubernetes.io/metadata.name": "Namespace",
    "job-name": "Job",
    "batch.kubernetes.io/job-name": "Job",
    "statefulset.kubernetes.io/pod-name": "Pod",
    "controller-revision-hash": "ControllerRevision",
    "volume.kubernetes.io/selected-node": "Node",
    "kubernetes.io/hostname": "Node",
}
CLUSTER_SCOPED = {
    "Node",
    "Namespace",
    "PersistentVolume",
    "StorageClass",
    "ClusterRole",
    "ClusterRoleBinding",
    "PriorityClass",
    "IPAddress",
}
# Facts that are names, by their last part; the kind stands beside them, or is this one.
FACTS = {
    "involvedObject.name": None,
    "involvedObject.namespace": "Namespace",
    "claimRef.name": "PersistentVolumeClaim",
    "claimRef.namespace": "Namespace",
    "volumeName": "PersistentVolume",
    "serviceName": "Service",
    "storageClassName": "StorageClass",
    "currentRevision": "ControllerRevision",
    "updateRevision": "ControllerRevision",
    "nodeName": "Node",
    "clusterIP": "IPAddress",
}


class Names:
    """One random name per kind, namespace and name."""

    def __init__(self, seed):
        self._random, self._names, self._used, self.known = random.Random(seed), {}, set(), set()

    def _fresh(self):
        while True:
            name = "".join(self._random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(12))
            if name not in self._used:
                self._used.add(name)
                return name

    def of(self, kind, namespace, name):
        """The new name of an object."""
        if name is None:
            return None
        kind = SAME_NAMES.get(kind, kind)
        identity = (kind, None if kind in CLUSTER_SCOPED else namespace, name)
        if identity not in self._names:
            self._names[identity] = self._fresh()
        return self._names[identity]

    def namespace(self, name):
        """The new name of a namespace."""
        return self.of("Namespace", None, name)

    def value(self, key, namespace, text):
        """The new value of a label or annotation: a new name if it is one."""
        if key in LINKS:
            return self.of(LINKS[key], namespace, text) if text in self.known else text
        return self.of(f"label {key}", None, text) if text in self.known else text


def renamed_json(text, names, namespace):
    """A JSON object of labels, selectors or annotations with names replaced."""
    if text is None:
        return None
    values = json.loads(text)
    return json.dumps(
        {key: names.value(key, namespace, value) if isinstance(value, str) else value for key, value in values.items()},
        separators=(",", ":"),
    )


def renamed_facts(text, names, namespace):
    """The JSON object of facts with names replaced."""
    if text is None:
        return None
    facts = json.loads(text)
    new = {}
    for path, value in facts.items():
        kind = next((kind for suffix, kind in FACTS.items() if path.endswith(suffix)), "")
        if path.endswith("involvedObject.name"):
            value = names.of(facts.get("involvedObject.kind"), facts.get("involvedObject.namespace"), value)
        elif kind and isinstance(value, str):
            value = names.of(kind, namespace, value)
        elif isinstance(value, str) and value in names.known:
            value = names.of(f"fact {path}", namespace, value)
        new[path] = value
    return json.dumps(new, separators=(",", ":"))


def renamed_key(key, names, identities):
    """An etcd key: its last parts are namespace and name, or the name alone."""
    if key in identities:
        kind, namespace, name = identities[key]
        tail = f"/{namespace}/{name}" if namespace is not None and key.endswith(f"/{namespace}/{name}") else f"/{name}"
        if key.endswith(tail):
            new = f"/{names.of(kind, namespace, name)}"
            if namespace is not None and tail.count("/") == 2:
                new = f"/{names.namespace(namespace)}{new}"
            return key[: -len(tail)] + new
    return key


def rename_rows(rows, names, identities, kinds_of_resources):
    """Replaces names in the rows of any table, in place."""
    for row in rows:
        namespace, kind = row.get("namespace"), row.get("kind")
        if kind is None and "resource" in row:
            kind = kinds_of_resources.get(row["resource"], row["resource"])
        for column in ("labels", "selector", "annotations"):
            if column in row:
                row[column] = renamed_json(row[column], names, namespace)
        if "facts" in row:
            row["facts"] = renamed_facts(row["facts"], names, namespace)
        for owner in row.get("owners") or ():
            owner["name"] = names.of(owner["kind"], namespace, owner["name"])
        for reference in row.get("name_refs") or ():
            reference["name"] = names.of(reference["kind"], reference["namespace"], reference["name"])
            reference["namespace"] = names.namespace(reference["namespace"])
        if row.get("node_name") is not None:
            row["node_name"] = names.of("Node", None, row["node_name"])
        for column in ("key", "range_end"):
            if row.get(column) is not None:
                row[column] = renamed_key(row[column], names, identities)
        if "name" in row and kind is not None:
            row["name"] = names.of(kind, namespace, row["name"])
        if "namespace" in row:
            row["namespace"] = names.namespace(namespace)


def main():
    parser = argparse.ArgumentParser(description="Copies a trace, giving every object a random name.")
    parser.add_argument("trace", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    import pyarrow
    import pyarrow.parquet

    files = {
        path.relative_to(arguments.trace): pyarrow.parquet.ParquetFile(path).read()
        for path in sorted(arguments.trace.rglob("*.parquet"))
    }
    if not files:
        sys.exit(f"error: {arguments.trace} has no sealed files")
    names, identities, kinds_of_resources = Names(arguments.seed), {}, {}
    for path, table in files.items():
        if path.parts[0] in ("changes", "states"):
            for row in table.select(["key", "kind", "resource", "namespace", "name"]).to_pylist():
                if row["kind"] and row["name"]:
                    identities[row["key"]] = (row["kind"], row["namespace"], row["name"])
                    kinds_of_resources[row["resource"]] = row["kind"]
                    names.known |= {row["name"]} | ({row["namespace"]} if row["namespace"] else set())
    for path, table in files.items():
        rows = table.to_pylist()
        rename_rows(rows, names, identities, kinds_of_resources)
        target = arguments.output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # The schema carries the metadata that readers want in the footer.
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), target, compression="zstd")
    print(f"{len(identities)} objects renamed", file=sys.stderr)


if __name__ == "__main__":
    main()
