"""The three dashboards of the chart. `scripts/generate` writes them to charts/perfbench/dashboards as JSON.

Metrics of runners come from perfbench_runner/prometheus.py, those of the operator and of finished benchmarks from
perfbench_operator/metrics.py. Results live as long as the PerfBenchmark does.
"""

from collections.abc import Sequence

from panels import (
    Data,
    Query,
    Row,
    board,
    colored,
    dashed,
    heatmap,
    lines,
    linked,
    panel,
    stat,
    states,
    table,
    timeline,
    variable,
)

RUN = 'job=~"$job", namespace=~"$namespace", benchmark=~"$benchmark", model=~"$model"'
"""Selects a run."""
RESULT = RUN
OF_STAGE = f'{RESULT}, stage=~"$stage"'
LABELED = (
    'and on (namespace, benchmark) perfbench_benchmark_label{job=~"$job", namespace=~"$namespace", label=~"$label"}'
)
"""Keeps benchmarks with one of the chosen labels; every benchmark has at least an empty one."""
SELF = 'job=~"$job"'
JOBS = "Jobs of the scrape configuration."
RATE = "[$__rate_interval]"
QUANTILES = (("p50", 0.5, "green"), ("p90", 0.9, "yellow"), ("p99", 0.99, "orange"))


def variables(metric: str, *, stage: bool = False) -> list[Data]:
    """Job, namespace, model and benchmark, each by the ones before."""
    chain = [
        ("job", "Job", "", JOBS),
        ("namespace", "Namespace", 'job=~"$job"', "Namespaces of the PerfBenchmarks."),
        ("model", "Model", 'job=~"$job", namespace=~"$namespace"', "Models that were measured."),
        ("benchmark", "Benchmark", 'job=~"$job", namespace=~"$namespace", model=~"$model"', "PerfBenchmarks by name."),
    ]
    if stage:
        chain.append(("stage", "Stage", RUN, "Load levels."))
    return [
        variable(name, label, f"label_values({metric}{{{selector}}}, {name})", description=text)
        for name, label, selector, text in chain
    ]


def quantile(metric: str, q: float, selector: str = RUN) -> str:
    """A quantile of a histogram over all selected runs."""
    return f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket{{{selector}}}{RATE})))"


def latency(metric: str, title: str, description: str, objective: str) -> Data:
    """Quantiles of a latency over time, its mean, and its objectives as dashed lines."""
    name = f"perfbench_{metric}_seconds"
    mean = f"sum(rate({name}_sum{{{RUN}}}{RATE})) / sum(rate({name}_count{{{RUN}}}{RATE}))"
    bounds = (
        f'max by (statistic, bound) (perfbench_objective_threshold{{{RUN}, metric="{objective}"}}'
        f" and on (namespace, benchmark, stage) perfbench_stage_active{{{RUN}}} == 1)"
    )
    return lines(
        title,
        f"{description} Quantiles are interpolated within the histogram's buckets; summary.json has the exact ones."
        " Dashed: objectives of the stage under way.",
        "s",
        *(Query(quantile(name, q), label) for label, q, _ in QUANTILES),
        Query(mean, "mean"),
        Query(bounds, "objective {{statistic}} {{bound}}"),
        overrides=[
            *(colored(label, color) for label, _, color in QUANTILES),
            colored("mean", "blue"),
            dashed("objective.*"),
        ],
        size=(12, 9),
    )


def run() -> Data:
    """One run while it goes on."""
    return board(
        "perfbench-run",
        "perfbench / Run",
        "A benchmark while it runs: load asked for and achieved, latencies, errors, and whether the load generator keeps up.",
        variables("perfbench_phase"),
        [*_run_head(), Row("Load"), *_run_load(), Row("Latency"), *_run_latency(), Row("Server"), *_run_server(),
         Row("Load generator"), *_run_client()],
        refresh="5s",
        since="now-15m",
    )  # fmt: skip


