"""The cost of receiving kube-apiserver's spans."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from common import ROOT, Etcd, Interceptor, cargo_program, cpu_seconds, free_port, measure, resident_mib

HELP = """\
otlp: what the receiver of kube-apiserver's spans costs at a fixed rate of requests (--rate), sent as `cascade-tools otlp-load`
does, and whether those who wait for etcd feel it, in interleaved rounds of
  off         no spans
  elsewhere   another interceptor process receives the spans: what sender and receiver take from the machine
  on          the interceptor that relays receives the spans
First with the traffic alone (one worker that updates a key), then with no traffic but the spans.
"""


class OtlpLoad:
    """Spans that are sent while something else is measured."""

    def __init__(self, tools, port, arguments, seconds):
        self.process = subprocess.Popen(
            [tools, "otlp-load", "--receiver", f"http://127.0.0.1:{port}", "--messages", ROOT / "testdata/otlp",
             "--rate", str(arguments.rate), "--seconds", str(seconds)], stdout=subprocess.PIPE, text=True)

    def result(self):
        output, _ = self.process.communicate(timeout=600)
        if self.process.returncode != 0:
            sys.exit(f"error: cascade-tools otlp-load ended with {self.process.returncode}")
        return json.loads(output)


def condition(name, interceptor, tools, folder, arguments):
    """Measures one of off, elsewhere, on: with traffic, then without."""
    folder.mkdir()
    etcd = Etcd(folder)
    port = free_port()
    receive = ["--otlp-listen", f"127.0.0.1:{port}"]
    proxy = Interceptor(interceptor, etcd.url, folder / "trace", receive if name == "on" else [])
    other = None
    if name == "elsewhere":
        other = Interceptor(interceptor, etcd.url, folder / "other", ["--observe", "off", "--ledger", "off", *receive])
    measured = {}
    for with_traffic in (True, False):
        # Begins before and ends after what is measured meanwhile (`load` warms up for a second).
        spans = None if name == "off" else OtlpLoad(tools, port, arguments, arguments.seconds + 2)
        time.sleep(0.5)
        before, began = cpu_seconds(proxy.process), time.monotonic()
        result = {}
        if with_traffic:
            result = measure(tools, proxy.url, arguments, {"workers": 1, "connections": 1})
        else:
            time.sleep(arguments.seconds)
        result["cores"] = (cpu_seconds(proxy.process) - before) / (time.monotonic() - began)
        result["rss_mib"] = resident_mib(proxy.process)
        if spans:
            result["spans"] = spans.result()
        measured["with_traffic" if with_traffic else "without_traffic"] = result
    for process in filter(None, (proxy, other)):
        process.stop()
    etcd.stop()
    shutil.rmtree(folder)
    return measured


def run(arguments):
    interceptor = arguments.interceptor or cargo_program("cascade-interceptor", "cascade-interceptor")
    tools = arguments.tools or cargo_program("cascade-tools", "cascade-tools")
    conditions = ["off", "elsewhere", "on"]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    rounds = []
    try:
        for number in range(arguments.rounds):
            order = conditions[number % 3:] + conditions[:number % 3]
            measured = {name: condition(name, interceptor, tools, folder / f"{number}-{name}", arguments) for name in order}
            rounds.append(measured)
            print(f"round {number + 1}: " + ", ".join(
                f"{name} p50 {measured[name]['with_traffic']['p50_us']:.0f} us, "
                f"{measured[name]['without_traffic']['cores']:.3f} cores without traffic" for name in conditions), file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"benchmark": "otlp", "rounds": arguments.rounds, "seconds": arguments.seconds, "rate": arguments.rate,
            "machine": {"cpus": os.cpu_count()}, "results": rounds}


def markdown(document):
    rounds = document["results"]

    def median(name, part, key):
        return statistics.median(one[name][part][key] for one in rounds)

    def spans(name, key):
        return statistics.median(one[name]["without_traffic"]["spans"][key] for one in rounds)

    lines = ["| spans received | etcd writes | p50 | p99 | cores | cores, spans alone | RSS MiB |", "|---|---|---|---|---|---|---|"]
    for name in ("off", "elsewhere", "on"):
        lines.append(
            f"| {name} | {median(name, 'with_traffic', 'throughput'):.0f}/s | {median(name, 'with_traffic', 'p50_us'):.0f} µs | "
            f"{median(name, 'with_traffic', 'p99_us'):.0f} µs | {median(name, 'with_traffic', 'cores'):.3f} | "
            f"{median(name, 'without_traffic', 'cores'):.3f} | {median(name, 'without_traffic', 'rss_mib'):.0f} |")
    lines.append("")
    lines.append(
        f"Sent: {spans('on', 'rate'):.0f} requests/s, {spans('on', 'spans') / spans('on', 'seconds'):.0f} spans/s, "
        f"{spans('on', 'bytes') / spans('on', 'seconds') / 1e6:.1f} MB/s; a message of {spans('on', 'spans') / spans('on', 'messages'):.0f} spans "
        f"was answered in {spans('on', 'p50_us'):.0f} µs (p99 {spans('on', 'p99_us'):.0f} µs).")
    return "\n".join(lines)
