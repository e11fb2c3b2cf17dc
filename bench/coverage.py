#!/usr/bin/env python3
"""What verdicts are worth: bench/coverage.py [--repeats N] [--server NAME ...] [--write].

Servers are simulated whose true figures are known (bench/servers.py), and judged by the code that judges runs. For each
server, quantile and number of requests it prints, in percent of runs,

- how often the interval at 95 % (97.5 % at each end) holds the true value;
- with a bound that is exactly the true value, so that a verdict is wrong either way: how often it is kept, and broken;
- how often a bound that is 20 % above the true value is kept, and one that is 20 % below is broken.

`--write` puts what was found into the tables of docs/objectives.md. The exit status is 1 where more verdicts are wrong than
that page allows.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import servers

from perfbench_runner.results.intervals import Sample, Share, design_effect
from perfbench_runner.results.judging import Bounds, Levels, judge_quantile, judge_share
from perfbench_runner.results.quantiles import Array

PAGE = Path(__file__).resolve().parent.parent / "docs" / "objectives.md"
COUNTS = (200, 1_000, 10_000)
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
MOST_WRONG = 20.0
"""Percent of runs at the bound that may be kept: the worst server and quantile, and what chance adds at 150 runs."""


class Server(NamedTuple):
    """A simulated server."""

    title: str
    draw: servers.Draw


SERVERS = {
    "independent": Server("each request alone", servers.independent),
    "autocorrelated": Server("each like the one before (0.9)", servers.autocorrelated(0.9)),
    "queue70": Server("queue, load 70 %", servers.queue(0.7)),
    "queue90": Server("queue, load 90 %", servers.queue(0.9)),
    "batching": Server("batching, load 78 %, TTFT", servers.Batching().ttft),
    "saturated": Server("batching, 48 users, TTFT", servers.Batching(None).ttft),
}


class Row(NamedTuple):
    """Percent of runs."""

    server: str
    quantile: str
    count: int
    holds: float
    """Intervals that hold the truth."""
    passed_at: float
    failed_at: float
    """At a bound that is the truth."""
    passed_above: float
    failed_below: float
    """At bounds that are kept, and broken, by a fifth."""


def pieces(runs: list[Array], count: int) -> list[Array]:
    """One piece of each run; of short ones several, apart from each other."""
    each = max(1, min(4, len(runs[0]) // count // 2))
    step = len(runs[0]) // each
    return [run[start : start + count] for run in runs for start in range(0, each * step, step)]


def rows(name: str, repeats: int) -> Iterator[Row]:
    """The rows of one server."""
    rng = np.random.default_rng(18)
    runs = [SERVERS[name].draw(max(COUNTS), rng) for _ in range(repeats)]
    everything = np.concatenate(runs)
    for label, p in QUANTILES.items():
        truth = float(np.quantile(everything, p))
        for count in COUNTS:
            yield row(name, label, truth, pieces(runs, count))


def row(name: str, label: str, truth: float, runs: list[Array]) -> Row:
    """One quantile of runs of one length."""
    p, samples = QUANTILES[label], [Sample.of(run) for run in runs]

    def share(bound: float, kept: bool) -> float:
        found = [judge_quantile(sample, p, Bounds(most=bound), Levels(0.05, 0.05)).kept for sample in samples]
        return 100.0 * found.count(kept) / len(found)

    at = [judge_quantile(sample, p, Bounds(most=truth), Levels(0.05, 0.05)).kept for sample in samples]
    ends = [judge_quantile(sample, p, Bounds(most=truth), Levels(0.025, 0.025)).interval for sample in samples]
    holds = [(low is None or low <= truth) and (high is None or truth <= high) for low, high in filter(None, ends)]
    return Row(
        name,
        label,
        len(runs[0]),
        100.0 * float(np.mean(holds)),
        100.0 * at.count(True) / len(at),
        100.0 * at.count(False) / len(at),
        share(truth * 1.2, True),
        share(truth / 1.2, False),
    )


def bursts(repeats: int) -> Iterator[str]:
    """The share of failures that come in bursts of ten, at a bound that is the true share."""
    rng = np.random.default_rng(18)
    for share in (0.01, 0.1):
        for count in COUNTS:
            verdicts = [_failures(rng, share, count) for _ in range(repeats)]
            yield (
                f"| {share:.0%} fail, ten in a row | {count:,} | {100 * verdicts.count(True) / repeats:.0f} |"
                f" {100 * verdicts.count(False) / repeats:.0f} |"
            )


def _failures(rng: np.random.Generator, share: float, count: int) -> bool | None:
    """Bursts of geometric length with mean 10, and what is said of them."""
    failed = np.zeros(count, dtype=np.bool_)
    at, episodes = int(rng.geometric(share / 10.0 / (1 - share))) - 1, 0
    while at < count:
        length = int(rng.geometric(0.1))
        failed[at : at + length] = True
        at, episodes = at + length + int(rng.geometric(share / 10.0 / (1 - share))), episodes + 1
    found = Share(float(failed.mean()), count, design_effect(failed))
    return judge_share(found, Bounds(most=share), Levels(0.05, 0.05), episodes).kept


HEADS = {
    "quantiles": (
        "| server | figure | requests | interval holds the truth | kept at the bound | broken at the bound |"
        " kept, 20 % within | broken, 20 % beyond |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    ),
    "failures": "| failures | requests | kept at the bound | broken at the bound |\n| --- | --- | --- | --- |",
}


def line(found: Row) -> str:
    """A line of the table."""
    figures = (found.holds, found.passed_at, found.failed_at, found.passed_above, found.failed_below)
    cells = [SERVERS[found.server].title, found.quantile, f"{found.count:,}", *(f"{each:.0f}" for each in figures)]
    return "| " + " | ".join(cells) + " |"


def written(page: str, table: str, lines: list[str]) -> str:
    """The page with these lines in one of its tables: those of the same server are replaced, the others stay."""
    begin, end = f"<!-- coverage: {table} -->\n", f"<!-- end of coverage: {table} -->"
    before, _, rest = page.partition(begin)
    old, _, after = rest.partition(end)
    of = {text.split("|")[1]: [] for text in lines}
    kept = [text for text in old.splitlines() if text.startswith("| ") and text.split("|")[1] not in of]
    order = [f" {server.title} " for server in SERVERS.values()]
    kept = [text for text in kept if table == "failures" or text.split("|")[1] in order]
    found = [*(text for text in kept if not text.startswith(("| failures", "| ---"))), *lines]
    if table == "quantiles":
        found.sort(key=lambda text: order.index(text.split("|")[1]))
    return f"{before}{begin}{HEADS[table]}\n" + "\n".join(found) + f"\n{end}{after}"


def main() -> int:
    """Print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--server", action="append", choices=[*SERVERS, "bursts"], help="all, if not given")
    parser.add_argument("--write", action="store_true", help="put what was found into docs/objectives.md")
    arguments = parser.parse_args()
    chosen = arguments.server or [*SERVERS, "bursts"]
    table: list[Row] = []
    print(HEADS["quantiles"])
    for name in (name for name in chosen if name in SERVERS):
        for found in rows(name, arguments.repeats):
            print(line(found), flush=True)
            table.append(found)
    failures = list(bursts(10 * arguments.repeats)) if "bursts" in chosen else []
    print("\n".join([HEADS["failures"], *failures]))
    if arguments.write:
        for name, lines in (("quantiles", [line(found) for found in table]), ("failures", failures)):
            if lines:
                PAGE.write_text(written(PAGE.read_text(), name, lines))
    return 1 if any(found.passed_at > MOST_WRONG for found in table) else 0


if __name__ == "__main__":
    sys.exit(main())