def _run_head() -> list[Data]:
    return [
        stat(
            "Phase",
            "What the run is doing; the newest one where several are selected.",
            "short",
            Query(f"topk(1, perfbench_phase{{{RUN}}} == 1)", "{{phase}}"),
            text="name",
        ),
        stat(
            "Done",
            "Share of the run that is done.",
            "percentunit",
            Query(f"avg(perfbench_progress_ratio{{{RUN}}})"),
            decimals=0,
        ),
        stat("In flight", "Requests under way.", "short", Query(f"sum(perfbench_requests_in_flight{{{RUN}}})")),
        stat(
            "Requests",
            "Requests per second that succeeded.",
            "reqps",
            Query(f'sum(rate(perfbench_requests_total{{{RUN}, outcome="success"}}{RATE}))'),
            decimals=1,
        ),
        stat(
            "Output",
            "Output tokens per second; they are counted when a request ends.",
            "short",
            Query(f"sum(rate(perfbench_output_tokens_total{{{RUN}}}{RATE}))"),
        ),
        stat(
            "Failed",
            "Share of the requests that failed.",
            "percentunit",
            Query(
                f'(sum(rate(perfbench_requests_total{{{RUN}, outcome!="success"}}{RATE})) or vector(0))'
                f" / sum(rate(perfbench_requests_total{{{RUN}}}{RATE}))"
            ),
            steps=(("green", None), ("yellow", 0.001), ("red", 0.05)),
            decimals=1,
        ),
        stat(
            "TTFT p99",
            "99th percentile of the time to the first token.",
            "s",
            Query(quantile("perfbench_ttft_seconds", 0.99)),
        ),
        stat(
            "Load generator",
            "Whether the load generator itself is the bottleneck: then these figures are not the server's.",
            "short",
            Query(f"topk(1, perfbench_client_state{{{RUN}}} == 1)", "{{state}}"),
            text="name",
        ),
        timeline(
            "Stages",
            "Which load level is under way.",
            Query(f"max by (benchmark, stage) (perfbench_stage_active{{{RUN}}})", "{{benchmark}} {{stage}}"),
            size=(24, 5),
        ),
    ]


def _run_load() -> list[Data]:
    active = f"and on (namespace, benchmark, stage) perfbench_stage_active{{{RUN}}} == 1"
    asked = f"sum(perfbench_stage_requests_per_second{{{RUN}}} {active})"
    limit = f"sum(perfbench_stage_concurrency{{{RUN}}} {active})"
    return [
        lines(
            "Requests",
            "Requests per second that were due, were sent, and ended. Due above sent: the load generator holds requests back.",
            "reqps",
            Query(f"sum(rate(perfbench_requests_scheduled_total{{{RUN}}}{RATE}))", "due"),
            Query(f"sum(rate(perfbench_requests_sent_total{{{RUN}}}{RATE}))", "sent"),
            Query(f'sum(rate(perfbench_requests_total{{{RUN}, outcome="success"}}{RATE}))', "succeeded"),
            Query(asked, "asked for"),
            overrides=[dashed("asked for", "#8e8e8e")],
        ),
        lines(
            "Tokens",
            "Tokens per second of requests that ended.",
            "short",
            Query(f"sum(rate(perfbench_output_tokens_total{{{RUN}}}{RATE}))", "output"),
            Query(f"sum(rate(perfbench_prompt_tokens_total{{{RUN}}}{RATE}))", "prompt"),
        ),
        lines(
            "Requests in flight",
            "Requests under way, and how many at most the stage asks for.",
            "short",
            Query(f"sum(perfbench_requests_in_flight{{{RUN}}})", "in flight"),
            Query(limit, "limit"),
            overrides=[dashed("limit", "#8e8e8e")],
        ),
        lines(
            "Outcomes",
            "Ended requests per second by outcome; all but success are failures, by kind.",
            "reqps",
            Query(f"sum by (outcome) (rate(perfbench_requests_total{{{RUN}}}{RATE}))", "{{outcome}}"),
            overrides=[colored("success", "green")],
            stacked=True,
            size=(12, 8),
        ),
        lines(
            "Failures",
            "Failed requests per second by kind. Empty while nothing fails.",
            "reqps",
            Query(
                f'sum by (outcome) (rate(perfbench_requests_total{{{RUN}, outcome!="success"}}{RATE}))', "{{outcome}}"
            ),
            size=(12, 8),
        ),
    ]


def _run_latency() -> list[Data]:
    return [
        latency("ttft", "Time to first token", "From sending a request to its first content.", "ttft"),
        latency("itl", "Inter-token latency", "Gaps between chunks with content.", "itl"),
        latency("e2e_latency", "End-to-end latency", "From sending a request to the end of its answer.", "e2e_latency"),
        latency("tpot", "Time per output token", "After the first token, of each request.", "tpot"),
        latency(
            "scheduled_latency",
            "Latency from schedule",
            "From when a request was due to the end of its answer: what a user who came then had to wait.",
            "scheduled_latency",
        ),
        heatmap(
            "Time to first token, spread",
            "How many requests had which time to first token.",
            Query(f"sum by (le) (increase(perfbench_ttft_seconds_bucket{{{RUN}}}{RATE}))", "{{le}}", format="heatmap"),
        ),
        heatmap(
            "Inter-token latency, spread",
            "How many gaps between tokens were how long.",
            Query(f"sum by (le) (increase(perfbench_itl_seconds_bucket{{{RUN}}}{RATE}))", "{{le}}", format="heatmap"),
        ),
        heatmap(
            "End-to-end latency, spread",
            "How many requests took how long.",
            Query(
                f"sum by (le) (increase(perfbench_e2e_latency_seconds_bucket{{{RUN}}}{RATE}))",
                "{{le}}",
                format="heatmap",
            ),
        ),
    ]


