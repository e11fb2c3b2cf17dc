"""The dashboard of the operator's health. Its metrics come from perfbench_operator/metrics.py."""

from panels import Data, Query, Row, board, colored, lines, stat, variable
from queries import JOBS, QUANTILES, RATE, SELF, quantile


def operator() -> Data:
    """Is the operator well?"""
    return board(
        "perfbench-operator",
        "perfbench / Operator",
        "Health of the operator: what it has to do, how long it takes, what goes wrong.",
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
                Query(f'sum(perfbench_operator_benchmarks{{{SELF}, phase="{phase}"}})'),
                steps=(("green", None), ("red", 1)) if phase == "Failed" else (("blue", None),),
            )
            for phase in ("Pending", "Waiting", "Running", "Succeeded", "Failed", "Cancelled")
        ),
        stat(
            "Last list",
            "How long ago all benchmarks were listed; it should stay below a minute.",
            "s",
            Query(f"time() - (max(perfbench_operator_last_list_timestamp_seconds{{{SELF}}}) > 0)"),
            steps=(("green", None), ("yellow", 90), ("red", 300)),
            decimals=0,
        ),
        stat(
            "Watch lag",
            "For how long the watch has owed a change that a list showed; 0 when all is well.",
            "s",
            Query(f"max(perfbench_operator_watch_lag_seconds{{{SELF}}})"),
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
            Query(f"sum by (phase) (perfbench_operator_benchmarks{{{SELF}}})", "{{phase}}"),
            stacked=True,
        ),
        lines(
            "Looks at benchmarks",
            "Reconciles per second by outcome; a conflict is tried again, an error too, later.",
            "ops",
            Query(f"sum by (outcome) (rate(perfbench_operator_reconciles_total{{{SELF}}}{RATE}))", "{{outcome}}"),
            overrides=[colored("ok", "green"), colored("error", "red")],
        ),
        lines(
            "Time of a look",
            "How long one look at a benchmark takes, calls to the API server included.",
            "s",
            *(Query(quantile(duration, q, SELF), label) for label, q, _ in QUANTILES),
        ),
        lines(
            "Queue",
            "Benchmarks that wait to be looked at, and those that will be later.",
            "short",
            Query(f"sum(perfbench_operator_queue_depth{{{SELF}}})", "waiting"),
            Query(f"sum(perfbench_operator_queue_delayed{{{SELF}}})", "later"),
        ),
        lines(
            "Time in the queue",
            "How long benchmarks waited to be looked at; it should stay far below a second.",
            "s",
            *(Query(quantile("perfbench_operator_queue_wait_seconds", q, SELF), label) for label, q, _ in QUANTILES),
        ),
        lines(
            "Errors",
            "Errors per second by kind. Empty while there are none.",
            "ops",
            Query(f"sum by (kind) (rate(perfbench_operator_errors_total{{{SELF}}}{RATE}))", "{{kind}}"),
        ),
        lines(
            "Watch events",
            "Changes per second that the watches tell, by resource.",
            "ops",
            Query(f"sum by (resource) (rate(perfbench_operator_watch_events_total{{{SELF}}}{RATE}))", "{{resource}}"),
        ),
        lines(
            "Watch health",
            "How late the watch is, and how long ago all benchmarks were listed.",
            "s",
            Query(f"max(perfbench_operator_watch_lag_seconds{{{SELF}}})", "watch lag"),
            Query(f"time() - (max(perfbench_operator_last_list_timestamp_seconds{{{SELF}}}) > 0)", "since last list"),
        ),
    ]


def _operator_process() -> list[Data]:
    is_operator = f"and on (job, instance) perfbench_operator_last_list_timestamp_seconds{{{SELF}}}"
    cpu = f"rate(process_cpu_seconds_total{{{SELF}}}{RATE})"
    return [
        lines(title, text, unit, Query(f"{expr} {is_operator}", "{{instance}}"))
        for title, text, unit, expr in (
            ("CPU", "CPU use of the operator, of one CPU.", "percentunit", cpu),
            ("Memory", "Resident memory of the operator.", "bytes", f"process_resident_memory_bytes{{{SELF}}}"),
            ("Open files", "Open file descriptors of the operator.", "short", f"process_open_fds{{{SELF}}}"),
        )
    ]
