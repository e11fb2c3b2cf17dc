"""The dashboard of a benchmark while it runs. Its metrics come from perfbench_runner/prometheus.py."""

from panels import Data, Query, Row, board, colored, dashed, heatmap, lines, stat, timeline, words
from queries import CLIENT, QUANTILES, RATE, RUN, numbered, quantile, variables

INTERVAL = "5s"
"""How often runners are scraped; the chart puts the PodMonitor's interval here.

Grafana's $__rate_interval is four of these. By the data source's own interval, which is half a minute in
kube-prometheus-stack, rates of a stage of a minute would never reach their height.
"""
PHASES = (
    ("starting", "text"),
    ("waiting", "yellow"),
    ("warmup", "blue"),
    ("running", "blue"),
    ("storing", "green"),
    ("done", "green"),
)
SUCCEEDED = f'sum(rate(perfbench_requests_total{{{RUN}, outcome="success"}}{RATE}))'
ENDED = f"sum(rate(perfbench_dispatch_lag_seconds_count{{{RUN}}}{RATE}))"
"""All that ended, whatever its outcome. Outcomes may appear late and with a value, which a rate does not see."""


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
        variables("perfbench_phase", several=False),
        [*_run_head(), Row("Load"), *_run_load(), Row("Latency"), *_run_latency(), Row("Server"), *_run_server(),
         Row("Load generator"), *_run_client()],
        refresh="5s",
        since="now-15m",
        interval=INTERVAL,
    )  # fmt: skip


def _run_head() -> list[Data]:
    return [
        stat(
            "Phase",
            "What the run is doing; of several selected runs, what the furthest is doing.",
            "short",
            Query(f"max({numbered('perfbench_phase', RUN, 'phase', PHASES)})"),
            mappings=words(PHASES),
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
            Query(SUCCEEDED),
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
            "Whether the load generator itself is the bottleneck: then these figures are not the server's.",
            "short",
            Query(f"max({numbered('perfbench_client_state', RUN, 'state', CLIENT)})"),
            mappings=words(CLIENT),
        ),
        timeline(
            "Stages",
            "Which load level is under way.",
            Query(f"max by (namespace, stage) (perfbench_stage_active{{{RUN}}})", "{{namespace}} {{stage}}"),
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
            Query(SUCCEEDED, "succeeded"),
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
            Query(f"sum by (outcome) (rate(perfbench_requests_total{{{RUN}}}{RATE})) > 0", "{{outcome}}"),
            overrides=[colored("success", "green")],
            stacked=True,
            size=(12, 8),
        ),
        lines(
            "Failures",
            "Failed requests per second by kind. Empty while nothing fails.",
            "reqps",
            Query(
                f'sum by (outcome) (rate(perfbench_requests_total{{{RUN}, outcome!="success"}}{RATE})) > 0',
                "{{outcome}}",
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
            "How many requests per second had which time to first token.",
            Query(f"sum by (le) (rate(perfbench_ttft_seconds_bucket{{{RUN}}}{RATE}))", "{{le}}", format="heatmap"),
        ),
        heatmap(
            "Inter-token latency, spread",
            "How many gaps between tokens, per second, were how long.",
            Query(f"sum by (le) (rate(perfbench_itl_seconds_bucket{{{RUN}}}{RATE}))", "{{le}}", format="heatmap"),
        ),
        heatmap(
            "End-to-end latency, spread",
            "How many requests per second took how long.",
            Query(
                f"sum by (le) (rate(perfbench_e2e_latency_seconds_bucket{{{RUN}}}{RATE}))",
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