def _run_server() -> list[Data]:
    return [
        lines(
            "Requests in the server",
            "Requests that the server works on and that wait in it, by its own metrics; all replicas together.",
            "short",
            Query(f"sum(perfbench_server_requests_running{{{RUN}}})", "running"),
            Query(f"sum(perfbench_server_requests_waiting{{{RUN}}})", "waiting"),
            Query(f"sum(perfbench_requests_in_flight{{{RUN}}})", "in flight (client)"),
        ),
        lines(
            "Caches",
            "Use of the KV cache, prefix cache hits and accepted draft tokens, by the server's own metrics.",
            "percentunit",
            Query(f"avg(perfbench_server_kv_cache_usage_ratio{{{RUN}}})", "KV cache in use"),
            Query(f"avg(perfbench_server_prefix_cache_hit_ratio{{{RUN}}})", "prefix cache hits since start"),
            Query(f"avg(perfbench_server_spec_decode_acceptance_ratio{{{RUN}}})", "drafts accepted since start"),
        ),
        lines(
            "Tokens in the server",
            "Tokens per second by the server's own metrics: counted as they are made, not when a request ends.",
            "short",
            Query(f"sum(rate(perfbench_server_generation_tokens_total{{{RUN}}}{RATE}))", "generated"),
            Query(f"sum(rate(perfbench_server_prompt_tokens_total{{{RUN}}}{RATE}))", "prompt"),
        ),
        lines(
            "Preemptions",
            "Requests per second that the server put back for lack of room.",
            "reqps",
            Query(f"sum(rate(perfbench_server_preemptions_total{{{RUN}}}{RATE}))", "preempted"),
        ),
        lines(
            "GPU utilization",
            "Mean of all GPUs; needs an exporter such as DCGM in target.metrics.",
            "percentunit",
            Query(f"avg(perfbench_server_gpu_utilization_ratio{{{RUN}}})", "utilization"),
            maximum=1,
        ),
        lines(
            "GPU power",
            "All GPUs together; needs an exporter such as DCGM in target.metrics.",
            "watt",
            Query(f"sum(perfbench_server_gpu_power_watts{{{RUN}}})", "power"),
        ),
    ]


def _run_client() -> list[Data]:
    lag = "perfbench_dispatch_lag_seconds"
    return [
        lines(
            "Own delay",
            "How late the load generator sends, and how late its event loop is. It should stay far below the latencies.",
            "s",
            Query(quantile(lag, 0.5), "dispatch lag p50"),
            Query(quantile(lag, 0.99), "dispatch lag p99"),
            Query(f"max(perfbench_client_loop_lag_seconds{{{RUN}}})", "loop lag"),
            Query(f"max(perfbench_client_loop_lag_max_seconds{{{RUN}}})", "loop lag, worst"),
        ),
        lines(
            "Own time",
            "Of one CPU, the busiest or slowest process: working, waiting for a CPU, stopped by a quota, collecting garbage.",
            "percentunit",
            Query(f"max(perfbench_client_cpu_ratio{{{RUN}}})", "CPU"),
            Query(f"max(perfbench_client_cpu_wait_ratio{{{RUN}}})", "waited for CPU"),
            Query(f"max(perfbench_client_throttled_ratio{{{RUN}}})", "throttled"),
            Query(f"max(perfbench_client_gc_ratio{{{RUN}}})", "garbage collection"),
            maximum=1,
        ),
        lines(
            "Head-room",
            "Open files and ephemeral ports in use, of what there is.",
            "percentunit",
            Query(f"max(perfbench_client_open_files_ratio{{{RUN}}})", "open files"),
            Query(f"max(perfbench_client_ports_ratio{{{RUN}}})", "ports"),
            maximum=1,
        ),
    ]


# Results


def result(metric: str, statistic: str, selector: str = RESULT) -> str:
    """A latency of finished stages."""
    return f'perfbench_benchmark_latency_seconds{{{selector}, metric="{metric}", statistic="{statistic}"}}'


