#!/usr/bin/env python3
"""Prints what is right without each evidence, as a Markdown table.

Usage: ablation.py EVIDENCE=RESULT_JSON..., see --names

Each RESULT_JSON is what `evaluate.py --json` wrote about the same runs; EVIDENCE is what was switched off for it, empty for nothing.
"""

import json
import sys

import report

# What `cascade --causes-without` can switch off, in the order of the table.
EVIDENCE = [
    "spans",
    "cpid",
    "owner",
    "child",
    "uid",
    "selector",
    "name",
    "same_object",
    "same_reconcile",
    "deletion",
    "request",
    "generation",
    "content",
    "learnt",
]


def ablation_table(results):
    """One row per evidence, one column per run, from (evidence, parsed result) pairs: the share that is right, and how much less
    that is than with everything."""
    complete = dict(results)[""]
    names = [run["name"] for run in complete["runs"]]
    shares = lambda result: [run["measured"]["right_share"] for run in result["runs"]] + [result["total"]["right_share"]]
    rows = []
    for evidence, result in results:
        cells = [
            report.percent(share) + (f" ({100 * (share - full):+.2f})" if evidence and share != full else "")
            for share, full in zip(shares(result), shares(complete))
        ]
        rows.append([f"`{evidence}`" if evidence else "nothing", *cells])
    return report.table(["without", *names, "all"], rows)


def main():
    if sys.argv[1:] == ["--names"]:
        print("\n".join(EVIDENCE))
        return
    results = []
    for argument in sys.argv[1:]:
        evidence, _, path = argument.partition("=")
        with open(path, encoding="utf-8") as file:
            results.append((evidence, json.load(file)))
    print(ablation_table(results))


if __name__ == "__main__":
    main()
