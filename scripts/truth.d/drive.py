#!/usr/bin/env python3
"""Drives one mix against a running control plane and writes marks.jsonl. Called by scripts/truth.

Usage: drive.py MIX MARKS_FILE CONTROL_PLANE_SCRIPT [--seed N] [--size N]; the environment of `scripts/control-plane env`.
"""

import argparse
import importlib
import subprocess
import sys
import time

import api
from driver import Driver

NAMESPACE = "truth"


def main():
    parser = argparse.ArgumentParser(description="Drives one mix and writes its marks.")
    parser.add_argument("mix")
    parser.add_argument("marks")
    parser.add_argument("control_plane")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int)
    arguments = parser.parse_args()
    mix = importlib.import_module(f"mixes.{arguments.mix}")
    environment = api.environment()

    def control(*command):
        subprocess.run(
            [arguments.control_plane, "--state", environment["CONTROL_PLANE_STATE"], *command],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    begun = time.monotonic()
    control_plane = api.Cluster(environment)
    control_plane.request(
        "POST", "/api/v1/namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": NAMESPACE}}
    )
    if control_plane.settle(2, 60) is None:
        sys.exit("error: the control plane does not come to rest before the mix begins")
    with open(arguments.marks, "w", encoding="utf-8") as marks:
        driver = Driver(control_plane, marks, arguments.seed, arguments.size or mix.SIZE, control)
        mix.run(driver)
    print(f"  mix {arguments.mix}: {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
