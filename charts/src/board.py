"""A whole Grafana dashboard of panels, variables and row headings, as plain data in Grafana's classic JSON model.

`board` places panels from left to right, 24 columns a row, and numbers them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from panels import DATASOURCE, Data

SCHEMA_VERSION = 39
"""Of Grafana 11; 10 reads it, later ones bring it up to date."""


@dataclass(frozen=True)
class Row:
    """The heading of a row of panels."""

    title: str


def datasource() -> Data:
    """The variable that selects the Prometheus data source."""
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
    """A variable whose values come from a query; with `multi`, several or all of them can be selected."""
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "name": name,
        "label": label,
        "description": description,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": f"{name}-variable"},
        "refresh": 2,  # whenever the time range changes
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
    """A whole dashboard. `interval`: time between scrapes, if it differs from the data source's own."""
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
    """A menu of all our dashboards. It keeps variables but not the time range: Run shows minutes, Results days."""
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
    """A panel whose steps and rates follow a scrape interval: both the panel and its queries must say so."""
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
