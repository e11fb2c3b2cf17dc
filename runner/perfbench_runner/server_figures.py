"""Figures of the server's own metrics over the measured window of a stage, from the results file.

Readings are a second apart and the window begins and ends between them, so all series are interpolated at its edges.
"""

import sqlite3
from collections import defaultdict
from typing import Any

import numpy as np

from perfbench_runner.server_metrics import FIGURES, PERIOD_S, RATIOS, chosen

MARGIN_S = 5 * PERIOD_S
"""How far outside of the window a reading may be to help at its edges."""
Array = np.ndarray[Any, np.dtype[np.float64]]
Series = tuple[Array, Array]
"""Times and values."""


def server_figures(db: sqlite3.Connection, start_s: float, end_s: float) -> dict[str, dict[str, float]]:
    """Neutral name -> mean, min and max of a gauge; increase and per_second of a counter; value of a ratio."""
    found = _series(db, start_s, end_s)
    figures: dict[str, dict[str, float]] = {}
    for figure in FIGURES:
        if found[figure.name]:
            is_counter = figure.kind == "counter"
            figures[figure.name] = (
                _counter(found[figure.name], start_s, end_s)
                if is_counter
                else _gauge(found[figure.name], start_s, end_s, figure.kind == "mean")
            )
    for ratio in RATIOS:
        of = sum(_increase(series, start_s, end_s)[0] for series in found[f"{ratio.name}/of"])
        gauges = found[f"{ratio.name}/gauge"]
        if of:
            hits = sum(_increase(series, start_s, end_s)[0] for series in found[f"{ratio.name}/hits"])
            figures[ratio.name] = {"value": hits / of}
        elif gauges:
            figures[ratio.name] = {"value": _gauge(gauges, start_s, end_s, True)["mean"]}
    return figures


def _series(db: sqlite3.Connection, start_s: float, end_s: float) -> dict[str, list[Series]]:
    """Series under neutral names, in our units."""
    rows = db.execute(
        "SELECT source, name, labels, time, value FROM server_metric WHERE time BETWEEN ? AND ? ORDER BY time",
        (start_s - MARGIN_S, end_s + MARGIN_S),
    )
    points: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    names: dict[str, set[str]] = defaultdict(set)
    for source, name, labels, time_s, value in rows:
        if value is not None:  # what SQLite makes of NaN
            points[source, name, labels].append((time_s, value))
            names[source].add(name)
    made: dict[str, list[Series]] = defaultdict(list)
    for source, own in names.items():
        for neutral, which in chosen(own):
            for (where, name, labels), values in points.items():
                if (where, name) == (source, which.name) and which.label in labels:
                    array = np.array(values, dtype=np.float64)
                    made[neutral].append((array[:, 0], array[:, 1] * which.scale))
    return made


def _gauge(series: list[Series], start_s: float, end_s: float, is_mean: bool) -> dict[str, float]:
    """Of all series together, moment by moment; the mean is over time.

    Readings just outside of the window show a server at rest: they count only where there are none inside.
    """
    series = [_inside(one, start_s, end_s) for one in series]
    times = np.unique(np.concatenate([[start_s, end_s], *(times for times, _ in series)]))
    times = times[(times >= start_s) & (times <= end_s)]
    together = np.sum([np.interp(times, *one) for one in series], axis=0) / (len(series) if is_mean else 1)
    length_s = float(times[-1] - times[0])
    area = float(np.sum((together[1:] + together[:-1]) / 2 * np.diff(times)))
    mean = area / length_s if length_s > 0 else float(together.mean())
    return {"mean": mean, "min": float(together.min()), "max": float(together.max())}


def _inside(series: Series, start_s: float, end_s: float) -> Series:
    times, values = series
    inside = (times >= start_s) & (times <= end_s)
    return (times[inside], values[inside]) if inside.any() else series


def _counter(series: list[Series], start_s: float, end_s: float) -> dict[str, float]:
    found = [_increase(one, start_s, end_s) for one in series]
    rates = [increase / length_s for increase, length_s in found if length_s > 0]
    return {"increase": sum(increase for increase, _ in found), "per_second": sum(rates)}


def _increase(series: Series, start_s: float, end_s: float) -> tuple[float, float]:
    """A counter's increase, and over which part of the window it is known (seconds). A restart begins at zero again."""
    times, values = series
    steps = np.diff(values)
    grown = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, values[1:], steps))])
    first_s, last_s = max(start_s, float(times[0])), min(end_s, float(times[-1]))
    if last_s <= first_s:
        return 0.0, 0.0
    at_first, at_last = np.interp([first_s, last_s], times, grown)
    return float(at_last - at_first), last_s - first_s
