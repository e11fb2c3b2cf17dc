"""What the queries of all dashboards have in common: selectors, variables, quantiles, states as numbers."""

from collections.abc import Sequence

from panels import Data, variable

RUN = 'job=~"$job", namespace=~"$namespace", benchmark=~"$benchmark", model=~"$model"'
"""Selects benchmarks by metrics that know the model."""
SOME = 'job=~"$job", namespace=~"$namespace", benchmark=~"$benchmark"'
"""Selects benchmarks by metrics that do not."""
SELF = 'job=~"$job"'
"""Selects the operator."""
RATE = "[$__rate_interval]"
QUANTILES = (("p50", 0.5, "green"), ("p90", 0.9, "yellow"), ("p99", 0.99, "orange"))
JOBS = "Jobs of the scrape configuration."
CLIENT = (("valid", "green"), ("degraded", "yellow"), ("invalid", "red"))
States = Sequence[tuple[str, str]]
"""Words and their colours, by number."""


def variables(metric: str, *, stage: bool = False, several: bool = True) -> list[Data]:
    """Job, namespace, model and benchmark, each by the ones before; `several`: whether benchmarks may be more than one.

    All but the job may be empty: a run on a laptop has no namespace, a replayed one no model.
    """
    chain = [
        ("namespace", "Namespace", 'job=~"$job"', "Namespaces of the PerfBenchmarks."),
        ("model", "Model", 'job=~"$job", namespace=~"$namespace"', "Models that were measured."),
        ("benchmark", "Benchmark", 'job=~"$job", namespace=~"$namespace", model=~"$model"', "PerfBenchmarks by name."),
    ]
    if stage:
        chain.append(("stage", "Stage", RUN, "Load levels."))
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


def quantile(metric: str, q: float, selector: str = RUN) -> str:
    """A quantile of a histogram over all that is selected."""
    return f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{selector}}}{RATE})))"


def numbered(metric: str, selector: str, label: str, of: States) -> str:
    """Which of several states holds, as its number; to be aggregated by max, and mapped to words."""
    each = [f'{number} * {metric}{{{selector}, {label}="{state}"}}' for number, (state, _) in enumerate(of) if number]
    return " or ".join(each)
