"""From when on a stage is steady: the part at its start that still shows how it began. Pure functions.

The cut is the later of two methods', both on the logarithm of the E2E latency in the order of sending: MSER-5 (Spratt 1998)
cuts where the mean of the rest is known best, Geweke's test where the first tenth of the rest differs no longer from its
second half. One cut serves all figures of a stage. It plays no part in figures that are judged: those are of the whole stage,
since a cut chosen on what is judged picks the one that loses the worst requests.
"""

from typing import NamedTuple

import numpy as np

from perfbench_runner.results.quantiles import Array

FEWEST = 200
"""Of fewer requests nothing can be said."""
MOST_CUT = 0.4
"""A stage of which more would be cut has not become steady in its time."""
GROUP = 5
STEP, LARGEST = 0.1, 0.5
"""Geweke cuts so much more each time, and so much at most."""


class Cut(NamedTuple):
    """How many requests at the start of a stage show how it began, of those that succeeded, in the order of sending."""

    requests: int
    share: float
    is_steady: bool
    """False where the rest is no more steady than the whole."""


def steady_cut(latencies_s: Array) -> Cut | None:
    """The cut of latencies in the order of sending, shape (n,); None of too few."""
    values = latencies_s[latencies_s > 0]
    if len(values) < FEWEST:
        return None
    logs = np.log(values / values[0])  # so that equal ones have no spread at all, not one of rounding
    found = max(mser(logs), geweke(logs))
    share = found / len(logs)
    return Cut(found, share, share < MOST_CUT)


def mser(values: Array) -> int:
    """How many values MSER-5 cuts at the start: at most half."""
    groups = values[: len(values) // GROUP * GROUP].reshape(-1, GROUP).mean(axis=1)
    count = len(groups)
    left = np.arange(count, 0, -1)
    sums, squares = (np.cumsum(part[::-1])[::-1] for part in (groups, groups**2))
    spread = (squares - sums**2 / left) / left**2
    return int(np.argmin(spread[: (count + 1) // 2])) * GROUP


def geweke(values: Array) -> int:
    """How many values must be cut until the beginning of the rest is like its end: steps of a tenth, at most half."""
    for cut in np.arange(0.0, LARGEST, STEP):
        rest = values[int(cut * len(values)) :]
        first, last = rest[: len(rest) // 10], rest[len(rest) // 2 :]
        error = np.sqrt(_variance_of_mean(first) + _variance_of_mean(last))
        if abs(first.mean() - last.mean()) <= 1.96 * error:
            return int(cut * len(values))
    return int(LARGEST * len(values))


def _variance_of_mean(values: Array) -> float:
    """By the means of ten batches, or fewer of few values, since neighbours are alike."""
    batches = min(10, len(values) // 2)
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.var(ddof=1)) / batches
