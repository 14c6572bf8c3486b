"""What the benchmarks share: programs built for release, processes with what they use, load."""

import json
import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts/lib"))
from processes import etcd_command, free_port, get, wait_ready  # noqa: E402
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def cargo_program(package, program, profile="release"):
    """Builds a program and returns its path."""
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
        openssl(*new, "-subj", "/CN=peer", "-keyout", self.key, "-out", request)
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
    """A single etcd, which speaks TLS with every client if `pki` is given."""

    def __init__(self, folder, pki=None):
        port, metrics = free_port(), free_port()
        # The disk of a shared machine would be all that is measured.
        command = etcd_command(
            etcd_program(), folder / "etcd", port, free_port(), "--unsafe-no-fsync", "--quota-backend-bytes", str(8 << 30),
            "--listen-metrics-urls", f"http://127.0.0.1:{metrics}")
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        if pki:
            self.url = f"https://127.0.0.1:{port}"
            command = [str(word).replace(f"http://127.0.0.1:{port}", self.url) for word in command]
            command += ["--cert-file", pki.cert, "--key-file", pki.key, "--trusted-ca-file", pki.ca, "--client-cert-auth"]
        super().__init__(command, folder / "etcd.log")
        wait_ready(f"http://127.0.0.1:{metrics}/health", self.process)


class Interceptor(Process):
    """cascade-interceptor in front of an etcd, which speaks TLS on both legs if `pki` is given."""

    def __init__(self, program, etcd_url, folder, arguments, pki=None):
        self.folder = folder
        port, metrics = free_port(), free_port()
        self.url = f"{'https' if pki else 'http'}://127.0.0.1:{port}"
        self.metrics_url = f"http://127.0.0.1:{metrics}"
        command = [program, "serve", "--listen", f"127.0.0.1:{port}", "--etcd", etcd_url, "--trace-dir", folder,
                   "--metrics-listen", f"127.0.0.1:{metrics}", *arguments]
        if pki:
            command += ["--cert", pki.cert, "--key", pki.key, "--client-ca", pki.ca,
                        "--etcd-ca", pki.ca, "--etcd-cert", pki.cert, "--etcd-key", pki.key]
        super().__init__(command, folder.with_suffix(".log"))
        wait_ready(self.metrics_url + "/readyz", self.process)

    def metric(self, name):
        """The sum of a metric over its labels; 0 while it does not exist."""
        lines = get(self.metrics_url + "/metrics").splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(120)
        self.log.close()
        if code != 0:
            sys.exit(f"error: cascade-interceptor ended with {code}; see {self.log.name}")


def measure(tools, url, arguments, lane, pki=None):
    """What `cascade-tools load` measures against a URL."""
    command = [tools, "load", "--etcd", url, "--kind", lane.get("kind", "update"), "--connections", lane["connections"],
               "--workers", lane["workers"], "--seconds", arguments.seconds, "--value", arguments.value]
    if pki:
        command += ["--ca", pki.ca, "--cert", pki.cert, "--key", pki.key]
    return json.loads(subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE).stdout)
