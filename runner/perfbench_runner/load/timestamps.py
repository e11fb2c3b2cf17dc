"""Times of arrivals from a file: read once, before the load."""

from math import isfinite
from pathlib import Path

from perfbench_api.sections import Timestamps
from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.datasets.rows import file_rows
from perfbench_plugins.datasets.traces import seconds

FIELD = "load.stages.timestamps"


def read_timestamps(given: Timestamps) -> list[float]:
    """Offsets in seconds from the earliest, in order; raises DatasetError for a file that has no such times."""
    times: list[float] = []
    try:
        for number, row in enumerate(file_rows(Path(given.path)), 1):
            times.append(_time(row, given, number))
    except DatasetError as error:
        raise DatasetError(str(error).replace("dataset.path", f"{FIELD}.path", 1)) from None
    if not times:
        raise DatasetError(f"{FIELD}.path: {given.path!r} has no rows")
    times.sort()
    if not isfinite((times[-1] - times[0]) / given.speed):
        raise DatasetError(
            f"{FIELD}.path: {given.path!r} has times from {times[0]:g} to {times[-1]:g} s, too far apart"
        )
    return [(time_s - times[0]) / given.speed for time_s in times]


def _time(row: dict[str, object], given: Timestamps, number: int) -> float:
    if given.column not in row:
        known = ", ".join(map(str, row))
        raise DatasetError(f"{FIELD}.column: {given.path!r} has no column {given.column!r}; there are {known}")
    value = row[given.column]
    try:
        time_s = seconds(value)
    except ValueError as error:
        raise DatasetError(f"{FIELD}: {given.path!r}, row {number}: {error}") from None
    if not isfinite(time_s):
        raise DatasetError(f"{FIELD}: {given.path!r}, row {number}: {value!r} is no time")
    return time_s / 1e3 if given.unit == "ms" and _is_number(value) else time_s


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
