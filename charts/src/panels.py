"""The pieces that Grafana dashboards are built of, as plain data: panels, queries, variables, rows.

A dashboard is Grafana's classic JSON model, as files and the sidecar of its chart load it. Every panel has a title, a
description and a unit; `board` lays panels out from left to right, 24 columns a row, and numbers them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SCHEMA_VERSION = 39
"""Of Grafana 11; 10 reads it, later ones bring it up to date."""


@dataclass(frozen=True)
class Query:
    """A PromQL query and how its series are called."""

    expr: str
    legend: str = ""
    is_instant: bool = False
    format: str = "time_series"


@dataclass(frozen=True)
class Row:
    """A heading."""

    title: str


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
    """Values over time; the legend tells mean and maximum. `points`: few and far between, joined up."""
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
    """One number; `steps` are colours and from where on they hold."""
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
    """How a histogram's values are spread over time."""
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
    """Which of several states holds when."""
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

    Columns of queries are called `Value #A`, `Value #B`, … until `rename` gives them names; `units` go by those names.
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
    """Mappings that show numbers as words with colours, by their position."""
    options = {str(number): {"text": text, "color": color, "index": number} for number, (text, color) in enumerate(of)}
    return [{"type": "value", "options": options}]


def states(column: str, of: Sequence[tuple[str, str]]) -> Data:
    """Show the numbers of a column as words with colours."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [
            {"id": "mappings", "value": words(of)},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ],
    }


def linked(column: str, title: str, url: str) -> Data:
    """Make a column's cells links."""
    return {
        "matcher": {"id": "byName", "options": column},
        "properties": [{"id": "links", "value": [{"title": title, "url": url, "targetBlank": False}]}],
    }


def dashed(pattern: str, color: str = "red") -> Data:
    """Draw series whose name matches as a dashed line without filling: bounds, and what was asked for."""
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
    """A series' own colour."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
    }


def datasource() -> Data:
    """The variable that picks the Prometheus."""
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "current": {},
        "options": [],
    }


def variable(
    name: str,
    label: str,
    query: str,
    *,
    multi: bool = True,
    description: str = "",
    sort: int = 1,
    all_values: str = ".*",
) -> Data:
    """A variable whose values are found by a query; those that may have several may have all."""
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"{name}-variable"},
        "refresh": 2,  # with the time range
        "sort": sort,
        "regex": "",
        "multi": multi,
        "includeAll": multi,
        **({"allValue": all_values} if multi else {}),
        "hide": 0,
        "current": everything if multi else {},
        "options": [],
    }


def board(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Data],
    content: Sequence[Data | Row],
    refresh: str,
    since: str,
    interval: str = "",
) -> Data:
    """A whole dashboard. `interval`: between scrapes, where it is not the data source's own."""
    built_in = {
        "builtIn": 1,
        "name": "Annotations & Alerts",
        "type": "dashboard",
        "datasource": {"type": "grafana", "uid": "-- Grafana --"},
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
    }
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["perfbench"],
        "editable": False,
        "graphTooltip": 1,
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "timezone": "browser",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "links": [_link()],
        "annotations": {"list": [built_in]},
        "templating": {"list": [datasource(), *variables]},
        "panels": [_paced(one, interval) if interval else one for one in _laid_out(content)],
    }


def _link() -> Data:
    """The menu of all our dashboards, keeping variables; what one looks at in Run is minutes, in Results days."""
    return {
        "type": "dashboards",
        "title": "perfbench",
        "tags": ["perfbench"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": False,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
        "url": "",
    }


def _paced(one: Data, interval: str) -> Data:
    """A panel whose steps and rates are by a scrape interval: both the panel and its queries must say so."""
    targets = [{**target, "interval": interval} for target in one.get("targets", [])]
    return {**one, "interval": interval, "targets": targets} if targets else one


class _Grid:
    """Places panels from left to right, 24 columns wide."""

    def __init__(self) -> None:
        self.x = self.y = self.height = self.number = 0

    def place(self, made: Data) -> Data:
        size = made["gridPos"]
        if self.x + size["w"] > 24:
            self.line()
        self.number += 1
        placed = {"id": self.number, **made, "gridPos": {**size, "x": self.x, "y": self.y}}
        self.x, self.height = self.x + size["w"], max(self.height, size["h"])
        return placed

    def line(self) -> None:
        self.x, self.y, self.height = 0, self.y + self.height, 0


def _laid_out(content: Sequence[Data | Row]) -> list[Data]:
    grid, placed = _Grid(), []
    for item in content:
        if not isinstance(item, Row):
            placed.append(grid.place(item))
            continue
        grid.line()
        heading = {"type": "row", "title": item.title, "gridPos": {"w": 24, "h": 1, "x": 0, "y": 0}}
        placed.append(grid.place({**heading, "collapsed": False, "panels": []}))
        grid.line()
    return placed
