#!/usr/bin/env python3
"""Measures single edges against an operator that logs which changes each of its writes came of.

Usage: edges.py NAME=OPERATOR_LOG,EDGES_CSV... [OPTIONS], see --help

The log is that of `app-operator run --write-log` (examples/app-operator/README.md). Only edges to the operator's own writes are
judged, and all of them: truth says of each which changes set it off (`triggers`), which other changes a newer one of the same
object took the place of (`overtaken`), and all that had been read (`inputs`).

- *Precision*: the share of derived edges whose cause is a trigger or overtaken. That an App is gone has one more cause than the last
  thing that stood in its way: the request to delete it.
- *Recall*: the share of triggers that are derived as causes.
- *Read*: the share of derived edges whose cause the operator had read for this write at all.
- *Confidence* is that of the cascade, and of rejected candidates too: an edge counts as right there if its cause has a root in
  common with a trigger.
"""

import argparse
import collections
import json
import sys

import calibration
import evaluate
import report


class Write:
    """A write of the operator, at the revision it got."""

    def __init__(self, line, revision):
        self.what, self.app, self.revision = f"{line['verb']} {line['kind']}", (line["namespace"], line["name"]), revision
        self.triggers = {int(trigger) for trigger in line["triggers"]}
        self.allowed = self.triggers | {int(revision) for revision in line["overtaken"]}
        self.read = {int(revision) for revision in line["inputs"]}


def read_writes(lines):
    """The writes of a log whose revision is known: that of a deletion is told by the event that shows it."""
    lines = [json.loads(line) for line in lines]
    gone = {line["uid"]: int(line["resourceVersion"]) for line in lines if line["event"] == "gone"}
    writes = {}
    for line in lines:
        if line["event"] == "write":
            revision = line.get("resourceVersion") or gone.get(line["uid"])
            if revision is not None:
                write = Write(line, int(revision))
                writes.setdefault(write.revision, write)
    requests = collections.defaultdict(set)
    for write in writes.values():
        if write.what.startswith("delete"):
            requests[write.app] |= write.triggers
    for write in writes.values():
        if write.what == "finalizer App":
            write.allowed |= requests[write.app]
    return writes


class Tally:
    """Counts of edges."""

    def __init__(self):
        self.writes = self.derived = self.right = self.read = self.triggers = self.found = 0

    def add(self, write, causes):
        """Counts one write and the causes that were derived for it."""
        self.writes += 1
        self.derived += len(causes)
        self.right += len(causes & write.allowed)
        self.read += len(causes & (write.read | write.allowed))
        self.triggers += len(write.triggers)
        self.found += len(causes & write.triggers)

    def result(self):
        """As JSON has it; a share of nothing is None."""
        share = lambda part, whole: part / whole if whole else None
        return {
            "writes": self.writes,
            "edges": self.derived,
            "precision": share(self.right, self.derived),
            "read": share(self.read, self.derived),
            "triggers": self.triggers,
            "recall": share(self.found, self.triggers),
        }


def judge(name, writes, edges):
    """The figures of one run."""
    causes, evidence, stated = collections.defaultdict(set), {}, calibration.Calibration()
    roots = evaluate.root_sets(edges)
    roots_of = lambda revision: roots.get((revision, 0), frozenset([(revision, 0)]))
    for edge in edges:
        write = writes.get(edge.effect[0])
        if write and write.triggers:
            true_roots = frozenset().union(*(roots_of(trigger) for trigger in write.triggers))
            stated.add(edge.confidence, bool(roots_of(edge.cause[0]) & true_roots))
        if edge.chosen:
            causes[edge.effect[0]].add(edge.cause[0])
            evidence[edge.effect[0], edge.cause[0]] = edge.evidence
    total, by_write = Tally(), collections.defaultdict(Tally)
    misses, untold = collections.defaultdict(list), 0
    for revision, write in sorted(writes.items()):
        if not write.triggers:
            untold += 1
            continue
        derived = causes[revision]
        for tally in (total, by_write[write.what]):
            tally.add(write, derived)
        for cause in derived - write.allowed:
            kind = "read, but changed nothing" if cause in write.read else "not read"
            misses[write.what, f"wrong: {kind}", evidence[revision, cause]].append(write)
        if write.triggers - derived:
            misses[write.what, "missing", ""].append(write)
    return {
        "name": name,
        "all": total.result(),
        "by_write": {what: tally.result() for what, tally in sorted(by_write.items())},
        "untold": untold,
        "calibration": stated.table(),
        "calibration_large_bins": stated.large_bins(),
        "misses": [
            {
                "write": what,
                "judgement": judgement,
                "evidence": by,
                "n": len(found),
                "examples": [
                    {
                        "revision": write.revision,
                        "triggers": sorted(write.triggers),
                        "overtaken": sorted(write.allowed - write.triggers),
                        "causes": sorted(causes[write.revision]),
                    }
                    for write in found[:5]
                ],
            }
            for (what, judgement, by), found in sorted(misses.items(), key=lambda item: -len(item[1]))
        ],
    }


def markdown(results):
    """The report."""
    row = lambda name, figures: [
        name,
        figures["writes"],
        figures["edges"],
        report.percent(figures["precision"]),
        report.percent(figures["read"]),
        figures["triggers"],
        report.percent(figures["recall"]),
    ]
    parts = ["# Edges against what an operator read\n"]
    for result in results:
        rows = [row(f"**{result['name']}**", result["all"])]
        rows += [row(what, figures) for what, figures in result["by_write"].items()]
        parts.append(report.table(["writes", "n", "edges", "precision", "read", "triggers", "recall"], rows))
        if result["untold"]:
            parts.append(f"{result['untold']} writes whose reason no watch had shown are left out.\n")
        for title, key in (
            ("confidence of all candidates", "calibration"),
            (f"bins of at least {calibration.ENOUGH}", "calibration_large_bins"),
        ):
            rows = [list(row.values()) for row in result[key]]
            parts.append(report.table([title, "n", "stated", "observed", "error"], rows))
        if result["misses"]:
            parts.append(
                report.table(
                    ["write", "judgement", "evidence", "n", "example"],
                    [
                        [
                            miss["write"],
                            miss["judgement"],
                            miss["evidence"],
                            miss["n"],
                            "revision {revision}: causes {causes}, triggers {triggers}, overtaken {overtaken}".format(
                                **miss["examples"][0]
                            ),
                        ]
                        for miss in result["misses"]
                    ],
                )
            )
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description="Measures single edges against the log of an operator.")
    parser.add_argument("runs", nargs="+", metavar="NAME=OPERATOR_LOG,EDGES_CSV")
    report.add_options(
        parser,
        misses="write all kinds of misses, with examples, as JSON to this file",
        require="fail if precision or recall is lower; may be repeated, the last that fits a run counts",
    )
    arguments = parser.parse_args()
    results = []
    for run in arguments.runs:
        name, _, files = run.partition("=")
        log, edges = files.split(",")
        with open(log, encoding="utf-8") as file:
            results.append(judge(name, read_writes(file), evaluate.read_edges(edges)))
    misses = {result["name"]: result["misses"] for result in results}
    report.write(arguments, markdown(results), figures=results, misses=misses)
    failed = False
    for result in results:
        required = evaluate.required_share(arguments.require, result["name"])
        for measure in ("precision", "recall"):
            if (result["all"][measure] or 0) < required:
                share = report.percent(result["all"][measure])
                print(
                    f"error: {result['name']}: {measure} {share}, required {report.percent(required)}", file=sys.stderr
                )
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
