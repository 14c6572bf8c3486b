#!/usr/bin/env python3
"""Writes one stored value per kind from an etcd that a kube-apiserver filled. Called by scripts/record values.

Usage: dump-values.py ETCDCTL ENDPOINT FOLDER INTERCEPTOR

For each apiVersion and kind, as the value itself says them, the value of median size becomes FOLDER/KIND[.GROUP].bin, its
key FOLDER/KIND[.GROUP].key, and what `cascade-interceptor decode` makes of it FOLDER/KIND[.GROUP].json.
"""

import base64
import json
import pathlib
import subprocess
import sys


def length_delimited(data):
    """The fields of a small protobuf message in order; lengths under 128 only, as in a TypeMeta."""
    fields = []
    while data:
        length = data[1]
        fields.append(data[2:2 + length])
        data = data[2 + length:]
    return fields


def kind_of(value):
    """(apiVersion, kind) of a stored value, or None when it is no Kubernetes object."""
    if value.startswith(b"k8s\0"):
        type_meta = value[6:6 + value[5]]
        api_version, kind = length_delimited(type_meta)
        return api_version.decode(), kind.decode()
    if value.startswith(b"{"):
        document = json.loads(value)
        return document["apiVersion"], document["kind"]
    return None


def main():
    etcdctl, endpoint, folder, interceptor = sys.argv[1:]
    folder = pathlib.Path(folder)
    stored = json.loads(subprocess.check_output([etcdctl, "--endpoints", endpoint, "get", "/", "--prefix", "-w", "json"]))
    kinds = {}
    for kv in stored["kvs"]:
        key, value = base64.b64decode(kv["key"]), base64.b64decode(kv.get("value", ""))
        kind = kind_of(value)
        if kind is not None:
            kinds.setdefault(kind, []).append((len(value), key, value))
    for (api_version, kind), values in sorted(kinds.items()):
        values.sort()
        _, key, value = values[len(values) // 2]
        group = api_version.rpartition("/")[0]
        path = folder / (kind.lower() + (f".{group}" if group else ""))
        decoded = subprocess.run(
            [interceptor, "decode", "--key", key.decode()], input=value, stdout=subprocess.PIPE, check=True).stdout
        for suffix, content in ((".bin", value), (".key", key), (".json", decoded)):
            pathlib.Path(f"{path}{suffix}").write_bytes(content)
    print(f"{len(kinds)} kinds in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
