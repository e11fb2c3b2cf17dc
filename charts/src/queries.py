"""What the queries of several dashboards share: selectors, variables, rates, quantiles, states as numbers."""

from collections.abc import Sequence

from board import variable
from panels import Data

SELECTED = 'job=~"$job", namespace=~"$namespace", benchmark=~"$benchmark", model=~"$model"'
"""Selector for metrics that have a model label."""
SELECTED_BY_NAME = 'job=~"$job", namespace=~"$namespace", benchmark=~"$benchmark"'
"""Selector for metrics that have no model label."""
OPERATOR = 'job=~"$job"'
"""Selector for metrics of the operator."""
RATE = "[$__rate_interval]"
QUANTILES = (("p50", 0.5, "green"), ("p90", 0.9, "yellow"), ("p99", 0.99, "orange"))
JOBS = "Scrape jobs of Prometheus."
CLIENT_COLORS = (("valid", "green"), ("degraded", "yellow"), ("invalid", "red"))
States = Sequence[tuple[str, str]]
"""States and their colours; the position is the number that stands for a state."""


def variables(metric: str, *, stage: bool = False, several: bool = True) -> list[Data]:
    """Job, namespace, model and benchmark, each filtered by the ones before; `several`: whether to allow several benchmarks.

    All but the job may be empty: a run on a laptop has no namespace, a replayed one no model.
    """
    chain = [
        ("namespace", "Namespace", 'job=~"$job"', "Namespaces of the PerfBenchmarks."),
        ("model", "Model", 'job=~"$job", namespace=~"$namespace"', "Models that were benchmarked."),
        ("benchmark", "Benchmark", 'job=~"$job", namespace=~"$namespace", model=~"$model"', "PerfBenchmarks by name."),
    ]
    if stage:
        chain.append(("stage", "Stage", SELECTED, "Stages of the load."))
    job = variable("job", "Job", f"label_values({metric}, job)", description=JOBS, all_values=".+")
    return [
        job,
        *(
            variable(
                name,
                label,
                f"label_values({metric}{{{selector}}}, {name})",
                description=text,
                multi=several or name != "benchmark",
            )
            for name, label, selector, text in chain
        ),
    ]


def rate(metric: str, selector: str = SELECTED, by: str = "") -> str:
    """Increase of a counter per second, summed over all that is selected, or for each value of the label `by`."""
    total = f"sum by ({by}) " if by else "sum"
    return f"{total}(rate({metric}{{{selector}}}{RATE}))"


def quantile(metric: str, q: float, selector: str = SELECTED, by: str = "") -> str:
    """A quantile of a histogram, over everything that is selected, or for each value of the label `by`."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', selector, by=labels)})"


def numbered(metric: str, selector: str, label: str, of: States) -> str:
    """The number of the current state; to be aggregated by max and mapped to words."""
    each = [f'{number} * {metric}{{{selector}, {label}="{state}"}}' for number, (state, _) in enumerate(of) if number]
    return " or ".join(each)
