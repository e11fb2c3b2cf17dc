#!/usr/bin/env python3
"""Quantiles of latencies that were cut off, against the truth: bench/censoring.py [--repeats N].

A closed loop by duration is simulated: after the duration no request is sent, after the grace period those under way are
cut off. The truth are quantiles of what the server would have given, of many answers. Printed are the mean errors in
percent of the quantiles that the summary gives (Kaplan and Meier's) and of those of succeeded requests alone, and in how
many runs a quantile was reached; where it was not, the summary has a lower bound instead.
"""

import argparse
import sys
from collections.abc import Callable

import numpy as np

from perfbench_runner.results.quantiles import Array, distribution

Draw = Callable[[np.random.Generator, int], Array]
SHAPES: dict[str, Draw] = {
    "lognormal, mean 20 s, CV 0.5": lambda rng, count: rng.lognormal(np.log(20) - 0.1116, 0.4724, count),
    "lognormal, mean 20 s, CV 1": lambda rng, count: rng.lognormal(np.log(20) - 0.3466, 0.8326, count),
    "exponential, mean 20 s": lambda rng, count: rng.exponential(20.0, count),
}
LANES = 32
NAMES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def closed_loop(draw: Draw, duration_s: float, grace_s: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Latencies of requests that ended, and how long those had taken that were cut off."""
    events: list[float] = []
    bounds: list[float] = []
    for _ in range(LANES):
        at_s = 0.0
        for latency_s in draw(rng, 1000):
            if at_s >= duration_s:
                break
            if at_s + latency_s > duration_s + grace_s:
                bounds.append(duration_s + grace_s - at_s)
                break
            events.append(float(latency_s))
            at_s += latency_s
    return np.array(events), np.array(bounds)


def row(name: str, draw: Draw, duration_s: float, grace_s: float, repeats: int) -> tuple[str, bool]:
    """A line of the table, and whether p50 and p90 are within 5 % where they were always reached."""
    rng = np.random.default_rng(1)
    truth = {quantile: float(np.quantile(draw(rng, 1_000_000), q)) for quantile, q in NAMES.items()}
    errors: dict[str, list[float]] = {quantile: [] for quantile in NAMES}
    naive: dict[str, list[float]] = {quantile: [] for quantile in NAMES}
    cut: list[float] = []
    for _ in range(repeats):
        events, bounds = closed_loop(draw, duration_s, grace_s, rng)
        found = distribution(events, bounds)
        cut.append(len(bounds) / (len(events) + len(bounds)))
        for quantile, q in NAMES.items():
            naive[quantile].append(float(np.quantile(events, q)) / truth[quantile] - 1)
            if (value := getattr(found, quantile)) is not None:
                errors[quantile].append(value / truth[quantile] - 1)
    cells = [name, f"{duration_s:g} + {grace_s:g}", f"{np.mean(cut):.0%}"]
    is_good = True
    for quantile in NAMES:
        known = errors[quantile]
        reached = len(known) / repeats
        text = f"{np.mean(known) * 100:+.1f}" if known else "-"
        cells.append(text if reached == 1 else f"{text} ({reached:.0%})")
        is_good &= quantile == "p99" or reached < 1 or abs(float(np.mean(known))) <= 0.05
    cells.append(" / ".join(f"{np.mean(naive[quantile]) * 100:+.0f}" for quantile in NAMES))
    return "| " + " | ".join(cells) + " |", is_good


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    print(
        "| latencies | duration + grace, s | cut off | p50 | p90 | p99 (runs where reached) | succeeded alone: p50 / p90 / p99 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    is_good = True
    for name, draw in SHAPES.items():
        for duration_s, grace_s in ((60.0, 0.0), (60.0, 5.0), (60.0, 30.0), (60.0, 120.0), (240.0, 5.0)):
            line, good = row(name, draw, duration_s, grace_s, repeats)
            print(line, flush=True)
            is_good &= good
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