def results() -> Data:
    """What came of all benchmarks that exist."""
    some = 'job=~"$job", namespace=~"$namespace"'
    label = variable(
        "label",
        "Label",
        f"label_values(perfbench_benchmark_label{{{some}}}, label)",
        description="Labels of the PerfBenchmarks, as name=value: those that have one of them.",
        all_values=".*",  # also of those that have none
    )
    runs = [
        variable(
            name,
            title,
            f'label_values(perfbench_benchmark_requests{{{some}, model=~"$model"}}, benchmark)',
            multi=False,
            description="One of two runs to compare.",
            sort=sort,
        )
        for name, title, sort in (("a", "Run A", 1), ("b", "Run B", 2))
    ]
    first, second = variables("perfbench_benchmark_info"), variables("perfbench_benchmark_requests", stage=True)[-1]
    return board(
        "perfbench-results",
        "perfbench / Results",
        "All benchmarks that exist and their figures, read from their status; history of a model; two runs compared.",
        [*first, label, second, *runs],
        [_benchmark_table(), _stage_table(), Row("History"), *_history(), Row("Run A and run B"), *_compared()],
        refresh="1m",
        since="now-7d",
    )


EACH = "namespace, benchmark, model, workload"
BY = "namespace, benchmark, model, stage"
PHASES = (
    ("Pending", "text"),
    ("Waiting", "yellow"),
    ("Running", "blue"),
    ("Succeeded", "green"),
    ("Failed", "red"),
    ("Cancelled", "#8e8e8e"),
)
VERDICTS = (("Failed", "red"), ("Passed", "green"), ("Inconclusive", "yellow"))
CLIENT = (("valid", "green"), ("degraded", "yellow"), ("invalid", "red"))


def _numbered(metric: str, label: str, of: Sequence[tuple[str, str]]) -> str:
    """Which of several states a benchmark is in, as their position: a table maps numbers to words."""
    each = [
        f'{number} * perfbench_benchmark_{metric}{{{SOME}, {label}="{state}"}}'
        for number, (state, _) in enumerate(of)
        if number
    ]
    return f"max by (namespace, benchmark) ({' or '.join(each)})"


SOME = 'job=~"$job", namespace=~"$namespace", benchmark=~"$benchmark"'
"""Selects benchmarks by metrics that know no model."""


def _column(by: str, expr: str) -> Query:
    return Query(f"max by ({by}) ({expr})", is_instant=True, format="table")


def _fact(expr: str) -> Query:
    """A column of what is known of a benchmark, by namespace and name: model and workload come from its info."""
    info = f"0 * perfbench_benchmark_info{{{RESULT}}} {LABELED}"
    return _column(EACH, f"({info}) + on (namespace, benchmark) group_left () ({expr})")


def _names(columns: Sequence[str]) -> dict[str, str]:
    """Names of the columns that queries make."""
    return {f"Value #{chr(ord('A') + number)}": name for number, name in enumerate(columns)}


