"""The cost of the path: traffic in the shape of kube-apiserver's against one etcd, with and without a proxy."""

import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from common import Etcd, Interceptor, Pki, Process, cargo_program, cpu_seconds, etcd_program, free_port, measure, resident_mib

HELP = """\
overhead: traffic in the shape of kube-apiserver's against one etcd, over plain text and over TLS on both legs, in interleaved
rounds of
  direct      no proxy
  tcp         a relay of bytes without anything else (plain text)
  haproxy     HAProxy, mode tcp
  grpc-proxy  etcd's own proxy
  relay       cascade-interceptor with observer and ledger switched off: it only copies bytes
  observer    with the observer, without the ledger: what is done in the path
  ledger      with the ledger, without the observer: what is done beside the path
  full        cascade-interceptor as it runs by default: observer, ledger, decoding, Parquet
for lanes of updates over 1, 8 and 64 connections, as many as are possible and at a fixed rate, watches and big lists (--lanes: some
of them). Values are medians over the rounds: of the ratio to
`direct` in the same round, and the proxy's CPU in seconds per 100,000 operations. Then, for `full` against `relay`, the targets.
haproxy is left out, and said so, where it is not installed. All programs are built first (`cascade`, for counting joined
changes, without optimisation).
"""

LANES = [
    {"kind": "update", "workers": 1, "connections": 1},
    {"kind": "update", "workers": 64, "connections": 1},
    {"kind": "update", "workers": 64, "connections": 8},
    {"kind": "update", "workers": 64, "connections": 64},
    # Updates come when they are due, not when the last answer has come: nobody wants all that there is of the cores.
    {"kind": "update", "workers": 64, "connections": 8, "rate": 2000},
    {"kind": "watch", "workers": 8, "connections": 8},
    {"kind": "list", "workers": 2, "connections": 2},
]
# Their names, for --lanes.
NAMES = ["-".join(map(str, lane.values())) for lane in LANES]
FLAGS = {
    "relay": ["--observe", "off", "--ledger", "off"],
    "observer": ["--ledger", "off"],
    "ledger": ["--observe", "off"],
    "full": [],
}
HAPROXY = """\
global
  maxconn 4096
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen etcd
  bind 127.0.0.1:{port}{bind}
  server etcd 127.0.0.1:{target}{server}
"""


def listening(port, process):
    """Waits until a process listens."""
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            sys.exit(f"error: {process.args[0]} ended with {process.returncode}")
        time.sleep(0.01)
    sys.exit(f"error: {process.args[0]} does not listen")


class Other(Process):
    """A proxy that is not ours."""

    def __init__(self, name, programs, etcd, folder, pki):
        port = free_port()
        self.url = f"{'https' if pki else 'http'}://127.0.0.1:{port}"
        if name == "tcp":
            command = [programs["tools"], "tcp-relay", "--listen", f"127.0.0.1:{port}", "--target", f"127.0.0.1:{etcd.port}"]
        elif name == "haproxy":
            bind = server = ""
            if pki:
                bind = f" ssl crt {pki.both} ca-file {pki.ca} verify required alpn h2"
                server = f" ssl crt {pki.both} ca-file {pki.ca} verify required alpn h2"
            configuration = folder / "haproxy.cfg"
            configuration.write_text(HAPROXY.format(port=port, bind=bind, target=etcd.port, server=server))
            command = [programs["haproxy"], "-db", "-f", configuration]
        else:
            # It is a client of itself, so it must know its address, or it ends after 5 s. Its answers are limited to
            # 1.5 MiB unless it is told otherwise.
            command = [programs["etcd"], "grpc-proxy", "start", "--endpoints", etcd.url, "--listen-addr", f"127.0.0.1:{port}",
                       "--advertise-client-url", f"127.0.0.1:{port}", "--data-dir", folder / "grpc-proxy", "--max-send-bytes", "2147483647"]
            if pki:
                command += ["--cacert", pki.ca, "--cert", pki.cert, "--key", pki.key,
                            "--cert-file", pki.cert, "--key-file", pki.key, "--trusted-ca-file", pki.ca]
        super().__init__(command, folder / f"{name}.log")
        listening(port, self.process)


def recorded(proxy, programs, written):
    """What an interceptor with observer and ledger says about what it recorded, once it has stopped."""
    missed = sum(proxy.metric(f"cascade_{name}_total") for name in (
        "observer_calls_missed", "observer_unparsed_connections", "observer_opaque_messages", "store_rejected_calls"))
    proxy.stop()
    query = "SELECT count(*) AS changes, count(call_id) AS joined FROM changes WHERE op <> 'snapshot'"
    row = json.loads(subprocess.run(
        [programs["cascade"], "sql", proxy.folder, "--format", "ndjson", "-c", query], check=True, stdout=subprocess.PIPE).stdout)
    if row["changes"] < written:
        sys.exit(f"error: {written} writes were answered and {row['changes']} changes recorded")
    return {"missed": missed, "changes": row["changes"], "joined": row["joined"]}


