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
FEWEST_FOR_TREND, PARTS, MONOTONE, MATERIAL = 500, 10, 39, 0.1
"""A stage that is not steady goes somewhere for sure where of its ten parts 39 of the 45 pairs do more than go back (Mann and
Kendall's S), of 500 requests, and its last three parts are a tenth above or below its first three."""


class Cut(NamedTuple):
    """How many requests at the start of a stage show how it began, of those that succeeded, in the order of sending."""

    requests: int
    share: float
    is_steady: bool
    """False where the rest is no more steady than the whole."""
    change: float = 0.0
    """Where it is not steady and goes somewhere for sure: by which share the latencies grew, below 0 where they fell."""


def steady_cut(latencies_s: Array) -> Cut | None:
    """The cut of latencies in the order of sending, shape (n,); None of too few."""
    values = latencies_s[latencies_s > 0]
    if len(values) < FEWEST:
        return None
    logs = np.log(values / values[0])  # so that equal ones have no spread at all, not one of rounding
    found = max(mser(logs), geweke(logs))
    share = found / len(logs)
    is_steady = share < MOST_CUT
    return Cut(found, share, is_steady, 0.0 if is_steady else trend(logs))


def trend(logs: Array) -> float:
    """By which share values grow from the beginning to the end, given their logarithms; 0.0 where that is not for sure."""
    if len(logs) < FEWEST_FOR_TREND:
        return 0.0
    means = np.array([part.mean() for part in np.array_split(logs, PARTS)])
    pairs = np.sign(means[None, :] - means[:, None])
    change = float(np.exp(means[-3:].mean() - means[:3].mean()) - 1.0)
    is_sure = abs(np.triu(pairs).sum()) >= MONOTONE and abs(np.log1p(change)) >= np.log1p(MATERIAL)
    return change if is_sure else 0.0


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
