"""Draws a dashboard as SVG from Prometheus' answers: pictures for the docs where no Grafana is available.

They resemble Grafana as far as that helps to recognise a panel: same positions, titles, units, legends and colours.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from colorsys import hls_to_rgb
from html import escape

from panels import Data

Ask = Callable[[str, bool], list[Data]]
"""Answers a query (PromQL, whether instant) with series or samples as Prometheus' API returns them."""
COLUMN, LINE, GAP = 52, 30, 6
COLORS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#b877d9", "#f2495c", "#8ab8ff", "#96d98d", "#ffb357", "#ca95e5")
NAMED = {
    "green": "#73bf69",
    "yellow": "#f2cc0c",
    "red": "#f2495c",
    "blue": "#5794f2",
    "orange": "#ff9830",
    "text": "#d8d9da",
}
LEGEND = 15
"""Height of a line of the legend, in pixels."""
Points = list[tuple[float, float]]


def draw(board: Data, ask: Ask) -> str:
    """The whole dashboard."""
    panels = board["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * LINE
    width = 24 * COLUMN
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' font-family='sans-serif' font-size='11'>",
        f"<title>{escape(board['title'])}</title><rect width='{width}' height='{height}' fill='#111217'/>",
    ]
    for panel in panels:
        at = panel["gridPos"]
        x, y, w, h = at["x"] * COLUMN, at["y"] * LINE, at["w"] * COLUMN - GAP, at["h"] * LINE - GAP
        if panel["type"] == "row":
            parts.append(_text(x + 4, y + 20, panel["title"], size=14, weight="bold"))
            continue
        frame = f"<rect width='{w}' height='{h}' rx='2' fill='#181b1f' stroke='#2c3235'/>"
        title = _text(8, 17, panel["title"], size=12, weight="bold")
        body = DRAWERS[panel["type"]](panel, ask, w, h)
        parts.append(f"<g class='panel' transform='translate({x},{y})'>{frame}{title}{body}</g>")
    return "\n".join([*parts, "</svg>\n"])


def _text(
    x: float, y: float, text: str, color: str = "#d8d9da", size: int = 11, anchor: str = "start", weight: str = "normal"
) -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' fill='{color}' font-size='{size}' text-anchor='{anchor}'"
        f" font-weight='{weight}'>{escape(text)}</text>"
    )


def _answers(panel: Data, ask: Ask) -> Iterator[tuple[str, Data]]:
    """Series of all queries with their names."""
    for target in panel["targets"]:
        for series in ask(target["expr"], target["instant"]):
            legend = target["legendFormat"]
            yield re.sub(r"{{(\w+)}}", lambda found, of=series["metric"]: of.get(found[1], ""), legend), series  # type: ignore[misc]


def _points(series: Data) -> Points:
    points = [(float(at), float(value)) for at, value in series.get("values", [series.get("value")])]
    return [(at, value) for at, value in points if math.isfinite(value)]


