"""The dashboard of the operator's health. Its metrics come from perfbench_operator/metrics.py."""

from board import Row, board, variable
from panels import Data, Query, colored, lines, stat
from queries import JOBS, OPERATOR, QUANTILES, RATE, quantile, rate


def operator() -> Data:
    """The operator's health at a glance, its work, its process."""
    return board(
        "perfbench-operator",
        "perfbench / Operator",
        "Health of the operator: how much it has to do, how long that takes, and what goes wrong.",
        [variable("job", "Job", "label_values(perfbench_operator_benchmarks, job)", description=JOBS, all_values=".+")],
        [*_operator_head(), Row("Work"), *_operator_work(), Row("Process"), *_operator_process()],
        refresh="30s",
        since="now-6h",
    )


def _operator_head() -> list[Data]:
    return [
        *(
            stat(
                phase,
                f"PerfBenchmarks that are {phase} now.",
                "short",
                Query(f'sum(perfbench_operator_benchmarks{{{OPERATOR}, phase="{phase}"}})'),
                steps=(("green", None), ("red", 1)) if phase == "Failed" else (("blue", None),),
            )
            for phase in ("Pending", "Waiting", "Running", "Succeeded", "Failed", "Cancelled")
        ),
        stat(
            "Last list",
            "Time since all benchmarks were last listed; it should stay below a minute.",
            "s",
            Query(f"time() - (max(perfbench_operator_last_list_timestamp_seconds{{{OPERATOR}}}) > 0)"),
            steps=(("green", None), ("yellow", 90), ("red", 300)),
            decimals=0,
        ),
        stat(
            "Watch lag",
            "For how long the watch has not reported a change that a list showed; normally 0.",
            "s",
            Query(f"max(perfbench_operator_watch_lag_seconds{{{OPERATOR}}})"),
            steps=(("green", None), ("yellow", 30), ("red", 60)),
            decimals=0,
        ),
    ]


def _operator_work() -> list[Data]:
    duration = "perfbench_operator_reconcile_duration_seconds"
    return [
        lines(
            "Benchmarks by phase",
            "PerfBenchmarks that exist.",
            "short",
            Query(f"sum by (phase) (perfbench_operator_benchmarks{{{OPERATOR}}})", "{{phase}}"),
            stacked=True,
        ),
        lines(
            "Reconciles",
            "Reconciles of benchmarks per second, by outcome; conflicts are retried shortly, errors after a growing delay.",
            "ops",
            Query(rate("perfbench_operator_reconciles_total", OPERATOR, by="outcome"), "{{outcome}}"),
            overrides=[colored("ok", "green"), colored("error", "red")],
        ),
        lines(
            "Reconcile duration",
            "How long one reconcile of a benchmark takes, including calls to the API server.",
            "s",
            *(Query(quantile(duration, q, OPERATOR), label) for label, q, _ in QUANTILES),
        ),
        lines(
            "Queue",
            "Benchmarks that wait to be reconciled, and those that are scheduled for later.",
            "short",
            Query(f"sum(perfbench_operator_queue_depth{{{OPERATOR}}})", "waiting"),
            Query(f"sum(perfbench_operator_queue_delayed{{{OPERATOR}}})", "later"),
        ),
        lines(
            "Time in the queue",
            "How long benchmarks waited to be reconciled; it should stay far below a second.",
            "s",
            *(
                Query(quantile("perfbench_operator_queue_wait_seconds", q, OPERATOR), label)
                for label, q, _ in QUANTILES
            ),
        ),
        lines(
            "Errors",
            "Errors per second, by kind. Empty while there are none.",
            "ops",
            Query(rate("perfbench_operator_errors_total", OPERATOR, by="kind"), "{{kind}}"),
        ),
        lines(
            "Watch events",
            "Changes per second that the watches report, by resource.",
            "ops",
            Query(rate("perfbench_operator_watch_events_total", OPERATOR, by="resource"), "{{resource}}"),
        ),
        lines(
            "Watch health",
            "How late the watch is, and the time since all benchmarks were last listed.",
            "s",
            Query(f"max(perfbench_operator_watch_lag_seconds{{{OPERATOR}}})", "watch lag"),
            Query(
                f"time() - (max(perfbench_operator_last_list_timestamp_seconds{{{OPERATOR}}}) > 0)", "since last list"
            ),
        ),
    ]


def _operator_process() -> list[Data]:
    is_operator = f"and on (job, instance) perfbench_operator_last_list_timestamp_seconds{{{OPERATOR}}}"
    cpu = f"rate(process_cpu_seconds_total{{{OPERATOR}}}{RATE})"
    return [
        lines(title, text, unit, Query(f"{expr} {is_operator}", "{{instance}}"))
        for title, text, unit, expr in (
            ("CPU", "CPU usage of the operator, as a share of one CPU.", "percentunit", cpu),
            ("Memory", "Resident memory of the operator.", "bytes", f"process_resident_memory_bytes{{{OPERATOR}}}"),
            ("Open files", "Open file descriptors of the operator.", "short", f"process_open_fds{{{OPERATOR}}}"),
        )
    ]
