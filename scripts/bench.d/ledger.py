"""Whether the ledger keeps up with a given rate of changes."""

import array
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from common import Etcd, Interceptor, Tail, cargo_program, cpu_seconds, measure, resident_mib

HELP = """\
ledger: whether the ledger keeps up with --rate changes per second (5,000 without it) for --seconds, and what memory it takes
meanwhile, once with the interceptor in the path (`path`) and once beside it (`tail`). Updates come when they are due, not when the
last answer has come (8 connections, 64 workers). For each change, on one clock:
  after the answer   from the client having the answer to its write to the ledger having read the change off its watch
                     (`seen_unix_nano`); on a busy machine the client itself may be late, so this alone would flatter
  after the request  the same from the client sending the write: an upper bound, as etcd's own time is in it
  to the store       from reading it off the watch until the store has taken it (`cascade_ledger_hand_over_seconds`, an upper
                     bound from the histogram's buckets)
It is on the disk a flush interval (1 s) later. Once a second: resident memory, and how many revisions the ledger is behind etcd.
etcd compacts every minute, or its quota would end the run. `cascade` reads the trace; it is built without optimisation.
"""
DEFAULTS = {"seconds": 600.0, "rate": 5000.0}
LANE = {"kind": "update", "workers": 64, "connections": 8}
COMPACTION = ["--auto-compaction-mode", "periodic", "--auto-compaction-retention", "1m"]
BUCKET = re.compile(r'cascade_ledger_hand_over_seconds_bucket\{le="([^"]+)"\}')


class Sampler(threading.Thread):
    """What a recorder tells of itself, once a second."""

    def __init__(self, recorder):
        super().__init__(daemon=True)
        self.recorder, self.samples, self.ended, self.begun = recorder, [], threading.Event(), time.monotonic()

    def run(self):
        while not self.ended.wait(1.0):
            metrics = self.recorder.metrics()
            self.samples.append({
                "seconds": time.monotonic() - self.begun,
                "rss_mib": resident_mib(self.recorder.process),
                "lag_revisions": metrics["cascade_ledger_lag_revisions"],
                "not_durable": metrics["cascade_ledger_revision"] - metrics["cascade_ledger_durable_revision"],
            })

    def stop(self):
        self.ended.set()
        self.join()
        return self.samples


def percentile(ordered, percent):
    """Nearest rank."""
    return ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1]


def spread(values):
    ordered = sorted(values)
    return {f"p{percent}_ms": percentile(ordered, percent) / 1e6 for percent in (50, 99, 99.9, 100)}


def lags(cascade, trace, written):
    """How long after each answer and each request the ledger had read the change, in nanoseconds."""
    query = "SELECT revision, seen_unix_nano FROM raw.changes WHERE source = 'watch'"
    table = trace.with_suffix(".csv")
    subprocess.run([cascade, "sql", trace, "--format", "csv", "--output", table, "-c", query], check=True)
    # Revisions are dense.
    seen = array.array("q")
    with open(table) as lines:
        next(lines)
        for line in lines:
            revision, _, moment = line.partition(",")
            revision = int(revision)
            if revision >= len(seen):
                seen.extend([0] * (revision + 100_000 - len(seen)))
            seen[revision] = int(moment)
    table.unlink()
    after_answer, after_request = array.array("q"), array.array("q")
    with open(written) as lines:
        for line in lines:
            revision, sent, answered = map(int, line.split(","))
            if revision >= len(seen) or not seen[revision]:
                sys.exit(f"error: revision {revision} was answered and is not in the trace")
            after_answer.append(seen[revision] - answered)
            after_request.append(seen[revision] - sent)
    return after_answer, after_request


def hand_over(metrics):
    """Upper bounds of the time until the store has what was read together, from the histogram's buckets."""
    buckets = sorted((float(found[1]), count) for name, count in metrics.items() if (found := BUCKET.fullmatch(name)))
    total = buckets[-1][1]
    return {f"p{percent}_ms": next(le for le, count in buckets if count >= total * percent / 100) * 1e3 for percent in (50, 99)}


