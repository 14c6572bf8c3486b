"""What the interceptor costs a real control plane."""

import http.client
import json
import os
import pathlib
import re
import shlex
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from common import ROOT, CLOCK_TICKS, cargo_program, interval

HELP = """\
control_plane: a real control plane (scripts/control-plane, etcd without fsync, --nodes fake nodes) that runs a workload (--workload),
in rounds whose order changes, each condition started afresh, of
  direct   kube-apiserver talks to etcd
  path     through cascade-interceptor without the ledger: what is done in the path
  full     through cascade-interceptor as it runs by default
over plain text and over TLS on both legs. Measured are the workload's steps, waiting until it has settled left out; what a client
that creates, reads, updates and deletes a ConfigMap ten times a second meanwhile waits for its answers; and the CPU seconds of etcd,
kube-apiserver and the interceptor per change from the workload's begin to its end. Ratios are to `direct` in the same round; what the
ledger's watch costs etcd is its CPU per change of `full` against `path`. Medians with a 95 % interval from 10,000 bootstrap samples.
A round takes some 2 minutes for each condition. Use at least 10 rounds.
"""
CONDITIONS = {"direct": None, "path": {"CASCADE_LEDGER": "off"}, "full": {}}
STEP = re.compile(r"\s*[\d.]+ s\s+\+\s*([\d.]+) s\s+(.*)")
REVISIONS = re.compile(r"revisions (\d+) to (\d+)")
PROGRAMS = ["etcd", "kube-apiserver", "interceptor"]
# Seconds between the begins of two turns of the client.
TURN = 0.1


