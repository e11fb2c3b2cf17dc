"""Panels of Grafana dashboards and the overrides of their fields, as plain data in Grafana's classic JSON model.

Every panel has a title, a description and a unit. board.py places them on a dashboard.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True)
class Query:
    """A PromQL query and the name of its series."""

    expr: str
    legend: str = ""
    is_instant: bool = False
    format: str = "time_series"


def panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    size: tuple[int, int] = (8, 8),
    defaults: Mapping[str, Any] | None = None,
    overrides: Sequence[Data] = (),
    options: Mapping[str, Any] | None = None,
    transformations: Sequence[Data] = (),
) -> Data:
    """Any panel; `size` is width and height."""
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": size[0], "h": size[1], "x": 0, "y": 0},
        "targets": [_target(number, query) for number, query in enumerate(queries)],
        "fieldConfig": {"defaults": {"unit": unit, **(defaults or {})}, "overrides": list(overrides)},
        "options": dict(options or {}),
        "transformations": list(transformations),
    }


def _target(number: int, query: Query) -> Data:
    return {
        "refId": chr(ord("A") + number),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "format": query.format,
        "instant": query.is_instant,
        "range": not query.is_instant,
        "editorMode": "code",
    }


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    size: tuple[int, int] = (8, 8),
    minimum: float | None = 0,
    maximum: float | None = None,
    overrides: Sequence[Data] = (),
    stacked: bool = False,
    points: bool = False,
) -> Data:
    """Values over time; the legend shows mean and maximum. `points`: few values far apart, joined by lines."""
    custom: Data = {
        "drawStyle": "line",
        "lineWidth": 1 if points else 2,
        "fillOpacity": 0 if points else 25 if stacked else 8,
        "showPoints": "always" if points else "auto",
        "pointSize": 8 if points else 5,
        "spanNulls": points,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "scaleDistribution": {"type": "linear"},
    }
    bounds = {"min": minimum, "max": maximum}
    return panel(
        "timeseries",
        title,
        description,
        unit,
        queries,
        size,
        {"custom": custom, **{name: value for name, value in bounds.items() if value is not None}},
        overrides,
        {
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["mean", "max"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def stat(
    title: str,
    description: str,
    unit: str,
    query: Query,
    size: tuple[int, int] = (3, 4),
    steps: Sequence[tuple[str, float | None]] = (("blue", None),),
    mappings: Sequence[Data] = (),
    decimals: int | None = None,
) -> Data:
    """One number; `steps` are colours and the values from which on they apply."""
    defaults: Data = {
        "mappings": list(mappings),
        "thresholds": {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in steps]},
        "color": {"mode": "thresholds"},
        "noValue": "-",
    }
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "value",
        "justifyMode": "auto",
        "orientation": "auto",
    }
    return panel("stat", title, description, unit, [query], size, defaults, options=options)


def heatmap(title: str, description: str, query: Query, size: tuple[int, int] = (12, 9)) -> Data:
    """The distribution of a histogram's values over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short"},
        "color": {"mode": "scheme", "scheme": "Turbo", "steps": 64, "exponent": 0.5, "fill": "dark-orange"},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": "s"},
    }
    return panel("heatmap", title, description, "s", [query], size, {"custom": {}}, options=options)


def timeline(
    title: str, description: str, *queries: Query, size: tuple[int, int] = (24, 4), mappings: Sequence[Data] = ()
) -> Data:
    """Which of several states is active when."""
    options = {
        "showValue": "never",
        "mergeValues": True,
        "rowHeight": 0.8,
        "alignValue": "left",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    defaults: Data = {
        "custom": {"lineWidth": 0, "fillOpacity": 75},
        "mappings": list(mappings),
        "color": {"mode": "thresholds"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"color": "transparent", "value": None}, {"color": "blue", "value": 1}],
        },
    }
    return panel("state-timeline", title, description, "short", queries, size, defaults, options=options)


def table(
    title: str,
    description: str,
    *queries: Query,
    unit: str = "short",
    size: tuple[int, int] = (24, 10),
    rename: Mapping[str, str],
    units: Mapping[str, str] | None = None,
    hide: Iterable[str] = (),
    by: str = "benchmark",
    descending: bool = False,
    overrides: Sequence[Data] = (),
) -> Data:
    """Instant queries as the columns of one table, sorted `by` one of them.

    Grafana calls the columns `Value #A`, `Value #B`, …; `rename` gives them names, and `units` refers to these names.
    """
    excluded = dict.fromkeys(["Time", *hide], True)
    transformations: list[Data] = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": excluded, "renameByName": dict(rename), "indexByName": {}}},
    ]
    own = [_unit_of(name, of) for name, of in (units or {}).items()]
    return panel(
        "table",
        title,
        description,
        unit,
        queries,
        size,
        {"custom": {"align": "auto", "filterable": True}, "noValue": ""},
        [*own, *overrides],
        {"showHeader": True, "cellHeight": "sm", "sortBy": [{"displayName": rename.get(by, by), "desc": descending}]},
        transformations,
    )


def _unit_of(name: str, unit: str) -> Data:
    return {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}


def words(of: Sequence[tuple[str, str]]) -> list[Data]:
    """Mappings that show a number as the coloured word at that position."""
    options = {str(number): {"text": text, "color": color, "index": number} for number, (text, color) in enumerate(of)}
    return [{"type": "value", "options": options}]


def states(column: str, of: Sequence[tuple[str, str]]) -> Data:
    """Show the numbers of a column as coloured words."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [
            {"id": "mappings", "value": words(of)},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ],
    }


def linked(column: str, title: str, url: str) -> Data:
    """Turn a column's cells into links."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "links", "value": [{"title": title, "url": url, "targetBlank": False}]}],
    }


def dashed(pattern: str, color: str = "red") -> Data:
    """Draw series whose name matches as a dashed line without filling: for limits and targets."""
    return {
        "matcher": {"id": "byRegexp", "options": pattern},
        "properties": [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
            {"id": "custom.fillOpacity", "value": 0},
            {"id": "custom.lineWidth", "value": 2},
            {"id": "custom.showPoints", "value": "never"},
            {"id": "color", "value": {"mode": "fixed", "fixedColor": color}},
        ],
    }


def colored(name: str, color: str) -> Data:
    """Give a series a fixed colour."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
    }
