"""What the ledger's watch costs etcd itself."""

import os
import pathlib
import shutil
import statistics
import sys
import tempfile

from common import Etcd, Pki, Tail, cargo_program, cpu_seconds, interval, measure

HELP = """\
watch_cost: CPU seconds of etcd per write, with `cascade-interceptor tail` watching it and without, in pairs of measurements on one
etcd that follow one another in changing order (8 connections, 64 workers), over plain text and over TLS. The median of the pairs' ratios with a 95 % interval
from 10,000 bootstrap samples. Use at least 20 rounds.
"""

LANE = {"kind": "update", "workers": 64, "connections": 8}


def run(arguments):
    interceptor = arguments.interceptor or cargo_program("cascade-interceptor", "cascade-interceptor")
    tools = arguments.tools or cargo_program("cascade-tools", "cascade-tools")
    root = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    results = []
    try:
        for transport in arguments.transports:
            pki = Pki(root / "pki") if transport == "tls" else None
            pairs = []
            for number in range(arguments.rounds):
                folder = root / f"{transport}-{number}"
                folder.mkdir()
                pairs.append(pair(number, interceptor, tools, folder, pki, arguments))
                shutil.rmtree(folder)
                print(f"{transport} round {number + 1}: {pairs[-1]['without']:.1f} and {pairs[-1]['with']:.1f} us of etcd's CPU "
                      "per write", file=sys.stderr)
            results.append({"transport": transport, "pairs": pairs})
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {"benchmark": "watch_cost", "rounds": arguments.rounds, "seconds": arguments.seconds,
            "machine": {"cpus": os.cpu_count()}, "results": results}


def pair(number, interceptor, tools, folder, pki, arguments):
    """etcd's CPU per write in microseconds, with the watch and without, on one etcd."""
    etcd = Etcd(folder, pki)
    measured = {}
    for name in ("without", "with") if number % 2 else ("with", "without"):
        tail = Tail(interceptor, etcd.url, folder / f"trace-{name}", pki) if name == "with" else None
        before = cpu_seconds(etcd.process)
        result = measure(tools, etcd.url, arguments, LANE, pki)
        # The warm-up is in the CPU and not in the operations: the same share of both.
        measured[name] = (cpu_seconds(etcd.process) - before) * 1e6 / result["operations"]
        if tail:
            tail.stop()
    etcd.stop()
    return measured


def markdown(document):
    lines = ["| | etcd's CPU per write without a watch | with the ledger's watch, ratio | 95 % interval | pairs |", "|---|---|---|---|---|"]
    for result in document["results"]:
        pairs = result["pairs"]
        ratios = [measured["with"] / measured["without"] for measured in pairs]
        low, high = interval(ratios)
        lines.append(f"| {result['transport']} | {statistics.median(measured['without'] for measured in pairs):.1f} µs | "
                     f"{statistics.median(ratios):.3f} | {low:.3f} to {high:.3f} | {len(pairs)} |")
    return "\n".join(lines)