def measure_one(name, lane, programs, etcd, folder, pki, arguments):
    """One measurement of one condition."""
    if name == "direct":
        return measure(programs["tools"], etcd.url, arguments, lane, pki)
    if name in FLAGS:
        proxy = Interceptor(programs["interceptor"], etcd.url, folder / f"trace-{name}", FLAGS[name], pki)
    else:
        proxy = Other(name, programs, etcd, folder, pki)
    before = cpu_seconds(proxy.process)
    result = measure(programs["tools"], proxy.url, arguments, lane, pki)
    result["cpu_s_per_100k"] = (cpu_seconds(proxy.process) - before) * 1e5 / max(result["operations"], 1)
    result["rss_mib"] = resident_mib(proxy.process)
    if name == "full" and lane["kind"] == "update":
        result["recorded"] = recorded(proxy, programs, result["operations"])
    else:
        proxy.stop()
    return result


def run(arguments):
    programs = {
        "interceptor": arguments.interceptor or cargo_program("cascade-interceptor", "cascade-interceptor"),
        "tools": arguments.tools or cargo_program("cascade-tools", "cascade-tools"),
        "cascade": arguments.cascade or cargo_program("cascade-analyzer", "cascade", "dev"),
        "etcd": etcd_program(),
        "haproxy": shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin"),
    }
    proxies = ["direct", "tcp", "haproxy", "grpc-proxy", *FLAGS]
    if not programs["haproxy"]:
        print("haproxy is not installed: it is left out", file=sys.stderr)
        proxies.remove("haproxy")
    results = []
    root = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    try:
        for transport in arguments.transports:
            pki = Pki(root / "pki") if transport == "tls" else None
            names = [name for name in proxies if not (pki and name == "tcp")]
            for lane in (lane for name, lane in zip(NAMES, LANES) if name in arguments.lanes):
                rounds = []
                for number in range(arguments.rounds):
                    # Another order in each round, so that none profits from its place.
                    first = number * 3 % len(names)
                    measured = {}
                    folder = root / f"{transport}-{lane['kind']}-{lane['workers']}-{lane['connections']}-{lane.get('rate', 'all')}-{number}"
                    folder.mkdir()
                    etcd = Etcd(folder, pki)
                    for name in names[first:] + names[:first]:
                        measured[name] = measure_one(name, lane, programs, etcd, folder, pki, arguments)
                    etcd.stop()
                    shutil.rmtree(folder)
                    rounds.append(measured)
                    print(f"{transport} {lane} round {number + 1}: " + ", ".join(
                        f"{name} {measured[name]['throughput']:.0f}/s {measured[name]['p50_us']:.0f} us"
                        for name in names), file=sys.stderr)
                results.append({"transport": transport, "lane": lane, "names": names, "rounds": rounds})
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return {"benchmark": "overhead", "rounds": arguments.rounds, "seconds": arguments.seconds,
            "machine": {"cpus": os.cpu_count()}, "results": results}


def ratio(rounds, name, key, base="direct"):
    """The median over the rounds of a value's ratio to another's in the same round."""
    return statistics.median(one[name][key] / max(one[base][key], 1e-9) for one in rounds)


def median(rounds, name, key):
    return statistics.median(one[name][key] for one in rounds)


def markdown(document):
    lines = ["| | workers / connections | | throughput | p50 | p99 | CPU s per 100k | RSS MiB |", "|---|---|---|---|---|---|---|---|"]
    targets = ["| | workers / connections | throughput | p50 | CPU, all | CPU, path alone | missed calls | joined changes |",
               "|---|---|---|---|---|---|---|---|"]
    for result in document["results"]:
        lane, rounds = result["lane"], result["rounds"]
        pace = f", {lane['rate']:,}/s" if "rate" in lane else ""
        label = f"| {result['transport']} {lane['kind']}{pace} | {lane['workers']} / {lane['connections']} |"
        lines.append(
            f"{label} direct | {median(rounds, 'direct', 'throughput'):.0f}/s | {median(rounds, 'direct', 'p50_us'):.0f} µs | "
            f"{median(rounds, 'direct', 'p99_us'):.0f} µs | | |")
        for name in result["names"][1:]:
            lines.append(
                f"{label} {name} | {ratio(rounds, name, 'throughput'):.2f} | {ratio(rounds, name, 'p50_us'):.2f} | "
                f"{ratio(rounds, name, 'p99_us'):.2f} | {median(rounds, name, 'cpu_s_per_100k'):.2f} | {median(rounds, name, 'rss_mib'):.0f} |")
        recorded = [one["full"]["recorded"] for one in rounds if "recorded" in one["full"]]
        told = "| | |"
        if recorded:
            changes, joined = (sum(one[key] for one in recorded) for key in ("changes", "joined"))
            told = f"| {sum(one['missed'] for one in recorded):.0f} | {joined} of {changes} ({100 * joined / changes:.3f} %) |"
        targets.append(
            f"{label} {ratio(rounds, 'full', 'throughput', 'relay'):.2f} | {ratio(rounds, 'full', 'p50_us', 'relay'):.2f} | "
            f"{ratio(rounds, 'full', 'cpu_s_per_100k', 'relay'):.2f} | {ratio(rounds, 'observer', 'cpu_s_per_100k', 'relay'):.2f} {told}")
    return "\n".join([*lines, "", "`full` against `relay` in the same round:", "", *targets])
