#!/usr/bin/env python3
"""Measures derived causes against truth: which changes got exactly the right roots, and whether confidence means anything.

Usage: evaluate.py NAME=TRUTH_CSV,EDGES_CSV[,ROOTS_CSV[,ACTORS_CSV]]... [OPTIONS], see --help

Edges are the trigger edges as `cascade sql` exports them (EDGES_QUERY), or those of baseline.py. What "right" means is
stated in testdata/truth/README.md and, per class, at `judge`. Exit 1 if the share of right changes is below --require or
any change of a measured workload has a foreign root while --no-foreign is given.
"""

import argparse
import collections
import csv
import sys

import calibration
import report

# The columns of `edges` and `roots` that count, for `cascade sql`.
EDGES_QUERY = """SELECT effect_revision, effect_ordinal, cause_revision, cause_ordinal, relation, evidence, confidence, chosen
FROM edges WHERE relation = 'trigger' ORDER BY effect_revision, effect_ordinal, cause_revision, cause_ordinal"""
ROOTS_QUERY = "SELECT revision, ordinal, root_class FROM roots ORDER BY revision, ordinal"
ACTORS_QUERY = "SELECT revision, ordinal, coalesce(actor, '') AS actor FROM changes ORDER BY revision, ordinal"

# Judgements, from good to bad; the first that applies from the end is the change's.
RIGHT, TOLERATED, MISSING, WRONG, FOREIGN = "right", "tolerated", "missing", "wrong", "foreign"
JUDGEMENTS = [RIGHT, TOLERATED, MISSING, WRONG, FOREIGN]
# Scopes whose changes are effects of a workload's writes: what the headline counts.
MEASURED = ("effect", "shared", "timer")


class Row:
    """A row of truth.csv."""

    __slots__ = ("id", "key", "op", "kind", "group", "phase", "scope", "expected", "tolerated", "may_start", "actor")

    def __init__(self, row):
        numbers = lambda text: frozenset((int(number), 0) for number in text.split(";")) if text else frozenset()
        self.id = (int(row["revision"]), int(row["ordinal"]))
        self.key, self.op, self.kind, self.group, self.scope = (
            row["key"],
            row["op"],
            row["kind"],
            row["group"],
            row["scope"],
        )
        self.phase, self.may_start = int(row["phase"]), row["may_start"] == "true"
        self.expected, self.tolerated, self.actor = numbers(row["expected"]), numbers(row["tolerated"]), ""


class Edge:
    """A trigger edge."""

    __slots__ = ("effect", "cause", "evidence", "confidence", "chosen")

    def __init__(self, row):
        self.effect = (int(row["effect_revision"]), int(row["effect_ordinal"] or 0))
        self.cause = (int(row["cause_revision"]), int(row["cause_ordinal"] or 0))
        self.evidence, self.confidence = row["evidence"], float(row["confidence"] or "nan")
        self.chosen = row["chosen"] in ("true", "True", "1", "")


def read_rows(path):
    """The rows of a truth.csv."""
    with open(path, encoding="utf-8", newline="") as file:
        return [Row(row) for row in csv.DictReader(file)]


def read_edges(path):
    """The edges of a CSV; an edge whose cause is not before its effect is an error."""
    with open(path, encoding="utf-8", newline="") as file:
        edges = [Edge(row) for row in csv.DictReader(file)]
    for edge in edges:
        if edge.cause >= edge.effect:
            raise ValueError(
                f"{path}: change {edge.effect} is said to be caused by {edge.cause}, which is not before it"
            )
    return edges


def root_sets(edges):
    """For every effect of a chosen edge its set of roots. A change that is not in the result is its own root."""
    causes = collections.defaultdict(list)
    for edge in edges:
        if edge.chosen:
            causes[edge.effect].append(edge.cause)
    roots, interned = {}, {}
    for effect in sorted(causes):
        found = frozenset().union(*(roots.get(cause, frozenset([cause])) for cause in causes[effect]))
        roots[effect] = interned.setdefault(found, found)
    return roots


