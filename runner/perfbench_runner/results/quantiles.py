"""Statistics of values: mean, deviation, extremes and quantiles. Pure functions."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from perfbench_runner.results.summary import Distribution

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}


def distribution(values: Iterable[float] | np.ndarray[Any, Any]) -> Distribution:
    """Statistics of values; empty for none."""
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    if not len(array):
        return Distribution()
    quantiles = np.quantile(array, list(QUANTILES.values()))
    return Distribution(
        mean=float(array.mean()),
        std=float(array.std()),
        min=float(array.min()),
        max=float(array.max()),
        count=len(array),
        **dict(zip(QUANTILES, map(float, quantiles), strict=True)),
    )
