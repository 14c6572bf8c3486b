"""What the benchmarks share: programs built for release, processes with what they use, load."""

import json
import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts/lib"))
from processes import etcd_command, free_port, wait_ready  # noqa: E402
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cargo_program(package, program):
    """Builds a program for release and returns its path."""
    print(f"building {program} for release", file=sys.stderr)
    output = subprocess.run(
        ["cargo", "build", "--release", "--package", package, "--bin", program,
         "--message-format", "json-render-diagnostics"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout
    paths = [json.loads(line).get("executable") for line in output.splitlines()]
    return [path for path in paths if path][-1]


def cpu_seconds(process):
    """User and system time of a running process."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_mib(process):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Etcd:
    def __init__(self, folder):
        program = subprocess.run([ROOT / "scripts/lib/etcd.sh"], check=True, stdout=subprocess.PIPE,
                                 text=True).stdout.splitlines()[0]
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(folder / "etcd.log", "wb")
        self.process = subprocess.Popen(
            # The disk of a shared machine would be all that is measured.
            etcd_command(program, folder / "etcd", port, free_port(), "--unsafe-no-fsync", "--quota-backend-bytes", str(8 << 30)),
            stdout=self.log, stderr=self.log)
        wait_ready(self.url + "/health", self.process)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Interceptor:
    def __init__(self, program, etcd_url, folder, arguments):
        self.folder = folder
        port, metrics = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_url = f"http://127.0.0.1:{metrics}"
        self.log = open(folder.with_suffix(".log"), "wb")
        self.process = subprocess.Popen(
            [program, "serve", "--listen", f"127.0.0.1:{port}", "--etcd", etcd_url, "--trace-dir", folder,
             "--metrics-listen", f"127.0.0.1:{metrics}", *arguments],
            stdout=self.log, stderr=self.log)
        wait_ready(self.metrics_url + "/readyz", self.process)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.log.close()
        if code != 0:
            sys.exit(f"error: cascade-interceptor ended with {code}; see {self.log.name}")


def measure(tools, url, arguments, lane):
    result = json.loads(subprocess.run(
        [tools, "load", "--etcd", url, "--connections", str(lane["connections"]), "--workers", str(lane["workers"]),
         "--seconds", str(arguments.seconds), "--value", arguments.value],
        check=True, stdout=subprocess.PIPE).stdout)
    return result