def judge(row, roots, groups):
    """The judgement of one change by its roots.

    - A client's write and a schedule's first change must be roots of their own: else `wrong`. An eviction may instead
      follow from what the same request wrote before it.
    - A change of no workload (scope background) or a lease is right as long as no workload's write is among its roots.
    - Any other is right if it has roots and all are expected ones; `tolerated` if some are only tolerated, yet at least one is
      expected; where `may_start`, being its own root is right as well. A root of another workload is `foreign` unless
      expected; one of its own workload that is not expected, or of no workload beside an expected one, is `wrong`;
      no workload's write at all is `missing` (the change is an orphan, or follows one).
    """
    own = frozenset([row.id])
    if row.scope in ("client", "timer"):
        return RIGHT if roots == own or (roots and roots <= row.expected) else WRONG
    if row.scope in ("background", "lease"):
        return FOREIGN if any(groups.get(root) for root in roots) and row.scope == "background" else RIGHT
    if row.may_start and roots == own:
        return RIGHT
    stray = roots - row.expected - row.tolerated
    if not stray:
        if not roots & row.expected:
            return WRONG
        return RIGHT if roots <= row.expected else TOLERATED
    if row.scope == "request" and roots <= row.expected | own:
        return RIGHT
    foreign = {root for root in stray if groups.get(root, row.group) not in (row.group, "")}
    if foreign:
        return FOREIGN
    if any(root in groups and groups[root] == row.group and is_start(root, row, groups) for root in stray):
        return WRONG
    return MISSING if not roots & (row.expected | row.tolerated) else WRONG


def is_start(root, row, groups):
    """Whether a stray root of the own workload is a write that someone made, not an orphan."""
    return root in groups.starts and root != row.id


class Groups(dict):
    """The workload of every change, and which changes are starts (client writes, schedules)."""

    def __init__(self, rows):
        super().__init__((row.id, row.group) for row in rows)
        self.starts = {row.id for row in rows if row.scope in ("client", "timer")}


def tally(judged):
    """Counts of judgements and the share that is right."""
    counts = collections.Counter(judged)
    total = sum(counts.values())
    return (
        {"n": total}
        | {judgement: counts[judgement] for judgement in JUDGEMENTS}
        | {
            "right_share": round((counts[RIGHT] + counts[TOLERATED]) / total, 5) if total else None,
            "strict_share": round(counts[RIGHT] / total, 5) if total else None,
        }
    )


def evaluate(name, rows, edges, root_classes=None):
    """Everything that is measured about one run."""
    roots = root_sets(edges)
    groups = Groups(rows)
    causes = collections.defaultdict(list)
    for edge in edges:
        if edge.chosen:
            causes[edge.effect].append(edge)
    judged = {row.id: judge(row, roots.get(row.id, frozenset([row.id])), groups) for row in rows}
    bad = {MISSING, WRONG, FOREIGN}
    measured = [row for row in rows if row.scope in MEASURED]

    def by(key, selection):
        sorted_rows = collections.defaultdict(list)
        for row in selection:
            sorted_rows[key(row)].append(judged[row.id])
        return {group: tally(values) for group, values in sorted(sorted_rows.items(), key=lambda item: -len(item[1]))}

    # Misses that begin here: what it was derived from is right, so the step itself is not.
    first = [
        row
        for row in measured
        if judged[row.id] in bad and not any(judged.get(edge.cause) in bad for edge in causes[row.id])
    ]
    classes = collections.defaultdict(list)
    for row in first:
        how = causes[row.id][0].evidence if causes[row.id] else "no cause"
        classes[(row.kind, row.op, row.actor, judged[row.id], how)].append(row)
    workloads = by(lambda row: row.group, measured)
    result = {
        "name": name,
        "measured": tally(judged[row.id] for row in measured),
        "by_scope": by(lambda row: row.scope, rows),
        "by_kind": by(lambda row: f"{row.kind} {row.op}", measured),
        "by_actor": by(lambda row: row.actor or "unknown", measured),
        "by_phase": by(lambda row: row.phase, measured),
        "by_workload": workloads,
        "workloads_wholly_right": sum(1 for counts in workloads.values() if counts["right_share"] == 1),
        "first_misses": [
            {
                "kind": kind,
                "op": op,
                "actor": actor,
                "judgement": judgement,
                "evidence": evidence,
                "n": len(found),
                "examples": [
                    {
                        "revision": row.id[0],
                        "key": row.key,
                        "phase": row.phase,
                        "expected": sorted(root[0] for root in row.expected)[:8],
                        "roots": sorted(root[0] for root in roots.get(row.id, [row.id]))[:8],
                        "causes": [edge.cause[0] for edge in causes[row.id]][:8],
                    }
                    for row in found[:4]
                ],
            }
            for (kind, op, actor, judgement, evidence), found in sorted(classes.items(), key=lambda item: -len(item[1]))
        ],
        "edges": {"chosen": sum(edge.chosen for edge in edges), "candidates": len(edges)},
    }
    result |= calibration.tables(rows, edges, roots, MEASURED)
    if root_classes is not None:
        found = collections.Counter((row.scope, root_classes.get(row.id, "effect")) for row in rows)
        result["root_classes"] = {
            f"{scope}: {root_class}": count for (scope, root_class), count in sorted(found.items())
        }
    return result