class ControlPlane:
    """A control plane of one condition, up for as long as the block runs."""

    def __init__(self, state, environment, transport, interceptor, nodes):
        self.state, self.transport, self.nodes = state, transport, nodes
        self.through = environment is not None
        self.environment = {**os.environ, **(environment or {}), "CASCADE_INTERCEPTOR": str(interceptor)}

    def __enter__(self):
        flags = ["--through-interceptor"] * self.through + ["--tls"] * (self.transport == "tls")
        try:
            self.run("up", "--no-fsync", "--nodes", str(self.nodes), *flags)
            self.run("settle", "3")
        except BaseException:
            self.run("down", check=False)
            raise
        exports = re.findall(r"^export (\w+)=(.*)$", self.run("env").stdout, re.MULTILINE)
        self.exports = {name: "".join(shlex.split(value)) for name, value in exports if name != "PATH"}
        return self

    def __exit__(self, *_):
        self.run("down", check=False)

    def run(self, *arguments, check=True):
        command = [ROOT / "scripts/control-plane", "--state", self.state, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        if check and done.returncode:
            sys.exit(f"error: control-plane {arguments[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return done

    def cpu_seconds(self):
        """User and system time of each program."""
        seconds = {}
        for name in PROGRAMS:
            pid = self.state / "pids" / name
            if pid.exists():
                fields = pathlib.Path(f"/proc/{pid.read_text().split()[0]}/stat").read_text().rpartition(")")[2].split()
                seconds[name] = (int(fields[11]) + int(fields[12])) / CLOCK_TICKS
        return seconds

    def client(self):
        token = (self.state / "credentials/tokens.csv").read_text().splitlines()[0].split(",")[0]
        return Client(self.exports["CONTROL_PLANE_APISERVER_URL"], token)


class Client(threading.Thread):
    """Creates, reads, updates and deletes an object at even distances, over one connection, and keeps how long each took."""

    def __init__(self, url, token):
        super().__init__(daemon=True)
        address = urllib.parse.urlsplit(url).netloc
        # Certificates that kube-apiserver signed itself.
        self.connection = http.client.HTTPSConnection(address, context=ssl._create_unverified_context(), timeout=60)
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.seconds = {verb: [] for verb in ("POST", "GET", "PUT", "DELETE")}
        self.failure, self.ended = None, threading.Event()

    def run(self):
        due, number = time.monotonic(), 0
        while not self.ended.is_set() and not self.failure:
            number += 1
            self.turn(f"bench-{number}")
            due = max(due + TURN, time.monotonic())
            self.ended.wait(due - time.monotonic())

    def turn(self, name):
        objects = "/api/v1/namespaces/default/configmaps"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": "x" * 1000}}
        for verb, path in (("POST", objects), ("GET", f"{objects}/{name}"), ("PUT", f"{objects}/{name}"), ("DELETE", f"{objects}/{name}")):
            body["data"]["verb"] = verb
            begun = time.monotonic()
            self.connection.request(verb, path, json.dumps(body) if verb in ("POST", "PUT") else None, self.headers)
            answer = self.connection.getresponse()
            text = answer.read()
            self.seconds[verb].append(time.monotonic() - begun)
            if answer.status not in (200, 201):
                self.failure = f"{verb} {path}: {answer.status} {text[:300]}"
                return

    def stop(self):
        """p50 and p99 of each verb in milliseconds, and of all."""
        self.ended.set()
        self.join()
        if self.failure:
            sys.exit(f"error: {self.failure}")
        every = [second for seconds in self.seconds.values() for second in seconds]
        return {verb: {"p50_ms": rank(seconds, 50), "p99_ms": rank(seconds, 99), "requests": len(seconds)}
                for verb, seconds in {**self.seconds, "all": every}.items()}


def rank(seconds, percent):
    ordered = sorted(seconds)
    return ordered[max(1, -(-len(ordered) * percent // 100)) - 1] * 1e3


def measure(plane, arguments):
    client = plane.client()
    before, began = plane.cpu_seconds(), time.monotonic()
    client.start()
    log = plane.run("workload", arguments.workload).stderr
    after, wall = plane.cpu_seconds(), time.monotonic() - began
    latencies = client.stop()
    steps = [(float(found[1]), found[2]) for line in log.splitlines() if (found := STEP.fullmatch(line))]
    first, last = map(int, REVISIONS.search(log).groups())
    changes = last - first
    return {
        "steps_s": sum(seconds for seconds, step in steps if not step.startswith("settle")),
        "wall_s": wall, "changes": changes, "latency": latencies,
        "cpu_us_per_change": {name: (after[name] - before[name]) * 1e6 / changes for name in after},
        "cores": {name: (after[name] - before[name]) / wall for name in after},
    }  # fmt: skip


def run(arguments):
    interceptor = arguments.interceptor or cargo_program("cascade-interceptor", "cascade-interceptor")
    subprocess.run([ROOT / "scripts/control-plane", "build"], check=True, stdout=subprocess.DEVNULL)
    root = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    results = []
    names = list(CONDITIONS)
    try:
        for transport in arguments.transports:
            rounds = []
            for number in range(arguments.rounds):
                first = number % len(names)
                measured = {}
                for name in names[first:] + names[:first]:
                    state = root / f"{transport}-{number}-{name}"
                    with ControlPlane(state, CONDITIONS[name], transport, interceptor, arguments.nodes) as plane:
                        measured[name] = measure(plane, arguments)
                    shutil.rmtree(state)
                rounds.append(measured)
                print(f"{transport} round {number + 1}: " + ", ".join(
                    f"{name} {one['steps_s']:.1f} s, p50 {one['latency']['all']['p50_ms']:.1f} ms, "
                    f"etcd {one['cpu_us_per_change']['etcd']:.0f} us per change" for name, one in measured.items()), file=sys.stderr)
            results.append({"transport": transport, "rounds": rounds})
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {"benchmark": "control_plane", "workload": arguments.workload, "rounds": arguments.rounds, "nodes": arguments.nodes,
            "machine": {"cpus": os.cpu_count()}, "results": results}


# What is compared: a label, and how to read it from a measurement.
VALUES = [
    ("workload's steps, s", lambda one: one["steps_s"]),
    *((f"{verb}, {percentile}, ms", lambda one, verb=verb, percentile=percentile: one["latency"][verb][f"{percentile}_ms"])
      for verb in ("POST", "GET", "PUT", "DELETE", "all") for percentile in ("p50", "p99")),
    ("etcd, CPU µs per change", lambda one: one["cpu_us_per_change"]["etcd"]),
    ("kube-apiserver, CPU µs per change", lambda one: one["cpu_us_per_change"]["kube-apiserver"]),
]  # fmt: skip


def compared(rounds, name, base, read):
    """The median ratio of two conditions in the same round, with its interval."""
    ratios = [read(one[name]) / max(read(one[base]), 1e-9) for one in rounds]
    low, high = interval(ratios)
    return f"{statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})"


def markdown(document):
    lines = ["| | | direct | path | full |", "|---|---|---|---|---|"]
    told = []
    for result in document["results"]:
        transport, rounds = result["transport"], result["rounds"]
        for label, read in VALUES:
            direct = statistics.median(read(one["direct"]) for one in rounds)
            lines.append(f"| {transport} | {label} | {direct:.2f} | {compared(rounds, 'path', 'direct', read)} | "
                         f"{compared(rounds, 'full', 'direct', read)} |")
        for label, key in (("interceptor, CPU µs per change", "cpu_us_per_change"), ("interceptor, cores", "cores")):
            values = [statistics.median(one[name][key]["interceptor"] for one in rounds) for name in ("path", "full")]
            lines.append(f"| {transport} | {label} | | {values[0]:.3g} | {values[1]:.3g} |")
        told.append(f"{transport}: etcd's CPU per change with the ledger's watch (`full` against `path`): "
                    + compared(rounds, "full", "path", lambda one: one["cpu_us_per_change"]["etcd"]))
    return "\n".join([*lines, "", *told])
