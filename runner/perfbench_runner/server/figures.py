"""Figures of the server's own metrics over the measured window of a stage, from the results file.

Readings are a second apart, with one more just before each stage. Nothing is interpolated: a gauge is what was read
inside of the window, a counter's increase is the difference of the readings that bracket it.
"""

import logging
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import floor, isfinite, log10
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
DIGITS = 6
"""Significant digits of a counter as servers in C++ write it that think of no other format."""
ROUNDING = 0.05
"""An increase is known where the server's rounding is a smaller share of it."""
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


def server_figures(db: sqlite3.Connection, start_s: float, end_s: float) -> dict[str, dict[str, float | None]]:
    """Neutral name -> mean, min and max of a gauge; increase and per_second of a counter; value of a ratio.

    A figure that the server has and that is not known of this window is null; one that it has not is left out.
    """
    found = _things(_from_zero(_without_mixed(_points(db, start_s, end_s))))
    figures = {figure.name: _of_figure(figure, found[figure.name], start_s, end_s) for figure in FIGURES}
    figures |= {ratio.name: _of_ratio(ratio, found, start_s, end_s) for ratio in RATIOS}
    return {name: figure for name, figure in figures.items() if figure}


def _of_figure(figure: Figure, things: Things, start_s: float, end_s: float) -> dict[str, float | None]:
    if figure.kind == "counter":
        return _counter(things, start_s, end_s)
    return _gauge(things, start_s, end_s, figure.kind == "mean")


def _of_ratio(ratio: Ratio, found: Mapping[str, Things], start_s: float, end_s: float) -> dict[str, float | None]:
    of = _counter(found[f"{ratio.name}/of"], start_s, end_s).get("increase")
    if of:
        return {"value": (_counter(found[f"{ratio.name}/hits"], start_s, end_s).get("increase") or 0.0) / of}
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


def _gauge(things: Things, start_s: float, end_s: float, is_mean: bool) -> dict[str, float | None]:
    """Of all things together, moment by moment; the mean is over time.

    Only readings inside of the window count: those outside show a server under another load, or at rest.
    """
    if not things:
        return {}
    inside = [[one for series in copies if (one := _inside(series, start_s, end_s)) is not None] for copies in things]
    inside = [copies for copies in inside if copies]
    times = np.unique(np.concatenate([np.empty(0), *(times for copies in inside for times, _ in copies)]))
    readings = float(len(times))
    if not readings:
        return {"mean": None, "min": None, "max": None, "readings": 0.0}
    times = np.unique(np.concatenate([[start_s, end_s], times]))
    if len(times) > MOST_MOMENTS:
        times = np.linspace(start_s, end_s, MOST_MOMENTS)
    each = np.array([np.fmax.reduce([_at(times, series, start_s) for series in copies]) for copies in inside])
    known = ~np.isnan(each).all(axis=0)
    times, each = times[known], each[:, known]
    together = np.nanmean(each, axis=0) if is_mean else np.nansum(each, axis=0)
    length_s = float(times[-1] - times[0])
    area = float(np.sum((together[1:] + together[:-1]) / 2 * np.diff(times)))
    mean = area / length_s if length_s > 0 else float(together.mean())
    return {"mean": mean, "min": float(together.min()), "max": float(together.max()), "readings": readings}


def _at(times: Array, series: Series, start_s: float) -> Array:
    """A gauge at some times; NaN before it was first seen, and some time after it was last: a replica that is gone.

    What was seen first holds back to the window's start where it was seen soon after: nobody looks exactly then.
    """
    values: Array = np.interp(times, *series)
    first_s = start_s if series[0][0] - start_s <= HELD_S else series[0][0]
    values[(times < first_s) | (times > series[0][-1] + HELD_S)] = np.nan
    return values


def _inside(series: Series, start_s: float, end_s: float) -> Series | None:
    times, values = series
    inside = (times >= start_s) & (times <= end_s)
    return (times[inside], values[inside]) if inside.any() else None


def _counter(things: Things, start_s: float, end_s: float) -> dict[str, float | None]:
    """The increase of all things together between the readings that bracket the window, and the time between these.

    Null where the servers' own rounding is too coarse for it.
    """
    grown = [max(_grown(series, start_s, end_s) for series in copies) for copies in things]
    seen = [one for one in grown if one.last_s > one.first_s]
    if not seen:
        return {}
    increase, step = sum(one.increase for one in seen), sum(one.step for one in seen)
    window_s = max(one.last_s for one in seen) - min(one.first_s for one in seen)
    if step and increase < step / ROUNDING:
        return {"increase": None, "per_second": None, "window_s": window_s, "rounded_to": step}
    return {"increase": increase, "per_second": increase / window_s, "window_s": window_s}


class Grown(NamedTuple):
    """A counter's increase, and between which readings."""

    increase: float
    first_s: float
    last_s: float
    step: float
    """What the server rounds it to; 0 where it does not."""


def _grown(series: Series, start_s: float, end_s: float) -> Grown:
    """A counter's increase, as its readings say it. A restart begins at zero again."""
    times, values = series
    first = max(0, int(np.searchsorted(times, start_s, side="right")) - 1)
    last = min(len(times) - 1, int(np.searchsorted(times, end_s, side="left")))
    if last <= first or times[first] >= end_s or times[last] <= start_s:
        return Grown(0.0, 0.0, 0.0, 0.0)
    steps = np.diff(values[first : last + 1])
    increase = float(np.where(steps < 0, values[first + 1 : last + 1], steps).sum())
    return Grown(increase, float(times[first]), float(times[last]), rounding_step(values[first : last + 1]))


def rounding_step(values: Array) -> float:
    """What a server rounds a counter to that it writes with six significant digits; 0 where it does not seem to.

    From 1,000,000 on six digits end in zeros. Where all readings do, it is no accident, or one that does no harm.
    """
    largest = float(values.max())
    if largest < 10**DIGITS:
        return 0.0
    step = 10.0 ** (floor(log10(largest)) + 1 - DIGITS)
    large = values[values >= 10**DIGITS]
    return step if np.all(np.mod(large, 10.0 ** (np.floor(np.log10(large)) + 1 - DIGITS)) == 0) else 0.0
