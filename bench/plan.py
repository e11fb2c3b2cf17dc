#!/usr/bin/env python3
"""What `perfbench plan` tells of one runner, and what then holds: bench/plan.py [--shapes 50:1] [--seconds 15] [--shares 70 85].

For each length of prompts and answers: the ceiling that it tells, then open loops of one runner at such shares of it (it gives
a runner 70 %) against a mock endpoint in a process of its own, whose tokens come one by one. A share holds where the client is
valid; where it is not, the table says why. The mock needs CPUs, too: where all together need more than there are, that is said,
since it is the machine that then ends and not the runner. Prints a Markdown table.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

PERFBENCH = Path(sys.executable).with_name("perfbench")
TTFT_MS, ITL_MS = 50, 20


class Held(NamedTuple):
    """What a run under a share of what was told was like."""

    rate: float
    state: str
    why: str
    shard_cpu: float
    control_cpu: float
    other_cpus: float
    """What the mock took of CPUs."""


def manifest(prompt_bytes: int, url: str, stage: dict[str, Any], tokens: int, folder: Path) -> Path:
    """The file of a benchmark of one runner with one shard, whose prompts are that long."""
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"{i} tell me of the zebra ".ljust(prompt_bytes, "z") + "\n" for i in range(100)))
    spec = {
        "target": {"url": url, "model": "mock"},
        "dataset": {"name": "line_by_line", "path": str(prompts)},
        "request": {"maxTokens": tokens},
        "load": {"stages": [stage]},
        "runner": {"workers": 1},
    }
    file = folder / "benchmark.yaml"
    file.write_text(json.dumps({"kind": "PerfBenchmark", "metadata": {"name": "plan"}, "spec": spec}))
    return file


def told(prompt_bytes: int, tokens: int, folder: Path) -> dict[str, Any]:
    """The ceiling of one runner."""
    file = manifest(prompt_bytes, "http://127.0.0.1:9", {"rate": 1, "duration": "1s"}, tokens, folder)
    options = ["--output-tokens", str(tokens), "--ttft", f"{TTFT_MS}ms", "--itl", f"{ITL_MS}ms", "--json"]
    ceiling: dict[str, Any] = json.loads(output("plan", str(file), *options))["ceiling"]
    return ceiling


def held(prompt_bytes: int, tokens: int, rate: float, seconds: float, folder: Path) -> Held:
    """One run at a rate."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    pace = ("--ttft", f"{TTFT_MS}ms", "--itl", f"{ITL_MS}ms", "--output-tokens", str(tokens))
    with subprocess.Popen([PERFBENCH, "mock", "--port", str(port), *pace], stdout=subprocess.DEVNULL) as mock:
        try:
            wait_for(port)
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            stage = {"rate": round(rate, 1), "arrival": "constant", "duration": f"{seconds:g}s"}
            file = manifest(prompt_bytes, url, stage, tokens, folder)
            where = ("--results-dir", str(folder / f"run-{port}"))
            found = json.loads(output("run", str(file), "--no-fail", "--json", "--quiet", *where))
            used_s = cpu_s(mock.pid)
        finally:
            mock.terminate()
    (stage,) = found["stages"]
    client = stage["client"]
    figures = client["figures"]
    why = client["reasons"][0] if client["reasons"] else ""
    return Held(
        rate, client["state"], why, figures["cpu_share"], figures["control_cpu_share"], used_s / stage["duration_s"]
    )


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)


def cpu_s(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def output(*arguments: str) -> str:
    done = subprocess.run([PERFBENCH, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 4):
        raise SystemExit(done.stderr[-2000:])
    return done.stdout


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--shapes", nargs="+", default=["50:1", "30000:1", "30000:8"], help="prompt in bytes:tokens of an answer"
    )
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--shares", type=float, nargs="+", default=[70.0, 85.0, 100.0])
    given = parser.parse_args()
    print(
        "| prompt, tokens | told: instant, paced | of the lower one | requests/s | busiest shard | control | client |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for shape in given.shapes:
        prompt_bytes, tokens = map(int, shape.split(":"))
        with tempfile.TemporaryDirectory() as name:
            ceiling = told(prompt_bytes, tokens, Path(name))
            paced = ceiling["paced"]
            paced_rps = 1000 / max(paced["shard_ms"], paced["control_ms"])
            for share in given.shares:
                rate = share / 100 * ceiling["requests_per_s"]
                it = held(prompt_bytes, tokens, rate, given.seconds, Path(name))
                needed = it.shard_cpu + it.control_cpu + it.other_cpus
                is_short = f" (the mock needs {it.other_cpus:.2f} CPUs: {needed:.2f} together)"
                print(
                    f"| {prompt_bytes} B, {tokens} | {ceiling['instant_rps']:.0f}, {paced_rps:.0f} | {share:g} % |"
                    f" {it.rate:.0f} |"
                    f" {it.shard_cpu:.0%} | {it.control_cpu:.0%} |"
                    f" {it.state}{is_short if needed > 0.9 * (os.cpu_count() or 1) else ''}{': ' * bool(it.why)}{it.why} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