def required_share(requirements, name):
    """The share that a run needs by the last of the requirements that fits it; 0 without one."""
    required = 0.0
    for requirement in requirements:
        run, _, share = requirement.rpartition("=")
        if run in ("", name):
            required = float(share)
    return required


def total(results):
    """The tally of all runs together."""
    counts = collections.Counter()
    for result in results:
        counts.update({judgement: result["measured"][judgement] for judgement in JUDGEMENTS})
    return tally(counts.elements())


def main():
    parser = argparse.ArgumentParser(description="Measures derived causes against truth.")
    parser.add_argument("runs", nargs="*", metavar="NAME=TRUTH,EDGES[,ROOTS[,ACTORS]]")
    report.add_options(
        parser,
        misses="write every first miss, by class, as JSON to this file",
        require="fail if less of the measured changes is right, in any run or in that one; may be repeated, the last that fits counts",
    )
    parser.add_argument(
        "--no-foreign", action="store_true", help="fail if a measured change has a root of another workload"
    )
    parser.add_argument(
        "--query", choices=["edges", "roots", "actors"], help="print the query that exports these, and end"
    )
    arguments = parser.parse_args()
    if arguments.query:
        print({"edges": EDGES_QUERY, "roots": ROOTS_QUERY, "actors": ACTORS_QUERY}[arguments.query])
        return 0
    csv.field_size_limit(1 << 30)
    results = []
    for run in arguments.runs:
        name, _, files = run.partition("=")
        truth_file, edges_file, roots_file, actors_file = (files.split(",") + [None] * 3)[:4]
        rows = read_rows(truth_file)
        classes = None
        if roots_file:
            with open(roots_file, encoding="utf-8", newline="") as file:
                classes = {
                    (int(row["revision"]), int(row["ordinal"] or 0)): row["root_class"] for row in csv.DictReader(file)
                }
        if actors_file:
            with open(actors_file, encoding="utf-8", newline="") as file:
                actors = {
                    (int(row["revision"]), int(row["ordinal"] or 0)): row["actor"] for row in csv.DictReader(file)
                }
            for row in rows:
                row.actor = actors.get(row.id, "")
        results.append(evaluate(name, rows, read_edges(edges_file), classes))
    together = total(results)
    report.write(
        arguments,
        report.markdown(results, together, JUDGEMENTS),
        figures={"total": together, "runs": results},
        misses={result["name"]: result["first_misses"] for result in results},
    )
    failed = False
    for result in results:
        measured, required = result["measured"], required_share(arguments.require, result["name"])
        if (measured["right_share"] or 0) < required:
            right = report.percent(measured["right_share"])
            print(f"error: {result['name']}: {right} right, required {report.percent(required)}", file=sys.stderr)
            failed = True
        if arguments.no_foreign and measured[FOREIGN]:
            print(
                f"error: {result['name']}: {measured[FOREIGN]} changes have a root of another workload", file=sys.stderr
            )
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
