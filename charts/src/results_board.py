"""The dashboard of benchmarks and their results. Its metrics come from perfbench_operator/metrics.py.

The operator exports a benchmark for as long as it exists: the tables show those, history and comparison also what
Prometheus remembers. Series of one benchmark from several operator pods, as after a restart, are merged: the largest counts.
"""

from collections.abc import Sequence

from board import Row, board, variable
from panels import Data, Query, lines, linked, states, table
from queries import CLIENT_COLORS, RATE, SELECTED, SELECTED_BY_NAME, States, numbered, variables

OF_STAGE = f'{SELECTED}, stage=~"$stage"'
LABEL = 'perfbench_benchmark_label{job=~"$job", namespace=~"$namespace", label=~"$label"}'
WITH_LABEL = f"and on (namespace, benchmark) {LABEL}"
"""Keeps benchmarks that have one of the selected labels; every benchmark has at least an empty one."""
BENCHMARK_LABELS = "namespace, benchmark, model, workload"
STAGE_LABELS = "namespace, benchmark, model, stage"
PHASE_COLORS = (
    ("Pending", "text"),
    ("Waiting", "yellow"),
    ("Running", "blue"),
    ("Succeeded", "green"),
    ("Failed", "red"),
    ("Cancelled", "#8e8e8e"),
)
VERDICT_COLORS = (("Failed", "red"), ("Passed", "green"), ("Inconclusive", "yellow"))


def results() -> Data:
    """All benchmarks that exist, their history, and two runs compared."""
    some = 'job=~"$job", namespace=~"$namespace"'
    label = variable(
        "label",
        "Label",
        f"label_values(perfbench_benchmark_label{{{some}}}, label)",
        description="Labels of PerfBenchmarks, as name=value; keeps those that have one of the selected labels.",
    )
    runs = [
        variable(
            name,
            title,
            f'label_values(perfbench_benchmark_requests{{{some}, model=~"$model"}}, benchmark)',
            multi=False,
            description="One of the two runs to compare.",
            sort=sort,
        )
        for name, title, sort in (("a", "Run A", 1), ("b", "Run B", 2))
    ]
    first, second = variables("perfbench_benchmark_info"), variables("perfbench_benchmark_requests", stage=True)[-1]
    return board(
        "perfbench-results",
        "perfbench / Results",
        "All benchmarks that exist with their figures, read from their status; the history of a model; two runs compared.",
        [*first, label, second, *runs],
        [_benchmark_table(), _stage_table(), Row("History"), *_history(), Row("Run A and run B"), *_compared()],
        refresh="1m",
        since="now-7d",
    )


def result(metric: str, statistic: str, selector: str = OF_STAGE) -> str:
    """A latency of finished stages."""
    return f'perfbench_benchmark_latency_seconds{{{selector}, metric="{metric}", statistic="{statistic}"}}'


def _column(by: str, expr: str) -> Query:
    return Query(f"max by ({by}) ({expr})", is_instant=True, format="table")


def _names(columns: Sequence[str]) -> dict[str, str]:
    """Names for the columns of the queries, in their order."""
    return {f"Value #{chr(ord('A') + number)}": name for number, name in enumerate(columns)}


def _fact(expr: str) -> Query:
    """A column of facts that have no model label: model and workload are joined from the benchmark's info."""
    info = f"0 * perfbench_benchmark_info{{{SELECTED}}} {WITH_LABEL}"
    return _column(
        BENCHMARK_LABELS, f"({info}) + on (namespace, benchmark) group_left () max by (namespace, benchmark) ({expr})"
    )


def _state(metric: str, label: str, of: States) -> str:
    return numbered(f"perfbench_benchmark_{metric}", SELECTED_BY_NAME, label, of)


def _benchmark_table() -> Data:
    start, completion = (
        f"perfbench_benchmark_{event}_timestamp_seconds{{{SELECTED_BY_NAME}}}" for event in ("start", "completion")
    )
    columns = {
        "phase": _state("phase", "phase", PHASE_COLORS),
        "verdict": _state("verdict", "verdict", VERDICT_COLORS),
        "load generator": _state("client_state", "state", CLIENT_COLORS),
        # A benchmark that never started still links to when it ended.
        "started": f"1000 * {start} or on (namespace, benchmark) 1000 * {completion}",
        "finished": f"1000 * {completion}",
    }
    return table(
        "Benchmarks",
        "All benchmarks that exist, the latest first. The name links to what was recorded while it ran.",
        *(_fact(expr) for expr in columns.values()),
        rename=_names(list(columns)),
        units={"started": "dateTimeFromNow", "finished": "dateTimeFromNow"},
        by="started",
        descending=True,
        overrides=[
            states("phase", PHASE_COLORS),
            states("verdict", VERDICT_COLORS),
            states("load generator", CLIENT_COLORS),
            linked(
                "benchmark",
                "Watch the run",
                "/d/perfbench-run?var-datasource=${datasource}&var-namespace=${__data.fields.namespace}"
                "&var-benchmark=${__data.fields.benchmark}"
                "&from=${__data.fields.started.numeric}&to=${__data.fields.finished.numeric}",
            ),
        ],
        size=(24, 8),
    )


