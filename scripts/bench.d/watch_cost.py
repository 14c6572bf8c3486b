"""What the ledger's watch costs etcd itself."""

import os
import pathlib
import random
import shutil
import statistics
import sys
import tempfile

from common import Etcd, Process, cargo_program, cpu_seconds, free_port, measure, wait_ready

HELP = """\
watch_cost: CPU seconds of etcd per write, with `cascade-interceptor tail` watching it and without, in pairs of measurements on one
etcd that follow one another in changing order (8 connections, 64 workers). The median of the pairs' ratios with a 95 % interval
from 10,000 bootstrap samples. Use at least 20 rounds.
"""

LANE = {"kind": "update", "workers": 64, "connections": 8}


class Tail(Process):
    def __init__(self, program, etcd_url, folder):
        metrics = free_port()
        super().__init__([program, "tail", "--etcd", etcd_url, "--trace-dir", folder, "--metrics-listen", f"127.0.0.1:{metrics}"],
                         folder.with_suffix(".log"))
        wait_ready(f"http://127.0.0.1:{metrics}/readyz", self.process)


def interval(values, samples=10_000):
    """95 % bootstrap interval of the median. The same values give the same interval."""
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(samples))
    return medians[int(samples * 0.025)], medians[int(samples * 0.975)]


def run(arguments):
    interceptor = arguments.interceptor or cargo_program("cascade-interceptor", "cascade-interceptor")
    tools = arguments.tools or cargo_program("cascade-tools", "cascade-tools")
    root = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    pairs = []
    try:
        for number in range(arguments.rounds):
            folder = root / str(number)
            folder.mkdir()
            etcd = Etcd(folder)
            pair = {}
            for name in ("without", "with") if number % 2 else ("with", "without"):
                tail = Tail(interceptor, etcd.url, folder / f"trace-{name}") if name == "with" else None
                before = cpu_seconds(etcd.process)
                result = measure(tools, etcd.url, arguments, LANE)
                # The warm-up is in the CPU and not in the operations: the same share of both.
                pair[name] = (cpu_seconds(etcd.process) - before) * 1e6 / result["operations"]
                if tail:
                    tail.stop()
            etcd.stop()
            shutil.rmtree(folder)
            pairs.append(pair)
            print(f"round {number + 1}: {pair['without']:.1f} and {pair['with']:.1f} us of etcd's CPU per write", file=sys.stderr)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {"benchmark": "watch_cost", "rounds": arguments.rounds, "seconds": arguments.seconds,
            "machine": {"cpus": os.cpu_count()}, "results": pairs}


def markdown(document):
    pairs = document["results"]
    ratios = [pair["with"] / pair["without"] for pair in pairs]
    low, high = interval(ratios)
    return (f"etcd's CPU per write: {statistics.median(pair['without'] for pair in pairs):.1f} µs without a watch, ratio with the "
            f"ledger's watch {statistics.median(ratios):.3f} (95 % interval {low:.3f} to {high:.3f}, {len(pairs)} pairs)")