def memory(samples):
    """Whether memory grows: the first fifth, in which buffers reach their size, against the last; and the slope after the first."""
    fifth = max(1, len(samples) // 5)
    rest = samples[fifth:] or samples
    times, sizes = ([sample[key] for sample in rest] for key in ("seconds", "rss_mib"))
    slope = statistics.linear_regression(times, sizes).slope * 60 if len(rest) > 1 else 0.0
    return {
        "first_fifth_mib": statistics.median(sample["rss_mib"] for sample in samples[:fifth]),
        "last_fifth_mib": statistics.median(sample["rss_mib"] for sample in samples[-fifth:]),
        "max_mib": max(sample["rss_mib"] for sample in samples),
        "slope_mib_per_minute": slope,
    }


def condition(name, programs, folder, arguments):
    folder.mkdir()
    etcd = Etcd(folder, flags=COMPACTION)
    trace, written = folder / "trace", folder / "written.csv"
    if name == "path":
        recorder = Interceptor(programs["interceptor"], etcd.url, trace, [])
        url = recorder.url
    else:
        recorder = Tail(programs["interceptor"], etcd.url, trace)
        url = etcd.url
    sampler = Sampler(recorder)
    sampler.start()
    before, began = cpu_seconds(recorder.process), time.monotonic()
    result = measure(programs["tools"], url, arguments, LANE, further=["--rate", arguments.rate, "--written", written])
    result["cores"] = (cpu_seconds(recorder.process) - before) / (time.monotonic() - began)
    samples = sampler.stop()
    metrics = recorder.metrics()
    recorder.stop()
    etcd.stop()
    after_answer, after_request = lags(programs["cascade"], trace, written)
    trace_bytes = sum(file.stat().st_size for file in trace.rglob("*.parquet"))
    shutil.rmtree(folder)
    return {
        "mode": name, "load": result, "after_answer": spread(after_answer), "after_request": spread(after_request),
        "to_store": hand_over(metrics), "lag_revisions_max": max(sample["lag_revisions"] for sample in samples),
        "not_durable_max": max(sample["not_durable"] for sample in samples), "memory": memory(samples),
        "trace_bytes_per_change": trace_bytes / max(1, result["operations"]), "samples": samples,
    }  # fmt: skip


def run(arguments):
    programs = {
        "interceptor": arguments.interceptor or cargo_program("cascade-interceptor", "cascade-interceptor"),
        "tools": arguments.tools or cargo_program("cascade-tools", "cascade-tools"),
        "cascade": arguments.cascade or cargo_program("cascade-analyzer", "cascade", "dev"),
    }
    root = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    results = []
    try:
        for name in arguments.modes:
            results.append(condition(name, programs, root / name, arguments))
            print(f"{name}: {json.dumps({key: value for key, value in results[-1].items() if key != 'samples'})}", file=sys.stderr)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {"benchmark": "ledger", "rate": arguments.rate, "seconds": arguments.seconds,
            "machine": {"cpus": os.cpu_count()}, "results": results}


def markdown(document):
    lines = ["| | changes | write p99 | after the answer: p50 | p99 | p99.9 | max | after the request: p99 | to the store: p99 | "
             "revisions behind, most | CPU cores | memory, first fifth | last fifth | slope per minute | trace per change |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for result in document["results"]:
        load, answer, size = result["load"], result["after_answer"], result["memory"]
        lines.append(
            f"| {result['mode']} | {load['throughput']:.0f}/s | {load['p99_us'] / 1e3:.1f} ms | "
            + " | ".join(f"{answer[key]:.1f} ms" for key in ("p50_ms", "p99_ms", "p99.9_ms", "p100_ms"))
            + f" | {result['after_request']['p99_ms']:.1f} ms | {result['to_store']['p99_ms']:.1f} ms | {result['lag_revisions_max']:.0f} | "
            f"{load['cores']:.2f} | {size['first_fifth_mib']:.0f} MiB | {size['last_fifth_mib']:.0f} MiB | "
            f"{size['slope_mib_per_minute']:+.2f} MiB | {result['trace_bytes_per_change']:.0f} B |")
    return "\n".join(lines)
