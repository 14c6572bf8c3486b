"""What it takes to derive a large trace, and to ask it."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from common import ROOT, cargo_program
from memory_cgroup import MemoryCgroup

HELP = """\
analyzer: generates a trace of every size in --changes from the recordings in testdata/truth (with a ReplicaSet of one Pod, a
namespace of one Service and an object of one revision per 200, 2,000 and 10 changes), derives it with `cascade derive` on two
cores under --memory-limit, and asks the result and the trace a few questions, each --rounds times, in `cascade sql` and in
DuckDB over the same files. Traces are kept in --traces, if given, and used again.
"""

CPUS = 2
# The runs of testdata/truth that traces are generated from: new ones would make figures that cannot be compared with older ones.
RECORDINGS = ["cluster", "deployments", "hurried", "trouble", "workloads"]
PERCENTILES = "[0.5, 0.9, 0.99]"
# What the limits are the 4 GiB and 512 MiB of.
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

# Name, SQL for cascade, SQL for DuckDB. What is grouped by is in both the same, and so is the number of rows.
QUESTIONS = [
    (
        "percentiles by path",
        f"SELECT path_id, count(*) AS n, quantile_disc(since_root_ns, {PERCENTILES}) AS q FROM reach GROUP BY path_id"
        " ORDER BY n DESC, path_id",
        f"SELECT path_id, count(*) AS n, quantile_disc(since_root_ns, {PERCENTILES}) AS q FROM derived.reach GROUP BY path_id"
        " ORDER BY n DESC, path_id",
    ),
    (
        "hops by kind",
        "SELECT cause_kind, effect_kind, effect_actor, count(*) AS n, quantile_disc(total_ns, 0.5) AS p50 FROM hops"
        " GROUP BY 1, 2, 3 ORDER BY n DESC, 1, 2, 3",
        "SELECT cause_kind, effect_kind, effect_actor, count(*) AS n, quantile_disc(total_ns, 0.5) AS p50 FROM derived.hops"
        " GROUP BY 1, 2, 3 ORDER BY n DESC, 1, 2, 3",
    ),
    (
        "changes by kind",
        "SELECT api_group, kind, op, count(*) AS n, sum(value_bytes) AS bytes FROM raw.changes GROUP BY 1, 2, 3"
        " ORDER BY n DESC, 1, 2, 3",
        "SELECT api_group, kind, op, count(*) AS n, sum(value_bytes) AS bytes FROM raw.changes GROUP BY 1, 2, 3"
        " ORDER BY n DESC, 1, 2, 3",
    ),
    (
        "latency of calls",
        "SELECT shape, count(*) AS n, quantile_disc(duration_ns, 0.99) AS p99 FROM raw.calls GROUP BY shape ORDER BY shape",
        "SELECT shape, count(*) AS n, quantile_disc(duration_ns, 0.99) AS p99 FROM raw.calls GROUP BY shape ORDER BY shape",
    ),
    (
        "one object",
        "SELECT revision, op FROM raw.changes WHERE revision = (SELECT max(revision) FROM raw.changes)",
        "SELECT revision, op FROM raw.changes WHERE revision = (SELECT max(revision) FROM raw.changes)",
    ),
]

# Run by the Python that has DuckDB: asks every question so many times, and prints seconds and rows.
ASK_DUCKDB = """
import duckdb, json, sys, time
asked = json.load(sys.stdin)
connection = duckdb.connect()
connection.execute(f"SET threads = {asked['threads']}; SET TimeZone = 'UTC'; CREATE SCHEMA raw; CREATE SCHEMA derived")
for schema, table, files in asked["tables"]:
    partitions = ", hive_partitioning = true" if schema == "raw" else ""
    connection.execute(f"CREATE VIEW {schema}.{table} AS SELECT * FROM read_parquet('{files}'{partitions})")
answers = []
for query in asked["queries"]:
    seconds = []
    for _ in range(asked["rounds"]):
        began = time.monotonic()
        rows = connection.execute(query).fetchall()
        seconds.append(time.monotonic() - began)
    answers.append({"seconds": seconds, "rows": len(rows)})
