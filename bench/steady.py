#!/usr/bin/env python3
"""How often a stage is taken for one that never became steady: bench/steady.py [--runs N] [--write].

Steady servers (bench/servers.py) must hardly ever be; servers that warm up for as long as the stage, or whose queue grows,
should be. Percent of runs by the code that judges them; --write puts the table into docs/objectives.md. The exit status is 1
where 2 % of steady runs are taken for unsteady.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import servers

from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.steady import steady_cut

PAGE = Path(__file__).resolve().parent.parent / "docs" / "objectives.md"
COUNTS = (500, 1_000, 3_000, 10_000)
BEGIN, END = "<!-- steady -->\n", "<!-- end of steady -->"
HEAD = (
    "| server | "
    + " | ".join(f"{count:,} requests" for count in COUNTS)
    + " |\n| --- |"
    + " --- |" * len(COUNTS)
    + "\n"
)


def fading(share: float, factor: float) -> servers.Draw:
    """Each request alone, at first so many times as slow; fades away over this share of the stage."""

    def draw(count: int, rng: np.random.Generator) -> Array:
        found: Array = servers.independent(count, rng) * (1 + (factor - 1) * np.exp(-np.arange(count) / share / count))
        return found

    return draw


STEADY = {
    "each request alone": servers.independent,
    "each like the one before (0.9)": servers.autocorrelated(0.9),
    "queue, load 70 %": servers.queue(0.7),
    "queue, load 90 %": servers.queue(0.9),
    "batching, load 78 %, TTFT": servers.Batching().ttft,
    "batching, 48 users, TTFT": servers.Batching(None).ttft,
}
UNSTEADY = {
    "warms up over half of the stage, from three times the latency": fading(0.5, 3.0),
    "warms up over the whole stage, from three times the latency": fading(1.0, 3.0),
    "queue, load 105 %, empty at first": servers.queue(1.05, begin=0),
    "queue, load 120 %, empty at first": servers.queue(1.2, begin=0),
    "queue, load 150 %, empty at first": servers.queue(1.5, begin=0),
}


def share_taken(runs: list[Array]) -> float:
    """Percent of these that are taken for unsteady beyond doubt."""
    cuts = [steady_cut(run) for run in runs]
    return 100.0 * float(np.mean([cut is not None and cut.change != 0.0 for cut in cuts]))


def steady_row(draw: servers.Draw, runs: int, rng: np.random.Generator) -> list[float]:
    """Of parts of long runs; of each length `runs` of them or more."""
    per_run = max(COUNTS) // 2_000
    long = [draw(max(COUNTS), rng) for _ in range(max(10, runs // per_run))]
    return [
        share_taken([run[at : at + count] for run in long for at in range(0, len(run) - count + 1, max(count, 2_000))])
        for count in COUNTS
    ]


def main() -> int:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--write", action="store_true", help="put it into docs/objectives.md")
    arguments = parser.parse_args()
    rng = np.random.default_rng(18)
    steady = {name: steady_row(draw, arguments.runs, rng) for name, draw in STEADY.items()}
    unsteady = {
        name: [share_taken([draw(count, rng) for _ in range(max(20, arguments.runs // 4))]) for count in COUNTS]
        for name, draw in UNSTEADY.items()
    }
    rows = [*((f"{name}: steady", found) for name, found in steady.items()), *unsteady.items()]
    table = HEAD + "".join(f"| {name} | {' | '.join(f'{each:.1f}' for each in found)} |\n" for name, found in rows)
    print(table)
    if arguments.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2])
    return int(max(max(found) for found in steady.values()) >= 2.0)


if __name__ == "__main__":
    sys.exit(main())
