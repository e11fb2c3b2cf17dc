"""The tables of all metrics in docs/monitoring.md, generated from where the metrics are declared."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from perfbench_operator.metrics import OperatorMetrics
from perfbench_runner.observe.families import FAMILIES, RUN
from perfbench_runner.server.names import FIGURES, RATIOS, Name


class Line(NamedTuple):
    """A metric in a table."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def runner() -> Iterator[Line]:
    """Metrics of a run; the labels that all of them have are left out."""
    for family in FAMILIES.values():
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        yield Line(name, family.kind, tuple(label for label in family.labels if label not in RUN), family.text)


def operator() -> Iterator[Line]:
    """Metrics of the operator, without those that every Python process has."""
    registry = OperatorMetrics().registry
    labels = dict(_labels(registry))
    for metric in registry.collect():
        if metric.name.startswith("perfbench_"):
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            own = labels.get(metric.name, getattr(metric, "_labelnames", ()))
            yield Line(name, metric.type, tuple(own), metric.documentation)


def _labels(registry: CollectorRegistry) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Labels of counters and histograms; prometheus_client exposes them nowhere else."""
    for collector in registry._collector_to_names:
        if isinstance(collector, MetricWrapperBase):
            yield from ((metric.name, tuple(collector._labelnames)) for metric in collector.describe())


def table(lines: Iterable[Line]) -> str:
    """Markdown."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for line in lines:
        labels = ", ".join(line.labels)
        rows.append(f"| `{line.name}` | {line.kind} | {labels} | {line.text} |")
    return "\n".join(rows)


def names() -> str:
    """Which of the servers' own metrics each of our figures is made from."""
    rows = ["| figure | in the summary | made from |", "| --- | --- | --- |"]
    kinds = {
        "sum": "mean, min, max, readings; added over replicas",
        "mean": "mean, min, max, readings; averaged over replicas",
        "counter": "increase, per_second, window_s",
    }
    for figure in FIGURES:
        made = ", ".join(map(_named, figure.names))
        rows.append(f"| `{figure.name}` | {kinds[figure.kind]} | {made} |")
    for ratio in RATIOS:
        pairs = [_fraction(part, of) for part, *of in ratio.counters]
        gauges = list(map(_named, ratio.gauges))
        rows.append(f"| `{ratio.name}` | value | {', '.join([*pairs, *gauges])} |")
    return "\n".join(rows)


def _fraction(part: Name, of: list[Name]) -> str:
    whole = " + ".join(map(_named, of))
    return f"{_named(part)} / ({whole})" if len(of) > 1 else f"{_named(part)} / {whole}"


def _named(name: Name) -> str:
    """A server's metric in PromQL notation; an ellipsis where only the beginning of a label's value matters."""
    label, _, value = name.label.replace('"', "").partition(": ")
    rest = "" if name.label.endswith('"') else "…"
    return f'`{name.name}{{{label}="{value}{rest}"}}`' if label else f"`{name.name}`"


def fill(text: str) -> str:
    """A page with the tables between the markers `<!-- NAME -->` and `<!-- /NAME -->` regenerated."""
    made = {"runner": table(runner()), "operator": table(operator()), "server": names()}
    for name, content in made.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(
                f"docs/monitoring.md has no place for the table {name}: <!-- {name} --> … <!-- /{name} -->"
            )
        text = pattern.sub(lambda found, content=content: f"{found[1]}{content}\n{found[2]}", text)  # type: ignore[misc]
    return text