def shown(value: float, unit: str) -> str:
    """A number as people read it."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        size, name = next((one for one in ((1, "s"), (1e-3, "ms")) if abs(value) >= one[0]), (1e-6, "µs"))
        return f"{value / size:.3g} {name}"
    if unit == "dateTimeFromNow":  # the picture does not show a particular day
        return "a minute ago"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    number = f"{value:.3g}" if abs(value) < 1e4 else f"{value / 1e3:.3g} k"
    return {"reqps": f"{number} req/s", "ops": f"{number} ops/s", "watt": f"{number} W"}.get(unit, number)


def _colors(panel: Data, names: Sequence[str]) -> dict[str, tuple[str, bool]]:
    """Colour of each series, and whether it is dashed."""
    found = {name: (COLORS[number % len(COLORS)], False) for number, name in enumerate(names)}
    for override in panel["fieldConfig"]["overrides"]:
        matcher, properties = override["matcher"], {one["id"]: one["value"] for one in override["properties"]}
        if "color" not in properties:
            continue
        color = properties["color"]["fixedColor"]
        for name in names:
            is_regex = matcher["id"] == "byRegexp"
            if re.fullmatch(matcher["options"], name) if is_regex else matcher["options"] == name:
                found[name] = NAMED.get(color, color), "custom.lineStyle" in properties
    return found


def _scale(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(0.0, *values), max(values)
    return low, high if high > low else low + 1.0


def _lines(panel: Data, ask: Ask, w: float, h: float) -> str:
    series = [(name, _points(one)) for name, one in _answers(panel, ask)]
    series = [(name, points) for name, points in series if points]
    if not series:
        return _text(w / 2, h / 2, "No data", "#8e8e8e", 13, "middle")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    shown_series, colors = series[:6], _colors(panel, [name for name, _ in series])
    left, top, right, bottom = 62.0, 28.0, w - 10, h - 24 - LEGEND * len(shown_series)
    times = [at for _, points in series for at, _ in points]
    low, high = _scale([value for _, points in series for _, value in points])
    start, end = min(times), max(max(times), min(times) + 1)
    parts = list(_grid(low, high, unit, left, top, right, bottom))
    for name, points in series:
        color, is_dashed = colors[name]
        across, up = (right - left) / (end - start), (bottom - top) / (high - low)
        path = " ".join(f"{left + (at - start) * across:.1f},{bottom - (value - low) * up:.1f}" for at, value in points)
        dash = " stroke-dasharray='7 6'" if is_dashed else ""
        parts.append(f"<polyline points='{path}' fill='none' stroke='{color}' stroke-width='1.6'{dash}/>")
        if panel["fieldConfig"]["defaults"]["custom"]["showPoints"] == "always":
            parts += [
                f"<circle cx='{at.split(',')[0]}' cy='{at.split(',')[1]}' r='4' fill='{color}'/>" for at in path.split()
            ]
    for number, (name, points) in enumerate(shown_series):
        y = h - 8 - LEGEND * (len(shown_series) - 1 - number)
        values = [value for _, value in points]
        parts.append(f"<rect x='10' y='{y - 6:.1f}' width='12' height='3' fill='{colors[name][0]}'/>")
        mean, most = (shown(value, unit) for value in (sum(values) / len(values), max(values)))
        parts += [_text(28, y, name), _text(w - 90, y, f"mean {mean}", "#8e8e8e", 10, "end")]
        parts.append(_text(w - 10, y, f"max {most}", "#8e8e8e", 10, "end"))
    return "".join(parts)


def _grid(low: float, high: float, unit: str, left: float, top: float, right: float, bottom: float) -> Iterator[str]:
    for step in range(5):
        y = bottom - step / 4 * (bottom - top)
        yield f"<line x1='{left}' x2='{right}' y1='{y:.1f}' y2='{y:.1f}' stroke='#2c3235'/>"
        yield _text(left - 6, y + 4, shown(low + step / 4 * (high - low), unit), "#8e8e8e", 10, "end")


def _stat(panel: Data, ask: Ask, w: float, h: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    found = [(name, points[-1][1]) for name, one in _answers(panel, ask) if (points := _points(one))]
    if not found:
        return _text(w / 2, h / 2 + 12, "-", "#8e8e8e", 22, "middle")
    [(_, value)] = found
    text, color = _word(defaults["mappings"], value) or (shown(value, defaults["unit"]), _step(panel, value))
    return _text(w / 2, h / 2 + 14, text, color, 20, "middle")


def _word(mappings: Sequence[Data], value: float) -> tuple[str, str] | None:
    """The word that a number stands for, and its colour."""
    for mapping in mappings:
        found = mapping["options"].get(f"{value:g}")
        if found:
            return found["text"], NAMED.get(found["color"], found["color"])
    return None


def _step(panel: Data, value: float) -> str:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return str(NAMED.get(reached[-1], reached[-1]))


def _heatmap(panel: Data, ask: Ask, w: float, h: float) -> str:
    cells: dict[float, dict[float, float]] = defaultdict(dict)
    for name, one in _answers(panel, ask):
        for at, value in _points(one):
            cells[at][float(name)] = value
    if not cells:
        return _text(w / 2, h / 2, "No data", "#8e8e8e", 13, "middle")
    counts = {
        (at, bound): max(0.0, many - (row[bounds[number - 1]] if number else 0.0))
        for at, row in cells.items()
        for bounds in [sorted(row)]
        for number, (bound, many) in enumerate(sorted(row.items()))
    }
    used = [bound for _, bound in sorted((key for key, many in counts.items() if many > 1e-9), key=lambda key: key[1])]
    bounds = [bound for bound in sorted({bound for _, bound in counts}) if used and used[0] <= bound <= used[-1]]
    times, most = sorted(cells), max(counts.values()) or 1.0
    left, top, cell_w, cell_h = 62.0, 28.0, (w - 72) / len(times), (h - 44) / max(len(bounds), 1)
    parts = []
    for number, bound in enumerate(bounds):
        y = h - 16 - (number + 1) * cell_h
        label = shown(bound, "s") if math.isfinite(bound) else "more"
        parts.append(_text(left - 6, y + cell_h / 2 + 4, f"≤ {label}", "#8e8e8e", 10, "end"))
        for position, at in enumerate(times):
            many = counts.get((at, bound), 0.0)
            if many > 1e-9:
                color = _heat(math.sqrt(many / most))
                where = f"x='{left + position * cell_w:.1f}' y='{max(y, top):.1f}'"
                parts.append(f"<rect {where} width='{cell_w + 0.3:.1f}' height='{cell_h - 1:.1f}' fill='{color}'/>")
    return "".join(parts)


def _heat(share: float) -> str:
    """A colour from dark blue through green and yellow to red, for a share from 0 to 1."""
    red, green, blue = hls_to_rgb((240 - 240 * share) / 360, 0.3 + 0.22 * share, 0.75)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _timeline(panel: Data, ask: Ask, w: float, h: float) -> str:
    series = [(name, _points(one)) for name, one in _answers(panel, ask)]
    series = [(name, points) for name, points in series if points]
    if not series:
        return _text(w / 2, h / 2, "No data", "#8e8e8e", 13, "middle")
    times = [at for _, points in series for at, _ in points]
    start, length = min(times), max(max(times) - min(times), 1.0)
    left, height, parts = 130.0, (h - 34) / len(series), []
    for number, (name, points) in enumerate(series):
        y = 28 + number * height
        parts.append(_text(left - 8, y + height / 2 + 4, name, "#d8d9da", 11, "end"))
        on = [at for at, value in points if value]
        for at in on:
            x = left + (at - start) / length * (w - left - 14)
            step = (w - left - 14) / length * 1.02
            parts.append(
                f"<rect x='{x:.1f}' y='{y:.1f}' width='{step:.1f}' height='{height * 0.8:.1f}' fill='#5794f2'/>"
            )
    return "".join(parts)


def _table(panel: Data, ask: Ask, w: float, h: float) -> str:
    rename = next(one["options"]["renameByName"] for one in panel["transformations"] if one["id"] == "organize")
    rows: dict[tuple[tuple[str, str], ...], dict[str, tuple[str, str]]] = defaultdict(dict)
    for target in panel["targets"]:
        column = rename[f"Value #{target['refId']}"]
        for sample in ask(target["expr"], True):
            rows[tuple(sorted(sample["metric"].items()))][column] = _cell(panel, column, float(sample["value"][1]))
    labels = list(dict.fromkeys(name for key in rows for name, _ in key))
    columns = [*labels, *rename.values()]
    width = (w - 16) / max(len(columns), 1)
    parts = [_text(10 + number * width, 42, name, "#8e8e8e", 11) for number, name in enumerate(columns)]
    for line, (key, cells) in enumerate(sorted(rows.items())):
        found = [(dict(key).get(label, ""), NAMED["text"]) for label in labels]
        found += [cells.get(name, ("", NAMED["text"])) for name in rename.values()]
        parts += [
            _text(10 + number * width, 66 + line * 24, text[:20], color) for number, (text, color) in enumerate(found)
        ]
    return "".join(parts)


def _cell(panel: Data, column: str, value: float) -> tuple[str, str]:
    """Text and colour of a number in a column."""
    own = [one for one in panel["fieldConfig"]["overrides"] if one["matcher"]["options"] == column]
    properties = {one["id"]: one["value"] for override in own for one in override["properties"]}
    return _word(properties.get("mappings", []), value) or (
        shown(value, properties.get("unit", "short")),
        NAMED["text"],
    )


DRAWERS: dict[str, Callable[[Data, Ask, float, float], str]] = {
    "timeseries": _lines,
    "stat": _stat,
    "heatmap": _heatmap,
    "state-timeline": _timeline,
    "table": _table,
}