def _benchmark_table() -> Data:
    columns = {
        "phase": _numbered("phase", "phase", PHASES),
        "verdict": _numbered("verdict", "verdict", VERDICTS),
        "load generator": _numbered("client_state", "state", CLIENT),
        "started": f"1000 * max by (namespace, benchmark) (perfbench_benchmark_start_timestamp_seconds{{{SOME}}})",
        "finished": f"1000 * max by (namespace, benchmark) (perfbench_benchmark_completion_timestamp_seconds{{{SOME}}})",
    }
    return table(
        "Benchmarks",
        "All benchmarks that exist, the latest first. The name leads to what was seen while it ran.",
        *(_fact(expr) for expr in columns.values()),
        rename=_names(list(columns)),
        units={"started": "dateTimeFromNow", "finished": "dateTimeFromNow"},
        by="started",
        descending=True,
        overrides=[
            states("phase", PHASES),
            states("verdict", VERDICTS),
            states("load generator", CLIENT),
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
        ("TTFT p50", "s", result("ttft", "p50", OF_STAGE)),
        ("TTFT p99", "s", result("ttft", "p99", OF_STAGE)),
        ("ITL p50", "s", result("itl", "p50", OF_STAGE)),
        ("ITL p99", "s", result("itl", "p99", OF_STAGE)),
        ("e2e p50", "s", result("e2e_latency", "p50", OF_STAGE)),
        ("e2e p99", "s", result("e2e_latency", "p99", OF_STAGE)),
        ("succeeded", "short", f'perfbench_benchmark_requests{{{OF_STAGE}, outcome="succeeded"}}'),
        ("failed", "short", f'perfbench_benchmark_requests{{{OF_STAGE}, outcome="failed"}}'),
    ]
    return table(
        "Stages",
        "A row for each stage of each benchmark; exact figures, from its summary.",
        *(_column(BY, f"{expr} {LABELED}") for _, _, expr in columns),
        rename=_names([name for name, _, _ in columns]),
        units={name: unit for name, unit, _ in columns},
    )


JUST_NOW = (
    f"and on (namespace, benchmark) (1000 * (time() - perfbench_benchmark_completion_timestamp_seconds{{{SOME}}})"
    " < 60000 + 2 * $__rate_interval_ms)"
)
"""Keeps what is a benchmark's that has just finished: one point in the history for each."""


def _history() -> list[Data]:
    """A point for each run at the time when it finished, joined up by model and stage; they stay when runs are deleted."""
    passed = (
        f'perfbench_benchmark_verdict{{{SOME}, verdict="Passed"}} unless on (namespace, benchmark) '
        f'perfbench_benchmark_verdict{{{SOME}, verdict="Inconclusive"}} == 1'
    )
    by_model = f"({passed}) * on (namespace, benchmark) group_left (model) perfbench_benchmark_info{{{RESULT}}}"
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
            (f"{name} p99", f"99th percentile of each stage: {text}.", "s", result(metric, "p99", OF_STAGE))
            for metric, name, text in (
                ("ttft", "TTFT", "time to the first token"),
                ("itl", "ITL", "gaps between tokens"),
                ("e2e_latency", "End-to-end latency", "whole requests"),
            )
        ),
    ]
    text = "A point for each run, where it finished."
    return [
        lines(
            "Verdicts",
            f"Whether the objectives were kept: 1 passed, 0 failed. Inconclusive ones are left out. {text}",
            "short",
            Query(f"min by (namespace, model) ({by_model} {LABELED} {JUST_NOW})", "{{namespace}} {{model}}"),
            maximum=1,
            points=True,
        ),
        *(
            lines(
                title,
                f"{description} {text}",
                unit,
                Query(
                    f"max by (namespace, model, stage) ({expr} {LABELED} {JUST_NOW})",
                    "{{namespace}} {{model}} {{stage}}",
                ),
                points=True,
            )
            for title, description, unit, expr in figures
        ),
    ]


def _compared() -> list[Data]:
    """The two runs side by side, and how B differs from A."""
    sides = {side: f'job=~"$job", namespace=~"$namespace", benchmark="${side}"' for side in ("a", "b")}
    figures = [
        ("Output tokens per second", "short", "perfbench_benchmark_output_tokens_per_second{%s}"),
        ("Requests per second", "reqps", "perfbench_benchmark_requests_per_second{%s}"),
        *(
            (f"{name} {statistic}", "s", f'perfbench_benchmark_latency_seconds{{%s, metric="{metric}", statistic="{statistic}"}}')
            for metric, name in (("ttft", "TTFT"), ("itl", "ITL"), ("e2e_latency", "End-to-end latency"))
            for statistic in ("p50", "p99")
        ),
    ]  # fmt: skip
    return [_side_by_side(name, unit, expr, sides) for name, unit, expr in figures]


def _side_by_side(name: str, unit: str, expr: str, sides: dict[str, str]) -> Data:
    of = {side: f"max by (stage) ({expr % selector})" for side, selector in sides.items()}
    queries = [
        *(Query(of[side], f"{side.upper()} {{{{stage}}}}", is_instant=True) for side in sides),
        Query(f"{of['b']} / {of['a']} - 1", "B vs. A {{stage}}", is_instant=True),
    ]
    share = {
        "matcher": {"id": "byRegexp", "options": "B vs. A.*"},
        "properties": [{"id": "unit", "value": "percentunit"}],
    }
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "none",
        "graphMode": "none",
        "textMode": "value_and_name",
        "justifyMode": "auto",
        "orientation": "horizontal",
    }
    return panel(
        "stat",
        name,
        f"{name} of run A and run B by stage, and how B differs from A. Stages are matched by name.",
        unit,
        queries,
        (6, 7),
        {"noValue": "-", "color": {"mode": "fixed", "fixedColor": "text"}},
        [share],
        options,
    )


# Operator


def operator() -> Data:
    """Is the operator well?"""
    return board(
        "perfbench-operator",
        "perfbench / Operator",
        "Health of the operator: what it has to do, how long it takes, what goes wrong.",
        [variable("job", "Job", "label_values(perfbench_operator_benchmarks, job)", description=JOBS)],
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
            steps=(("green", None), ("yellow", 30), ("red", 120)),
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


DASHBOARDS = {"run": run, "results": results, "operator": operator}
"""By the names of their files."""
