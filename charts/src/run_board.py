"""The dashboard of a benchmark while it runs. Its metrics come from perfbench_runner/observe/families.py."""

from board import Row, board
from panels import Data, Query, colored, dashed, heatmap, lines, stat, timeline, words
from queries import CLIENT_COLORS, QUANTILES, SELECTED, numbered, quantile, rate, variables

INTERVAL = "5s"
"""How often runners are scraped; the chart replaces it with the PodMonitor's interval.

Grafana's $__rate_interval is four times this. With the data source's own interval, which is 30 seconds in
kube-prometheus-stack, the rates of a one-minute stage would never reach their true height.
"""
PHASE_COLORS = (
    ("starting", "text"),
    ("waiting", "yellow"),
    ("warmup", "blue"),
    ("running", "blue"),
    ("pausing", "text"),
    ("storing", "green"),
    ("done", "green"),
)
SUCCEEDED = rate("perfbench_requests_total", f'{SELECTED}, outcome="success"')
ENDED = rate("perfbench_dispatch_lag_seconds_count")
"""All requests that ended, whatever their outcome. The series of an outcome may appear late and already with a value, which
a rate does not see."""


def latency(metric: str, title: str, description: str, objective: str) -> Data:
    """Quantiles and mean of a latency over time, with its objectives as dashed lines."""
    name = f"perfbench_{metric}_seconds"
    mean = f"{rate(f'{name}_sum')} / {rate(f'{name}_count')}"
    bounds = (
        f'max by (statistic, bound) (perfbench_objective_threshold{{{SELECTED}, metric="{objective}"}}'
        f" and on (namespace, benchmark, stage) perfbench_stage_active{{{SELECTED}}} == 1)"
    )
    return lines(
        title,
        f"{description} Quantiles are interpolated within the histogram's buckets; summary.json has exact ones."
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
    """One run while it is under way."""
    return board(
        "perfbench-run",
        "perfbench / Run",
        "A benchmark while it runs: load asked for and achieved, latencies, errors, and whether the load generator keeps up.",
        variables("perfbench_phase", several=False),
        [*_run_head(), Row("Load"), *_run_load(), Row("Latency"), *_run_latency(),
         Row("Workloads"), *_run_workloads(), Row("Server"), *_run_server(),
         Row("Load generator"), *_run_client()],
        refresh="5s",
        since="now-15m",
        interval=INTERVAL,
    )  # fmt: skip


def _run_head() -> list[Data]:
    return [
        stat(
            "Phase",
            "Phase of the run; if several runs are selected, of the most advanced one.",
            "short",
            Query(f"max({numbered('perfbench_phase', SELECTED, 'phase', PHASE_COLORS)})"),
            mappings=words(PHASE_COLORS),
        ),
        stat(
            "Done",
            "Share of the run that is done.",
            "percentunit",
            Query(f"avg(perfbench_progress_ratio{{{SELECTED}}})"),
            decimals=0,
        ),
        stat(
            "In flight",
            "Requests in flight.",
            "short",
            Query(f"sum(perfbench_requests_in_flight{{{SELECTED}}})"),
        ),
        stat(
            "Requests",
            "Requests per second that succeeded.",
            "reqps",
            Query(SUCCEEDED),
            decimals=1,
        ),
        stat(
            "Output",
            "Output tokens per second, counted when a request ends.",
            "short",
            Query(rate("perfbench_output_tokens_total")),
        ),
        stat(
            "Failed",
            "Share of the requests that failed.",
            "percentunit",
            Query(f"1 - {SUCCEEDED} / {ENDED}"),
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
            "Whether the load generator itself is the bottleneck; then these figures do not describe the server.",
            "short",
            Query(f"max({numbered('perfbench_client_state', SELECTED, 'state', CLIENT_COLORS)})"),
            mappings=words(CLIENT_COLORS),
        ),
        timeline(
            "Stages",
            "Which stage is under way.",
            Query(
                f"max by (namespace, stage) (perfbench_stage_active{{{SELECTED}}})",
                "{{namespace}} {{stage}}",
            ),
            size=(24, 5),
        ),
    ]


def _run_load() -> list[Data]:
    active = f"and on (namespace, benchmark, stage) perfbench_stage_active{{{SELECTED}}} == 1"
    asked = f"sum(perfbench_stage_requests_per_second{{{SELECTED}}} {active})"
    limit = f"sum(perfbench_stage_concurrency{{{SELECTED}}} {active})"
    return [
        lines(
            "Requests",
            "Requests per second that were due, sent, and ended. If due is above sent, the load generator holds requests back.",
            "reqps",
            Query(rate("perfbench_requests_scheduled_total"), "due"),
            Query(rate("perfbench_requests_sent_total"), "sent"),
            Query(SUCCEEDED, "succeeded"),
            Query(asked, "asked for"),
            overrides=[dashed("asked for", "#8e8e8e")],
        ),
        lines(
            "Tokens",
            "Tokens per second of requests that ended.",
            "short",
            Query(rate("perfbench_output_tokens_total"), "output"),
            Query(rate("perfbench_prompt_tokens_total"), "prompt"),
        ),
        lines(
            "Requests in flight",
            "Requests in flight, and the maximum that the stage asks for.",
            "short",
            Query(f"sum(perfbench_requests_in_flight{{{SELECTED}}})", "in flight"),
            Query(limit, "limit"),
            overrides=[dashed("limit", "#8e8e8e")],
        ),
        lines(
            "Outcomes",
            "Requests that ended per second, by outcome; everything except success is a kind of failure.",
            "reqps",
            Query(rate("perfbench_requests_total", by="outcome") + " > 0", "{{outcome}}"),
            overrides=[colored("success", "green")],
            stacked=True,
            size=(12, 8),
        ),
        lines(
            "Search",
            "Of a search: the load under way, and what is known of the load that the target carries, as a 90 % interval.",
            "short",
            Query(f"{asked} or {limit}", "tried"),
            Query(f"max by (end) (perfbench_search_load{{{SELECTED}}})", "{{end}}"),
            overrides=[dashed("low", "#8e8e8e"), dashed("high", "#8e8e8e"), colored("estimate", "green")],
        ),
        lines(
            "Goodput",
            "Share of the requests that ended which kept all limits of spec.goodput; empty without limits.",
            "percentunit",
            Query(f"{rate('perfbench_requests_good_total')} / {ENDED}", "good"),
            overrides=[colored("good", "green")],
        ),
        lines(
            "Failures",
            "Failed requests per second, by kind. Empty while nothing fails.",
            "reqps",
            Query(
                rate("perfbench_requests_total", f'{SELECTED}, outcome!="success"', by="outcome") + " > 0",
                "{{outcome}}",
            ),
            size=(12, 8),
        ),
        lines(
            "Retries",
            "Requests sent again per second, by the refusal; empty without spec.load.retry. Counted when the request ends.",
            "reqps",
            Query(rate("perfbench_retries_total", by="reason"), "{{reason}}"),
            size=(12, 8),
        ),
    ]


def _run_workloads() -> list[Data]:
    """Of a run of mixed traffic; empty where there is one kind of requests."""
    good, ended = "perfbench_workload_requests_good_total", "perfbench_workload_requests_total"
    return [
        lines(
            "Requests by workload",
            "Requests of each of spec.workloads that ended, per second, whatever their outcome.",
            "reqps",
            Query(rate(ended, by="workload"), "{{workload}}"),
        ),
        lines(
            "TTFT p90 by workload",
            "90th percentile of the time to the first token, of the requests of each of spec.workloads.",
            "s",
            Query(quantile("perfbench_workload_ttft_seconds", 0.9, by="workload"), "{{workload}}"),
        ),
        lines(
            "Goodput by workload",
            "Share of the requests of each of spec.workloads that kept all of its limits; empty without limits.",
            "percentunit",
            Query(f"{rate(good, by='workload')} / {rate(ended, by='workload')}", "{{workload}}"),
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
            "From when a request was due to the end of its answer: how long a user arriving then would have waited.",
            "scheduled_latency",
        ),
        _distribution(
            "ttft",
            "Time to first token",
            "Distribution of the time to first token: requests per second in each bucket.",
        ),
        _distribution(
            "itl", "Inter-token latency", "Distribution of the gaps between tokens: gaps per second in each bucket."
        ),
        _distribution(
            "e2e_latency",
            "End-to-end latency",
            "Distribution of the end-to-end latency: requests per second in each bucket.",
        ),
    ]


def _distribution(metric: str, title: str, description: str) -> Data:
    buckets = rate(f"perfbench_{metric}_seconds_bucket", by="le")
    return heatmap(f"{title}, spread", description, Query(buckets, "{{le}}", format="heatmap"))


def _run_server() -> list[Data]:
    return [
        lines(
            "Requests in the server",
            "Requests that the server is processing and requests waiting in it, from its own metrics; all replicas together.",
            "short",
            Query(f"sum(perfbench_server_requests_running{{{SELECTED}}})", "running"),
            Query(f"sum(perfbench_server_requests_waiting{{{SELECTED}}})", "waiting"),
            Query(f"sum(perfbench_requests_in_flight{{{SELECTED}}})", "in flight (client)"),
        ),
        lines(
            "Caches",
            "KV cache usage, prefix cache hits and accepted draft tokens, from the server's own metrics.",
            "percentunit",
            Query(f"avg(perfbench_server_kv_cache_usage_ratio{{{SELECTED}}})", "KV cache in use"),
            Query(
                f"avg(perfbench_server_prefix_cache_hit_ratio{{{SELECTED}}})",
                "prefix cache hits since start",
            ),
            Query(
                f"avg(perfbench_server_spec_decode_acceptance_ratio{{{SELECTED}}})",
                "drafts accepted since start",
            ),
        ),
        lines(
            "Tokens in the server",
            "Tokens per second from the server's own metrics: counted when they are generated, not when a request ends.",
            "short",
            Query(rate("perfbench_server_generation_tokens_total"), "generated"),
            Query(rate("perfbench_server_prompt_tokens_total"), "prompt"),
        ),
        lines(
            "Preemptions",
            "Requests per second that the server preempted for lack of memory.",
            "reqps",
            Query(rate("perfbench_server_preemptions_total"), "preempted"),
        ),
        lines(
            "GPU utilization",
            "Mean of all GPUs; needs an exporter such as DCGM in target.metrics.",
            "percentunit",
            Query(f"avg(perfbench_server_gpu_utilization_ratio{{{SELECTED}}})", "utilization"),
            maximum=1,
        ),
        lines(
            "GPU power",
            "All GPUs together; needs an exporter such as DCGM in target.metrics.",
            "watt",
            Query(f"sum(perfbench_server_gpu_power_watts{{{SELECTED}}})", "power"),
        ),
    ]


def _run_client() -> list[Data]:
    lag = "perfbench_dispatch_lag_seconds"
    return [
        lines(
            "Own delay",
            "How late the load generator sends, and how late its event loop is. Both should stay far below the latencies.",
            "s",
            Query(quantile(lag, 0.5), "dispatch lag p50"),
            Query(quantile(lag, 0.99), "dispatch lag p99"),
            Query(f"max(perfbench_client_loop_lag_seconds{{{SELECTED}}})", "loop lag"),
            Query(f"max(perfbench_client_loop_lag_max_seconds{{{SELECTED}}})", "loop lag, worst"),
        ),
        lines(
            "Own time",
            "Share of one CPU, for the busiest or slowest process: working, waiting for a CPU, throttled by a quota,"
            " collecting garbage.",
            "percentunit",
            Query(f"max(perfbench_client_cpu_ratio{{{SELECTED}}})", "CPU"),
            Query(f"max(perfbench_client_cpu_wait_ratio{{{SELECTED}}})", "waited for CPU"),
            Query(f"max(perfbench_client_throttled_ratio{{{SELECTED}}})", "throttled"),
            Query(f"max(perfbench_client_gc_ratio{{{SELECTED}}})", "garbage collection"),
        ),
        lines(
            "Head-room",
            "Open files and ephemeral ports in use, as a share of the limit.",
            "percentunit",
            Query(f"max(perfbench_client_open_files_ratio{{{SELECTED}}})", "open files"),
            Query(f"max(perfbench_client_ports_ratio{{{SELECTED}}})", "ports"),
            maximum=1,
        ),
    ]
