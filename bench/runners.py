#!/usr/bin/env python3
"""What a request costs with so many shards and runners: bench/runners.py [--parallel 256] [--seconds 30].

Closed loops of answers of 64 tokens, TTFT 50 ms, ITL 10 ms, against a mock endpoint in a process of its own. CPU time is that of
all processes of the run, start-up, summary and merge left out: the difference of a long run and a short one. A machine makes as
many requests a second as it has seconds of CPU for them, so that this says what N CPUs or N runners make, also where there are
too few CPUs here to see it. Runners are processes of `perfbench run --replicas`, as pods are elsewhere.
"""

import argparse
import json
import resource
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

PERFBENCH = Path(sys.executable).with_name("perfbench")
SHAPES = ((1, 1), (1, 2), (1, 4), (2, 1), (4, 1))
"""Runners, and shards of each."""


class Cost(NamedTuple):
    """What a run took."""

    requests: int
    cpu_s: float
    requests_per_s: float


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(url: str, runners: int, workers: int, parallel: int, seconds: float) -> Cost:
    """One run, with its children and theirs."""
    flags = ("--url", url, "--model", "mock", "--parallel", str(parallel), "--duration", f"{seconds:g}s", "--stream")
    sets = ("--set", f"spec.runner.workers={workers}", "--set", "spec.results.messages=none")
    with tempfile.TemporaryDirectory() as folder:
        before_s = children_s()
        done = subprocess.run(
            [
                PERFBENCH,
                "run",
                *flags,
                *sets,
                "--replicas",
                str(runners),
                "--no-fail",
                "--json",
                "--results-dir",
                folder,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        (stage,) = json.loads(done.stdout)["stages"]
    return Cost(stage["requests"]["total"], children_s() - before_s, stage["request_throughput_rps"] or 0.0)


def main() -> int:
    """Run all shapes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parallel", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    port = free_port()
    mock = subprocess.Popen(
        [PERFBENCH, "mock", "--port", str(port), "--ttft", "50ms", "--itl", "10ms", "--output-tokens", "64"],
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    try:
        for runners, workers in SHAPES:
            short, long = (run(url, runners, workers, given.parallel, seconds) for seconds in (5.0, given.seconds))
            cpu_ms = 1000 * (long.cpu_s - short.cpu_s) / (long.requests - short.requests)
            print(
                f"{runners} runners of {workers} shards: {long.requests_per_s:,.0f} requests/s asked for, {cpu_ms:.2f} ms of CPU"
                f" each: {1000 / cpu_ms:,.0f} requests/s for each CPU",
                flush=True,
            )
    finally:
        mock.terminate()
        mock.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