def _stage_table() -> Data:
    columns = [
        ("req/s", "reqps", f"perfbench_benchmark_requests_per_second{{{OF_STAGE}}}"),
        ("output tok/s", "short", f"perfbench_benchmark_output_tokens_per_second{{{OF_STAGE}}}"),
        ("TTFT p50", "s", result("ttft", "p50")),
        ("TTFT p99", "s", result("ttft", "p99")),
        ("ITL p50", "s", result("itl", "p50")),
        ("ITL p99", "s", result("itl", "p99")),
        ("e2e p50", "s", result("e2e_latency", "p50")),
        ("e2e p99", "s", result("e2e_latency", "p99")),
        ("succeeded", "short", f'perfbench_benchmark_requests{{{OF_STAGE}, outcome="succeeded"}}'),
        ("failed", "short", f'perfbench_benchmark_requests{{{OF_STAGE}, outcome="failed"}}'),
    ]
    return table(
        "Stages",
        "One row for each stage of each benchmark; exact figures from its summary.",
        *(_column(STAGE_LABELS, f"{expr} {WITH_LABEL}") for _, _, expr in columns),
        rename=_names([name for name, _, _ in columns]),
        units={name: unit for name, unit, _ in columns},
    )


# History


def _within_step(selector: str) -> str:
    """The last value within a step, so that benchmarks deleted before the next step are included."""
    return f"last_over_time({selector}{RATE})"


COMPLETION = _within_step(f"perfbench_benchmark_completion_timestamp_seconds{{{SELECTED_BY_NAME}}}")
JUST_ENDED = (
    f"and on (namespace, benchmark) {_within_step(LABEL)}"
    f" and on (namespace, benchmark) (time() - {COMPLETION} < 60 + $__rate_interval_ms / 1000)"
)
"""Keeps benchmarks that have just finished: one point in the history for each."""


def _history() -> list[Data]:
    text = (
        "One point for each run, at the time it finished, joined by model and stage; points stay when runs are deleted."
        " If several runs of a model and stage finish within a step, the largest is shown: filter by label."
    )
    figures = [
        (
            "Output tokens",
            "Output tokens per second of each stage.",
            "short",
            f"perfbench_benchmark_output_tokens_per_second{{{OF_STAGE}}}",
        ),
        (
            "Requests",
            "Succeeded requests per second of each stage.",
            "reqps",
            f"perfbench_benchmark_requests_per_second{{{OF_STAGE}}}",
        ),
        *(
            (f"{name} p99", f"99th percentile of each stage: {what}.", "s", result(metric, "p99"))
            for metric, name, what in (
                ("ttft", "TTFT", "time to the first token"),
                ("itl", "ITL", "gaps between tokens"),
                ("e2e_latency", "End-to-end latency", "whole requests"),
            )
        ),
    ]
    return [
        _verdicts(),
        *(
            lines(
                title,
                f"{description} {text}",
                unit,
                Query(
                    f"max by (namespace, model, stage) ({_within_step(expr)} {JUST_ENDED})",
                    "{{namespace}} {{model}} {{stage}}",
                ),
                points=True,
            )
            for title, description, unit, expr in figures
        ),
    ]


def _verdicts() -> Data:
    passed, inconclusive = (
        _within_step(f'perfbench_benchmark_verdict{{{SELECTED_BY_NAME}, verdict="{verdict}"}}')
        for verdict in ("Passed", "Inconclusive")
    )
    info = f"max by (namespace, benchmark, model) ({_within_step(f'perfbench_benchmark_info{{{SELECTED}}}')})"
    judged = f"{passed} unless on (namespace, benchmark) {inconclusive} == 1"
    of_model = f"max by (namespace, benchmark) ({judged}) * on (namespace, benchmark) group_left (model) {info}"
    return lines(
        "Verdicts",
        "Whether the objectives were met: 1 passed, 0 failed. One point for each run, at the time it finished, joined by model;"
        " if several finish within a step, a failed one is shown. Inconclusive runs are left out.",
        "short",
        Query(f"min by (namespace, model) ({of_model} {JUST_ENDED})", "{{namespace}} {{model}}"),
        maximum=1,
        points=True,
    )


# Comparison


def _compared() -> list[Data]:
    """Both runs side by side, and the difference of B from A."""
    figures = [
        ("Output tokens per second", "short", "perfbench_benchmark_output_tokens_per_second{%s}"),
        ("Requests per second", "reqps", "perfbench_benchmark_requests_per_second{%s}"),
        *(
            (f"{name} {statistic}", "s", result(metric, statistic, "%s"))
            for metric, name in (("ttft", "TTFT"), ("itl", "ITL"), ("e2e_latency", "End-to-end latency"))
            for statistic in ("p50", "p99")
        ),
    ]
    return [_side_by_side(name, unit, expr) for name, unit, expr in figures]


def _side_by_side(name: str, unit: str, expr: str) -> Data:
    a, b = (
        f"max by (stage) (last_over_time({expr % selector}[$__range]))"
        for selector in (f'job=~"$job", namespace=~"$namespace", benchmark="${side}"' for side in "ab")
    )
    columns = {"A": a, "B": b, "B vs. A": f"{b} / {a} - 1"}
    return table(
        name,
        f"{name} of run A and run B by stage, and the difference of B from A. Stages are matched by name."
        " Select a namespace if several have runs with these names.",
        *(Query(query, is_instant=True, format="table") for query in columns.values()),
        rename=_names(list(columns)),
        units={"A": unit, "B": unit, "B vs. A": "percentunit"},
        by="stage",
        size=(6, 7),
    )
