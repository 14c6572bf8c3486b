"""Programs that scripts in Python start: free ports, etcd's command line, waiting until something answers. Linux only.

The same as lib/ports.sh and lib/process.sh do for bash.
"""

import os
import pathlib
import random
import socket
import subprocess
import sys
import time
import urllib.request

# No proxy: everything is on this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def cargo_program(package, name, variable):
    """The program that an environment variable names, else one built from this checkout."""
    if os.environ.get(variable):
        return os.environ[variable]
    script = f'. "{pathlib.Path(__file__).resolve().parent}/common.sh"; cargo_program {package} {name}'
    built = subprocess.run(["bash", "-euo", "pipefail", "-c", script], stdout=subprocess.PIPE, text=True)
    if built.returncode:
        sys.exit(69)
    return built.stdout.strip()


def free_port():
    """A port that nobody uses, below the ephemeral range, from which the kernel gives ports to outgoing connections."""
    low = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = random.randrange(max(1024, low - 8000), low)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    sys.exit("error: no free port")


def etcd_command(program, folder, port, peer_port, *flags):
    """The command line of a single etcd on this machine, whose clients' URL is http://127.0.0.1:PORT."""
    url, peer_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        program, "--name", "etcd", "--data-dir", folder, "--listen-client-urls", url, "--advertise-client-urls", url,
        "--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url, "--initial-cluster", f"etcd={peer_url}", *flags,
    ]  # fmt: skip


def get(url, seconds=10):
    """The body that a URL answers with."""
    with _OPENER.open(url, timeout=seconds) as answer:
        return answer.read().decode()


def wait_ready(url, process, log=None, seconds=60):
    """Waits until a URL answers well and returns the body; ends the script, with the end of the log, when it does not."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return get(url, 5)
        except OSError:
            pass
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            if log is not None:
                print(pathlib.Path(log).read_text()[-3000:], file=sys.stderr)
            what = f"{process.args[0]} ended with {process.returncode}" if ended else f"{url} was not ready after {seconds} s"
            print(f"error: {what}", file=sys.stderr)
            sys.exit(69)
        time.sleep(0.05)