json.dump({"version": duckdb.__version__, "answers": answers}, sys.stdout)
"""


def bytes_of(text):
    """A size such as 512MiB in bytes."""
    for unit, size in UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * size)
    sys.exit(f"error: {text} is no size; write it as 512MiB or 4GiB")


def folder_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def generated(tools, changes, folder):
    """The trace with so many changes; made unless it is there."""
    trace = folder / f"trace-{changes}"
    if trace.exists():
        return trace
    print(f"generating {changes:,} changes", file=sys.stderr)
    recordings = [ROOT / "testdata/truth" / run / "trace" for run in RECORDINGS]
    made = folder / f".trace-{changes}"
    shutil.rmtree(made, ignore_errors=True)
    subprocess.run(
        [tools, "generate", "--from", *recordings, "--changes", str(changes), "--output", made],
        check=True, stdout=subprocess.DEVNULL)
    made.rename(trace)
    return trace


def two_cores():
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])


def derived(cascade, trace, output, limit):
    """Derives a trace under a limit of memory: how long it took, how much it used, or how it failed."""
    shutil.rmtree(output, ignore_errors=True)
    command = [cascade, "derive", trace, "--output", output, "--threads", str(CPUS), "--memory-limit", str(limit), "--format", "json"]
    with MemoryCgroup.of(limit) as cgroup, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:

        def enter():
            two_cores()
            cgroup.enter()

        began = time.monotonic()
        process = subprocess.Popen([*map(str, command)], stdout=out, stderr=errors, preexec_fn=enter)
        # What this very process used, not the largest of all so far.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        measured = {
            "seconds": time.monotonic() - began,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "peak_bytes": used.ru_maxrss * 1024,
            "limit_bytes": limit,
            "limited_by": cgroup.kind,
            "exit": process.returncode,
        }
        out.seek(0)
        errors.seek(0)
        out, errors = out.read(), errors.read()
    if process.returncode != 0:
        return measured | {"error": errors.strip().splitlines()[-1:] or [f"killed by signal {-process.returncode}"]}
    tables = json.loads(out)["tables"]
    return measured | {"tables": {table["name"]: {"rows": table["rows"], "bytes": table["bytes"]} for table in tables}}


def asked_cascade(cascade, trace, output, query, rounds):
    """Seconds of a whole `cascade sql`, its start and the opening of the trace included, and the number of rows."""
    command = [cascade, "sql", trace, "--derived", output, "--threads", str(CPUS), "--format", "csv", "-c", query]
    seconds = []
    for _ in range(rounds):
        began = time.monotonic()
        answer = subprocess.run(
            [*map(str, command)], check=True, stdout=subprocess.PIPE, text=True, preexec_fn=two_cores).stdout
        seconds.append(time.monotonic() - began)
    return {"seconds": seconds, "rows": len(answer.splitlines()) - 1}


def asked_duckdb(python, trace, output, rounds):
    """Seconds of each question in one DuckDB, without its start."""
    folder = next(path for path in output.iterdir() if not path.name.startswith("."))
    tables = [("raw", name, trace / name / "**" / "*.parquet") for name in ("changes", "calls")]
    tables += [("derived", name, folder / f"{name}.parquet") for name in ("reach", "hops")]
    asked = {
        "threads": CPUS, "rounds": rounds, "queries": [theirs for _, _, theirs in QUESTIONS],
        "tables": [(schema, name, str(files)) for schema, name, files in tables],
    }
    done = subprocess.run(
        [python, "-c", ASK_DUCKDB], input=json.dumps(asked), check=True, stdout=subprocess.PIPE, text=True, preexec_fn=two_cores)
    return json.loads(done.stdout)


def python_with_duckdb():
    """The Python that scripts/checks/query-agreement installs DuckDB for."""
    printed = subprocess.run(
        [ROOT / "scripts/checks/query-agreement", "--print-python"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return printed.strip()


def run(arguments):
    cascade = arguments.cascade or cargo_program("cascade-analyzer", "cascade")
    tools = arguments.tools or cargo_program("cascade-tools", "cascade-tools")
    python = python_with_duckdb()
    limit = bytes_of(arguments.memory_limit)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="cascade-bench-"))
    traces = pathlib.Path(arguments.traces) if arguments.traces else scratch
    traces.mkdir(parents=True, exist_ok=True)
    results = []
    try:
        for changes in arguments.changes:
            trace, output = generated(tools, changes, traces), scratch / f"derived-{changes}"
            load = os.getloadavg()[0]
            result = {"changes": changes, "input_bytes": folder_bytes(trace), "load_before": load,
                      "derive": derived(cascade, trace, output, limit)}
            results.append(result)
            if "error" in result["derive"]:
                print(f"{changes:,} changes: {result['derive']['error'][0]}", file=sys.stderr)
                continue
            print(f"{changes:,} changes: {result['derive']['seconds']:.1f} s", file=sys.stderr)
            result["output_bytes"] = folder_bytes(output)
            result["cascade"] = {
                name: asked_cascade(cascade, trace, output, ours, arguments.rounds) for name, ours, _ in QUESTIONS}
            peer = asked_duckdb(python, trace, output, arguments.rounds)
            result["duckdb_version"] = peer["version"]
            result["duckdb"] = dict(zip((name for name, _, _ in QUESTIONS), peer["answers"]))
            for name, ours in result["cascade"].items():
                if ours["rows"] != result["duckdb"][name]["rows"]:
                    sys.exit(f"error: {name}: cascade answers {ours['rows']} rows, DuckDB {result['duckdb'][name]['rows']}")
            shutil.rmtree(output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {"benchmark": "analyzer", "rounds": arguments.rounds, "machine": {"cpus": os.cpu_count()}, "used_cpus": CPUS,
            "results": results}


def markdown(document):
    def gib(number):
        return f"{number / (1 << 30):.2f}"

    lines = ["| changes | input GiB | derive | per change | CPU | peak GiB | limit GiB | output GiB | load before |",
             "|---|---|---|---|---|---|---|---|---|"]
    for result in document["results"]:
        derive = result["derive"]
        took = derive["error"][0] if "error" in derive else f"{derive['seconds']:.1f} s"
        output = gib(result["output_bytes"]) if "output_bytes" in result else ""
        lines.append(
            f"| {result['changes']:,} | {gib(result['input_bytes'])} | {took} | {derive['seconds'] / result['changes'] * 1e6:.1f} µs | "
            f"{derive['cpu_seconds']:.1f} s | {gib(derive['peak_bytes'])} | {gib(derive['limit_bytes'])} ({derive['limited_by']}) | "
            f"{output} | {result['load_before']:.1f} |")
    lines += ["", "| changes | question | rows | cascade | DuckDB |", "|---|---|---|---|---|"]
    for result in document["results"]:
        for name, ours in result.get("cascade", {}).items():
            theirs = result["duckdb"][name]
            lines.append(
                f"| {result['changes']:,} | {name} | {ours['rows']:,} | {statistics.median(ours['seconds']):.2f} s | "
                f"{statistics.median(theirs['seconds']):.2f} s |")
    return "\n".join(lines)
