"""The cost of the path: kube-shaped transactions against one etcd, with and without a proxy."""

import os
import pathlib
import shutil
import statistics
import sys
import tempfile

from common import Etcd, Interceptor, cargo_program, cpu_seconds, measure, resident_mib

HELP = """\
overhead: kube-shaped transactions against one etcd, in interleaved rounds of
  direct      no proxy
  relay       cascade-interceptor with observer and ledger switched off: it only copies bytes
  full        cascade-interceptor as it runs by default: observer, ledger, decoding, Parquet
Every value is given as the median over the rounds of the ratio to `direct` in the same round, and CPU as seconds of the
proxy per 100,000 operations. Both programs are built for release first.
"""


def run(arguments):
    interceptor = arguments.interceptor or cargo_program("cascade-interceptor", "cascade-interceptor")
    tools = arguments.tools or cargo_program("cascade-tools", "cascade-tools")
    lanes = [{"workers": 1, "connections": 1}] + [
        {"workers": 64, "connections": connections} for connections in (1, 8, 64)]
    proxies = {"direct": None, "relay": ["--observe", "off", "--ledger", "off"], "full": []}
    results = []
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    try:
        for lane in lanes:
            rounds = []
            for number in range(arguments.rounds):
                # Another order in each round, so that none profits from its place.
                order = list(proxies)[number % 3:] + list(proxies)[:number % 3]
                etcd_folder = folder / f"{lane['workers']}-{lane['connections']}-{number}"
                etcd_folder.mkdir()
                etcd = Etcd(etcd_folder)
                measured = {}
                for name in order:
                    if name == "direct":
                        measured[name] = measure(tools, etcd.url, arguments, lane)
                        continue
                    proxy = Interceptor(interceptor, etcd.url, etcd_folder / f"trace-{name}", proxies[name])
                    before = cpu_seconds(proxy.process)
                    result = measure(tools, proxy.url, arguments, lane)
                    result["cpu_s_per_100k"] = (
                        (cpu_seconds(proxy.process) - before) * 1e5 / max(result["operations"], 1))
                    result["rss_mib"] = resident_mib(proxy.process)
                    proxy.stop()
                    measured[name] = result
                etcd.stop()
                shutil.rmtree(etcd_folder)
                rounds.append(measured)
                print(f"{lane} round {number + 1}: " + ", ".join(
                    f"{name} {measured[name]['throughput']:.0f}/s p50 {measured[name]['p50_us']:.0f} us"
                    for name in proxies), file=sys.stderr)
            results.append({"lane": lane, "rounds": rounds})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"benchmark": "overhead", "rounds": arguments.rounds, "seconds": arguments.seconds,
            "machine": {"cpus": os.cpu_count()}, "results": results}


def markdown(document):
    lines = ["| workers / connections | | throughput | p50 | p99 | CPU s per 100k | RSS MiB |", "|---|---|---|---|---|---|---|"]
    for result in document["results"]:
        lane, rounds = result["lane"], result["rounds"]

        def ratio(name, key):
            return statistics.median(one[name][key] / one["direct"][key] for one in rounds)

        def median(name, key):
            return statistics.median(one[name][key] for one in rounds)

        label = f"{lane['workers']} / {lane['connections']}"
        lines.append(
            f"| {label} | direct | {median('direct', 'throughput'):.0f}/s | {median('direct', 'p50_us'):.0f} µs | "
            f"{median('direct', 'p99_us'):.0f} µs | | |")
        for name in ("relay", "full"):
            lines.append(
                f"| {label} | {name} | {ratio(name, 'throughput'):.2f} | {ratio(name, 'p50_us'):.2f} | "
                f"{ratio(name, 'p99_us'):.2f} | {median(name, 'cpu_s_per_100k'):.2f} | {median(name, 'rss_mib'):.0f} |")
    return "\n".join(lines)
