#!/usr/bin/env python3
"""Lists what a program is made of, in CycloneDX 1.5 (https://cyclonedx.org/docs/1.5/json/).

    cargo metadata --locked --format-version 1 --filter-platform TARGET | sbom.py PACKAGE Cargo.lock

Crates that are linked into the program are "required". What only runs while it is compiled (build scripts and their crates, procedural
macros) is "excluded", which is CycloneDX's word for what is not there at run time. Nothing in it changes from one run to the next.
"""

import datetime
import json
import os
import sys
import tomllib
import uuid


def is_macro(package):
    """Whether a package is a procedural macro, which runs inside the compiler."""
    return any("proc-macro" in target["kind"] for target in package["targets"])


def reached(root, nodes, packages, follow_build):
    """Packages that `root` needs: to run, and with `follow_build` also to be compiled. Never those that only tests need."""
    found, waiting = set(), [root]
    while waiting:
        identity = waiting.pop()
        if identity in found:
            continue
        found.add(identity)
        for dependency in nodes[identity]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            for_running = None in kinds and not is_macro(packages[dependency["pkg"]])
            for_building = follow_build and kinds & {None, "build"}
            if for_running or for_building:
                waiting.append(dependency["pkg"])
    return found


def component(package, checksum, scope):
    """One crate."""
    described = {
        "type": "library",
        "bom-ref": reference(package),
        "name": package["name"],
        "version": package["version"],
        "scope": scope,
        "purl": reference(package),
    }
    if package.get("license"):
        # Old manifests separate alternatives by a slash, which SPDX does not know.
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum:
        described["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def reference(package):
    """The package URL, which also names the package within the document."""
    return f"pkg:cargo/{package['name']}@{package['version']}"


def main():
    program, lock_path = sys.argv[1:]
    metadata = json.load(sys.stdin)
    with open(lock_path, "rb") as file:
        locked = tomllib.load(file)["package"]
    checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in locked}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(identity for identity, package in packages.items() if package["name"] == program)

    linked = reached(root, nodes, packages, follow_build=False)
    everything = reached(root, nodes, packages, follow_build=True)
    components, dependencies = [], []
    for identity in sorted(everything, key=lambda identity: (packages[identity]["name"], packages[identity]["version"])):
        package = packages[identity]
        if identity != root:
            checksum = checksums.get((package["name"], package["version"]))
            components.append(component(package, checksum, "required" if identity in linked else "excluded"))
        needs = {reference(packages[dependency["pkg"]]) for dependency in nodes[identity]["deps"] if dependency["pkg"] in everything
                 and {kind["kind"] for kind in dependency["dep_kinds"]} & {None, "build"}}
        dependencies.append({"ref": reference(package), "dependsOn": sorted(needs)})

    subject = component(packages[root], None, "required")
    subject["type"] = "application"
    made = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": subject},
        "components": components,
        "dependencies": dependencies,
    }
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
