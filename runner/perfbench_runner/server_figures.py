"""Figures of the server's own metrics over the measured window of a stage, from the results file.

Readings are a second apart and the window begins and ends between them, so all series are interpolated at its edges.
"""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from perfbench_runner.server_metrics import STALE_S
from perfbench_runner.server_names import COUNTERS, FIGURES, RATIOS, Name, chosen, is_value, thing

Array = np.ndarray[Any, np.dtype[np.float64]]
Series = tuple[Array, Array]
"""Times and values."""
Things = list[list[Series]]
"""Of each thing (replica, GPU) the series that tell of it: mostly one, of several the largest value counts."""
Points = Mapping[tuple[str, str, str], list[tuple[float, float]]]
"""Times and values by source, name and labels."""
LOG = logging.getLogger(__name__)


def server_figures(db: sqlite3.Connection, start_s: float, end_s: float) -> dict[str, dict[str, float]]:
    """Neutral name -> mean, min and max of a gauge; increase and per_second of a counter; value of a ratio."""
    found = _things(_without_mixed(_points(db, start_s, end_s)))
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
        of = sum(_increase(copies, start_s, end_s)[0] for copies in found[f"{ratio.name}/of"])
        gauges = found[f"{ratio.name}/gauge"]
        if of:
            hits = sum(_increase(copies, start_s, end_s)[0] for copies in found[f"{ratio.name}/hits"])
            figures[ratio.name] = {"value": hits / of}
        elif gauges:
            figures[ratio.name] = {"value": _gauge(gauges, start_s, end_s, True)["mean"]}
    return figures


def _points(db: sqlite3.Connection, start_s: float, end_s: float) -> Points:
    """All readings that tell of the window."""
    rows = db.execute(
        "SELECT source, name, labels, time, value FROM server_metric WHERE time BETWEEN ? AND ? ORDER BY time",
        (start_s - STALE_S, end_s + STALE_S),
    )
    points: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for source, name, labels, time_s, value in rows:
        if value is not None:  # what SQLite makes of NaN
            points[source, name, labels].append((time_s, value))
    return points


def _without_mixed(points: Points) -> Points:
    """Leave out sources whose counters go up and down: several servers answered by turns, and none can be followed."""
    mixed = {
        key[0] for key, values in points.items() if key[1] in COUNTERS and _is_mixed([value for _, value in values])
    }
    for source in sorted(mixed):
        LOG.warning(
            "server metrics of %s are of several servers by turns and are left out of the summary;"
            " name each, or a headless Service, in target.metrics",
            source,
        )
    return {key: values for key, values in points.items() if key[0] not in mixed}


def _is_mixed(values: list[float]) -> bool:
    """One server that is started again falls once, or now and then; two that answer by turns fall at every other look."""
    falls = sum(later < earlier for earlier, later in pairwise(values))
    return falls >= 2 and falls > len(values) / 10


def _things(points: Points) -> dict[str, Things]:
    """Series under neutral names, in our units."""
    had: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for source, name, labels in points:
        had[source].add((name, labels))
    made: dict[str, Things] = defaultdict(list)
    for source, own in had.items():
        for neutral, which in chosen(own):
            made[neutral] += _copies(points, source, own, which)
    return made


def _copies(points: Points, source: str, had: Iterable[tuple[str, str]], which: Name) -> Things:
    things: dict[str, list[Series]] = defaultdict(list)
    for name, labels in sorted(had):
        if which.fits((name, labels)):
            values = [point for point in points[source, name, labels] if is_value(which, point[1])]
            if values:
                array = np.array(values, dtype=np.float64)
                things[thing(labels, which.copies)].append((array[:, 0], array[:, 1] * which.scale))
    return list(things.values())


def _gauge(things: Things, start_s: float, end_s: float, is_mean: bool) -> dict[str, float]:
    """Of all things together, moment by moment; the mean is over time.

    Readings just outside of the window show a server at rest: they count only where there are none inside.
    """
    things = [[_inside(series, start_s, end_s) for series in copies] for copies in things]
    edges = [times for copies in things for times, _ in copies]
    times = np.unique(np.concatenate([[start_s, end_s], *edges]))
    times = times[(times >= start_s) & (times <= end_s)]
    each = np.array([np.fmax.reduce([_at(times, series) for series in copies]) for copies in things])
    known = ~np.isnan(each).all(axis=0)
    times, each = times[known], each[:, known]
    together = np.nanmean(each, axis=0) if is_mean else np.nansum(each, axis=0)
    length_s = float(times[-1] - times[0])
    area = float(np.sum((together[1:] + together[:-1]) / 2 * np.diff(times)))
    mean = area / length_s if length_s > 0 else float(together.mean())
    return {"mean": mean, "min": float(together.min()), "max": float(together.max())}


def _at(times: Array, series: Series) -> Array:
    """A gauge at some times; NaN long before it was first seen, and long after: such as of a replica that is gone."""
    values: Array = np.interp(times, *series)
    values[(times < series[0][0] - STALE_S) | (times > series[0][-1] + STALE_S)] = np.nan
    return values


def _inside(series: Series, start_s: float, end_s: float) -> Series:
    times, values = series
    inside = (times >= start_s) & (times <= end_s)
    return (times[inside], values[inside]) if inside.any() else series


def _counter(things: Things, start_s: float, end_s: float) -> dict[str, float]:
    found = [_increase(copies, start_s, end_s) for copies in things]
    rates = [increase / length_s for increase, length_s in found if length_s > 0]
    return {"increase": sum(increase for increase, _ in found), "per_second": sum(rates)}


def _increase(copies: list[Series], start_s: float, end_s: float) -> tuple[float, float]:
    """The largest increase of a thing's counters, and over which part of the window it is known (seconds)."""
    return max(_grown(series, start_s, end_s) for series in copies)


def _grown(series: Series, start_s: float, end_s: float) -> tuple[float, float]:
    """A counter's increase. A restart begins at zero again."""
    times, values = series
    steps = np.diff(values)
    grown = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, values[1:], steps))])
    first_s, last_s = max(start_s, float(times[0])), min(end_s, float(times[-1]))
    if last_s <= first_s:
        return 0.0, 0.0
    at_first, at_last = np.interp([first_s, last_s], times, grown)
    return float(at_last - at_first), last_s - first_s
