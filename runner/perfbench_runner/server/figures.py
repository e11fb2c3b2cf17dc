"""Figures of the server's own metrics over the measured window of a stage, from the results file.

Readings are a second apart and the window begins and ends between them, so all series are interpolated at its edges.
"""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from perfbench_runner.server.names import (
    COUNTERS,
    FIGURES,
    PERIOD_S,
    RATIOS,
    STALE_S,
    Figure,
    Name,
    Ratio,
    chosen,
    is_value,
    thing,
)

HELD_S = 2 * PERIOD_S
"""How long what was seen last holds: a look may have failed."""
MOST_MOMENTS = 10_000
"""A gauge is looked at in so many moments of a long stage."""

Array = np.ndarray[Any, np.dtype[np.float64]]
Series = tuple[Array, Array]
"""Times and values."""
Things = list[list[Series]]
"""Of each thing (replica, GPU) the series that tell of it: mostly one, of several the largest value counts."""
Where = tuple[str, str, str]
Points = Mapping[Where, list[tuple[float, float]]]
"""Times and values by source, name and labels."""
LOG = logging.getLogger(__name__)


def server_figures(db: sqlite3.Connection, start_s: float, end_s: float) -> dict[str, dict[str, float]]:
    """Neutral name -> mean, min and max of a gauge; increase and per_second of a counter; value of a ratio.

    What is not known is left out.
    """
    found = _things(_from_zero(_without_mixed(_points(db, start_s, end_s))))
    figures = {figure.name: _of_figure(figure, found[figure.name], start_s, end_s) for figure in FIGURES}
    figures |= {ratio.name: _of_ratio(ratio, found, start_s, end_s) for ratio in RATIOS}
    return {name: figure for name, figure in figures.items() if figure}


def _of_figure(figure: Figure, things: Things, start_s: float, end_s: float) -> dict[str, float]:
    if figure.kind == "counter":
        return _counter(things, start_s, end_s)
    return _gauge(things, start_s, end_s, figure.kind == "mean")


def _of_ratio(ratio: Ratio, found: Mapping[str, Things], start_s: float, end_s: float) -> dict[str, float]:
    of = _counter(found[f"{ratio.name}/of"], start_s, end_s).get("increase")
    if of:
        return {"value": _counter(found[f"{ratio.name}/hits"], start_s, end_s).get("increase", 0.0) / of}
    gauge = _gauge(found[f"{ratio.name}/gauge"], start_s, end_s, True)
    return {"value": gauge["mean"]} if gauge else {}


def _points(db: sqlite3.Connection, start_s: float, end_s: float) -> Points:
    """All readings that tell of the window."""
    rows = db.execute(
        "SELECT source, name, labels, time, value FROM server_metric WHERE time BETWEEN ? AND ? ORDER BY time",
        (start_s - STALE_S, end_s + STALE_S),
    )
    points: dict[Where, list[tuple[float, float]]] = defaultdict(list)
    for source, name, labels, time_s, value in rows:
        if value is not None and isfinite(value):  # SQLite makes nothing of NaN
            points[source, name, labels].append((time_s, value))
    return points


def _from_zero(points: Points) -> Points:
    """Let counters that a source began to tell of later stand at zero before: many appear with their first increase."""
    times: dict[str, set[float]] = defaultdict(set)
    for (source, _, _), values in points.items():
        times[source] |= {time_s for time_s, _ in values}
    made = {}
    for key, values in points.items():
        earlier = [time_s for time_s in times[key[0]] if time_s < values[0][0]] if key[1] in COUNTERS else []
        made[key] = [(max(earlier), 0.0), *values] if earlier else values
    return made


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
    if not things:
        return {}
    inside = [_inside(series, start_s, end_s)[0] for copies in things for series in copies]
    times = np.unique(np.concatenate([[start_s, end_s], *inside]))
    times = times[(times >= start_s) & (times <= end_s)]
    if len(times) > MOST_MOMENTS:
        times = np.linspace(start_s, end_s, MOST_MOMENTS)
    each = np.array([np.fmax.reduce([_at(times, series, start_s, end_s) for series in copies]) for copies in things])
    known = ~np.isnan(each).all(axis=0)
    times, each = times[known], each[:, known]
    if not len(times):
        return {}
    together = np.nanmean(each, axis=0) if is_mean else np.nansum(each, axis=0)
    length_s = float(times[-1] - times[0])
    area = float(np.sum((together[1:] + together[:-1]) / 2 * np.diff(times)))
    mean = area / length_s if length_s > 0 else float(together.mean())
    return {"mean": mean, "min": float(together.min()), "max": float(together.max())}


def _at(times: Array, series: Series, start_s: float, end_s: float) -> Array:
    """A gauge at some times; NaN before it was first seen, and some time after it was last: a replica that is gone."""
    values: Array = np.interp(times, *_inside(series, start_s, end_s))
    values[(times < series[0][0]) | (times > series[0][-1] + HELD_S)] = np.nan
    return values


def _inside(series: Series, start_s: float, end_s: float) -> Series:
    times, values = series
    inside = (times >= start_s) & (times <= end_s)
    return (times[inside], values[inside]) if inside.any() else series


def _counter(things: Things, start_s: float, end_s: float) -> dict[str, float]:
    """The increase of all things together, and per second of the time that any of them was seen."""
    found = [max(_grown(series, start_s, end_s) for series in copies) for copies in things]
    seen = [one for one in found if one.last_s > one.first_s]
    if not seen:
        return {}
    increase = sum(one.increase for one in seen)
    length_s = max(one.last_s for one in seen) - min(one.first_s for one in seen)
    return {"increase": increase, "per_second": increase / length_s}


class Grown(NamedTuple):
    """A counter's increase, and over which part of the window it is known."""

    increase: float
    first_s: float
    last_s: float


def _grown(series: Series, start_s: float, end_s: float) -> Grown:
    """A counter's increase. A restart begins at zero again."""
    times, values = series
    steps = np.diff(values)
    grown = np.concatenate([[0.0], np.cumsum(np.where(steps < 0, values[1:], steps))])
    first_s, last_s = max(start_s, float(times[0])), min(end_s, float(times[-1]))
    if last_s <= first_s:
        return Grown(0.0, first_s, first_s)
    at_first, at_last = np.interp([first_s, last_s], times, grown)
    return Grown(float(at_last - at_first), first_s, last_s)
