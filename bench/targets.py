#!/usr/bin/env python3
"""How often targets are told apart: bench/targets.py [--repeats N] [--server NAME ...] [--write].

Two targets are simulated by the same server (bench/servers.py), each with requests of its own, and compared by the code that
compares those of a run. For each server and number of requests it prints, in percent of runs, how often a difference is seen
between equal targets, which is always wrong, and between targets of which the second is 20 % slower; of p50 and p99 each, `-`
where there are too few requests to say anything. Intervals are those of a run with two targets: six hold together at 95 %.

`--write` puts what was found into the table of docs/load.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import servers

from perfbench_runner.results.comparison import Compared, comparisons
from perfbench_runner.results.quantiles import Array

PAGE = Path(__file__).resolve().parent.parent / "docs" / "load.md"
BEGIN, END = "<!-- targets: begin -->\n", "<!-- targets: end -->"
SERVERS = {
    "independent": ("each request alone", servers.independent, (300, 1_000, 4_000)),
    "autocorrelated": ("each like the one before (0.9)", servers.autocorrelated(0.9), (300, 1_000, 4_000)),
    "queue70": ("queue, load 70 %", servers.queue(0.7), (300, 1_000, 4_000)),
    "queue90": ("queue, load 90 %", servers.queue(0.9), (300, 1_000, 4_000)),
    "batching": ("batching, load 78 %, TTFT", servers.Batching().ttft, (1_000,)),
}
STATISTICS = ("p50", "p99")
SLOWER = 1.2


def target(name: str, latencies: Array) -> Compared:
    """A target whose requests began evenly."""
    count = len(latencies)
    nothing = np.full(count, np.nan)
    found = {"ttft": nothing, "tpot": nothing, "e2e_latency": latencies}
    return Compared(name, np.arange(count, dtype=np.float64), np.zeros(count), found)


def seen(one: Array, other: Array) -> dict[str, bool | None]:
    """Whether a difference is, by statistic."""
    (comparison,) = comparisons([target("one", one), target("other", other)], 0.95)
    return {str(each.statistic): each.is_seen for each in comparison.differences}


def rows(names: list[str], repeats: int) -> Iterator[str]:
    """Those of the table."""
    for name in names:
        title, draw, counts = SERVERS[name]
        for count in counts:
            rng = np.random.default_rng(count)
            drawn = [(draw(count, rng), draw(count, rng)) for _ in range(repeats)]
            equal = [seen(one, other) for one, other in drawn]
            slower = [seen(one, SLOWER * other) for one, other in drawn]
            cells = [_percent([each[what] for each in of]) for of in (equal, slower) for what in STATISTICS]
            yield f"| {title} | {count:,} | {' | '.join(cells)} |"


def _percent(found: list[bool | None]) -> str:
    return "-" if set(found) == {None} else f"{100 * sum(map(bool, found)) / len(found):.0f}"


def main() -> None:
    """Print the table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--server", nargs="*", default=list(SERVERS), choices=list(SERVERS))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    found = [
        "| server | requests of each target | equal: p50 | equal: p99 | 20 % slower: p50 | 20 % slower: p99 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows(options.server, options.repeats):
        print(row, flush=True)
        found.append(row)
    if options.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + "\n".join(found) + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
