"""What the benchmarks share: programs built for release, processes with what they use, load."""

import json
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts/lib"))
from processes import etcd_command, free_port, get, wait_ready  # noqa: E402
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cargo_program(package, program, profile="release"):
    """Builds a program and returns its path. The interceptor is built as it is packaged."""
    if package == "cascade-interceptor":
        profile = "dist"
    print(f"building {program}, profile {profile}", file=sys.stderr)
    output = subprocess.run(
        ["cargo", "build", "--locked", "--profile", profile, "--package", package, "--bin", program,
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


def interval(values, samples=10_000):
    """95 % bootstrap interval of the median. The same values give the same interval."""
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(samples))
    return medians[int(samples * 0.025)], medians[int(samples * 0.975)]


class Pki:
    """An authority, and certificates of it for 127.0.0.1 that servers and clients both can show."""

    def __init__(self, folder):
        folder.mkdir()
        self.ca, self.cert, self.key = folder / "ca.crt", folder / "peer.crt", folder / "peer.key"
        # haproxy wants both in one file.
        self.both = folder / "peer.pem"

        def openssl(*command):
            subprocess.run(["openssl", *map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        openssl(*new, "-x509", "-subj", "/CN=bench", "-keyout", folder / "ca.key", "-out", self.ca)
        request, extensions = folder / "peer.csr", folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n")
        # Without a common name: etcd's grpc-proxy refuses one, as etcd would take it for a user.
        openssl(*new, "-subj", "/O=peer", "-keyout", self.key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", folder / "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", extensions, "-out", self.cert)
        self.both.write_text(self.cert.read_text() + self.key.read_text())


def etcd_program():
    return subprocess.run([ROOT / "scripts/lib/etcd.sh"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0]


class Process:
    """A program with a log file; ends with `stop`."""

    def __init__(self, command, log):
        self.log = open(log, "wb")
        self.process = subprocess.Popen([*map(str, command)], stdout=self.log, stderr=self.log)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


class Etcd(Process):
    """A single etcd, which speaks TLS with every client if `pki` is given; `flags` are further ones of its own."""

    def __init__(self, folder, pki=None, flags=()):
        port, metrics = free_port(), free_port()
        # The disk of a shared machine would be all that is measured.
        command = etcd_command(
            etcd_program(), folder / "etcd", port, free_port(), "--unsafe-no-fsync", "--quota-backend-bytes", str(8 << 30),
            "--listen-metrics-urls", f"http://127.0.0.1:{metrics}", *flags)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        if pki:
            self.url = f"https://127.0.0.1:{port}"
            command = [str(word).replace(f"http://127.0.0.1:{port}", self.url) for word in command]
            command += ["--cert-file", pki.cert, "--key-file", pki.key, "--trusted-ca-file", pki.ca, "--client-cert-auth"]
        super().__init__(command, folder / "etcd.log")
        wait_ready(f"http://127.0.0.1:{metrics}/health", self.process)


class Recorder(Process):
    """A cascade-interceptor that is ready, with a trace folder and metrics."""

    def __init__(self, command, folder, metrics_url):
        self.folder, self.metrics_url = folder, metrics_url
        super().__init__(command, folder.with_suffix(".log"))
        wait_ready(self.metrics_url + "/readyz", self.process)

    def metrics(self):
        """All samples: the name with its labels, and the value."""
        lines = get(self.metrics_url + "/metrics").splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def metric(self, name):
        """The sum of a metric over its labels; 0 while it does not exist."""
        return sum(value for sample, value in self.metrics().items() if sample.split("{")[0] == name)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        self.log.close()
        if code != 0:
            sys.exit(f"error: cascade-interceptor ended with {code}; see {self.log.name}")


class Interceptor(Recorder):
    """cascade-interceptor in front of an etcd, which speaks TLS on both legs if `pki` is given."""

    def __init__(self, program, etcd_url, folder, arguments, pki=None):
        port, metrics = free_port(), free_port()
        self.url = f"{'https' if pki else 'http'}://127.0.0.1:{port}"
        command = [program, "serve", "--listen", f"127.0.0.1:{port}", "--etcd", etcd_url, "--trace-dir", folder,
                   "--metrics-listen", f"127.0.0.1:{metrics}", *arguments]
        if pki:
            command += ["--cert", pki.cert, "--key", pki.key, "--client-ca", pki.ca,
                        "--etcd-ca", pki.ca, "--etcd-cert", pki.cert, "--etcd-key", pki.key]
        super().__init__(command, folder, f"http://127.0.0.1:{metrics}")


class Tail(Recorder):
    """cascade-interceptor beside the path: the ledger alone."""

    def __init__(self, program, etcd_url, folder, pki=None):
        metrics = free_port()
        command = [program, "tail", "--etcd", etcd_url, "--trace-dir", folder, "--metrics-listen", f"127.0.0.1:{metrics}"]
        if pki:
            command += ["--etcd-ca", pki.ca, "--etcd-cert", pki.cert, "--etcd-key", pki.key]
        super().__init__(command, folder, f"http://127.0.0.1:{metrics}")


def measure(tools, url, arguments, lane, pki=None, further=()):
    """What `cascade-tools load` measures against a URL; `further` are more of its flags."""
    command = [tools, "load", "--etcd", url, "--kind", lane.get("kind", "update"), "--connections", lane["connections"],
               "--workers", lane["workers"], "--seconds", arguments.seconds, "--value", arguments.value, *further]
    if "rate" in lane:
        command += ["--rate", lane["rate"]]
    if pki:
        command += ["--ca", pki.ca, "--cert", pki.cert, "--key", pki.key]
    return json.loads(subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE).stdout)
