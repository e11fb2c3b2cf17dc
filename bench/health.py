#!/usr/bin/env python3
"""Which figure of client health tells that ITL is wrong? Runs of many shapes, each with its figures and its error.

    .venv/bin/python bench/health.py [--seconds 4] [--rounds 1]

perfbench runs on the second core against the bundled mock on the first, alone and beside busy loops pinned to its core.
Printed: for each run what client health saw and by how much ITL p99 and TTFT p50 were too high (milliseconds); at the
end how each figure's order of the runs agrees with the order by error (Spearman's rank correlation). docs/client-health.md
has what came out. Needs Linux and two cores.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from tempfile import mkdtemp

from compare import CORES, busy_loop

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings

FIGURES = (
    "merged_share",
    "loop_lag_mean_s",
    "loop_lag_peak_s",
    "wait_share",
    "wakeup_delay_s",
    "cpu_share",
    "idle_share",
)


def measure(streams: int, itl_s: float, loops: int, seconds: float) -> dict[str, float]:
    """One run: what client health saw, and the error."""
    folder = mkdtemp(prefix="perfbench-health-")
    with ExitStack() as stack:
        mock = stack.enter_context(MockProcess(MockSettings(ttft_s=0.05, itl_s=itl_s, output_tokens=64)))
        os.sched_setaffinity(mock.pid, {CORES[0]})
        for _ in range(loops):
            stack.enter_context(busy_loop(True))
        command = f"run --url {mock.base_url} --model mock --parallel {streams} --duration {seconds}s --max-tokens 64"
        command += f" --workers 1 --no-test-connection --results-dir {folder}/run -q"
        subprocess.run(
            [str(Path(sys.executable).parent / "perfbench"), *command.split()],
            preexec_fn=lambda: os.sched_setaffinity(0, {CORES[1]}),
            stdout=subprocess.DEVNULL,
            check=False,
        )
        truth = mock.stats()
    (stage,) = json.loads(Path(folder, "run", "summary.json").read_text())["stages"]
    shutil.rmtree(folder)
    client = stage["client"]
    return {
        "C": streams,
        "ITL ms": 1e3 * itl_s,
        "busy": loops,
        "ITL p99 +": 1e3 * stage["itl_s"]["p99"] - truth["itl_ms"]["p99"],
        "TTFT p50 +": 1e3 * stage["ttft_s"]["p50"] - truth["ttft_ms"]["p50"],
        **{name: client["figures"].get(name, float("nan")) for name in FIGURES},
        "latencies": client["latencies"],
        "load": client["load"],
    }


def ranks(values: list[float]) -> list[float]:
    """Ranks from 0; equal values share the mean of theirs."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def spearman(one: list[float], other: list[float]) -> float:
    """Rank correlation, -1 to 1; 0 where there is no order."""
    x, y = ranks(one), ranks(other)
    mean = (len(x) - 1) / 2
    over = sum((a - mean) * (b - mean) for a, b in zip(x, y, strict=True))
    under = (sum((a - mean) ** 2 for a in x) * sum((b - mean) ** 2 for b in y)) ** 0.5
    return over / under if under else 0.0


def main() -> int:
    """Print a Markdown table, and the correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of a run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("-c", type=int, nargs="+", default=[16, 64, 256], help="streams")
    parser.add_argument("--itl", type=float, nargs="+", default=[2.0, 5.0, 10.0, 20.0], help="milliseconds")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="busy loops on the client's core")
    options = parser.parse_args()
    if len(CORES) < 2:
        parser.error("needs two cores: one for the mock, one for the client")
    rows: list[dict] = []
    shapes = product(range(options.rounds), options.c, options.itl, options.busy)
    for _, streams, itl_ms, loops in shapes:
        if streams / itl_ms > 20:
            continue  # more than the mock carries
        row = measure(streams, itl_ms / 1e3, loops, options.seconds)
        if not rows:
            print("| " + " | ".join(row) + " |\n|" + " --- |" * len(row))
        rows.append(row)
        print(
            "| " + " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()) + " |", flush=True
        )
    errors = [row["ITL p99 +"] for row in rows]
    print("\n" + ", ".join(f"{name} {spearman([row[name] for row in rows], errors):+.2f}" for name in FIGURES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
