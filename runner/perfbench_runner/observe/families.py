"""The Prometheus metrics of a run as they are declared: exposition, documentation and dashboards are made from this."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from perfbench_runner.observe.histogram import Histogram

PHASES = ("starting", "waiting", "warmup", "running", "pausing", "storing", "done")
RUN = ("namespace", "benchmark", "model", "workload")
STAGE = (*RUN, "stage")
OF_TARGET = (*RUN, "target", "stage")
Samples = Iterable[tuple[Sequence[str], Any]]
"""Label values after those of the run, and the value."""


@dataclass(frozen=True)
class Family:
    """A metric as it is declared: documentation and exposition are made from this."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str

    @property
    def is_of_workloads(self) -> bool:
        """Whether it is of one of spec.workloads: then that is its label `workload`, and the first of each sample's own."""
        return self.name.startswith("perfbench_workload_")

    def metric(self, run: Sequence[str], samples: Samples) -> Metric:
        """The metric with its samples; `run` has the values of the run's labels."""
        run = run[:-1] if self.is_of_workloads else run
        makers = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        made: Any = makers[self.kind](self.name, self.text, labels=self.labels)
        for labels, value in samples:
            if isinstance(value, Histogram):
                made.add_metric([*run, *labels], value.buckets(), value.total)
            else:
                made.add_metric([*run, *labels], value)
        return made  # type: ignore[no-any-return]


_DECLARED: tuple[tuple[Literal["counter", "gauge", "histogram"], tuple[str, ...], dict[str, str]], ...] = (
    (
        "counter",
        (*STAGE, "outcome"),
        {"requests": "Measured requests that ended: success, or the kind of failure."},
    ),
    (
        "counter",
        (*STAGE, "reason"),
        {
            "retries": "Times that measured requests were sent again, by the refusal (http_429, http_503); absent without"
            " spec.load.retry. Counted when the request ends.",
        },
    ),
    (
        "counter",
        (*STAGE, "outcome"),
        {"workload_requests": "Measured requests of one of spec.workloads that ended, by outcome."},
    ),
    (
        "counter",
        STAGE,
        {
            "workload_requests_good": "Those of one of spec.workloads that kept all of its limits; absent without limits.",
            "workload_output_tokens": "Output tokens of succeeded requests of one of spec.workloads.",
            "workload_prompt_tokens": "Prompt tokens of succeeded requests of one of spec.workloads.",
        },
    ),
    (
        "histogram",
        STAGE,
        {
            "workload_ttft_seconds": "Time from sending a request of one of spec.workloads to its first content.",
            "workload_tpot_seconds": "Time per output token after the first, of one of spec.workloads.",
            "workload_e2e_latency_seconds": "Time from sending a request of one of spec.workloads to the end of its answer.",
        },
    ),
    (
        "counter",
        (*OF_TARGET, "outcome"),
        {"target_requests": "Measured requests to one of spec.targets that ended, by outcome."},
    ),
    (
        "counter",
        OF_TARGET,
        {
            "target_requests_good": "Those to one of spec.targets that kept all of their limits; absent without limits.",
            "target_output_tokens": "Output tokens of succeeded requests to one of spec.targets.",
            "target_prompt_tokens": "Prompt tokens of succeeded requests to one of spec.targets.",
        },
    ),
    (
        "histogram",
        OF_TARGET,
        {
            "target_ttft_seconds": "Time from sending a request to one of spec.targets to its first content.",
            "target_tpot_seconds": "Time per output token after the first, of one of spec.targets.",
            "target_e2e_latency_seconds": "Time from sending a request to one of spec.targets to the end of its answer.",
        },
    ),
    (
        "counter",
        STAGE,
        {
            "requests_scheduled": "Measured requests that were due; in a closed loop those that were sent.",
            "requests_sent": "Measured requests that were sent; up to half a second late.",
            "requests_good": "Measured requests that kept all limits of spec.goodput; absent without limits.",
            "output_tokens": "Output tokens of succeeded requests, counted when they end.",
            "prompt_tokens": "Prompt tokens of succeeded requests, counted when they end.",
        },
    ),
    (
        "histogram",
        STAGE,
        {
            "ttft_seconds": "Time from sending a request to its first content.",
            "itl_seconds": "Gaps between chunks with content.",
            "tpot_seconds": "Time per output token after the first.",
            "e2e_latency_seconds": "Time from sending a request to the end of its answer.",
            "scheduled_latency_seconds": "Time from when a request was due to the end of its answer.",
            "dispatch_lag_seconds": "Time from when a request was due to its sending, connecting left out.",
        },
    ),
    ("gauge", (*RUN, "phase"), {"phase": "1 for the phase that the run is in."}),
    (
        "gauge",
        RUN,
        {
            "progress_ratio": "Share of the run that is done.",
            "requests_in_flight": "Requests under way, warm-up included.",
        },
    ),
    (
        "gauge",
        (*STAGE, "number", "loop", "arrival"),
        {"stage_info": "1 for every stage: its position, closed or open loop, arrivals of an open one."},
    ),
    (
        "gauge",
        STAGE,
        {
            "stage_active": "1 for the stage under way.",
            "stage_concurrency": "Most requests under way that the stage asks for; absent without a limit.",
            "stage_requests_per_second": "Rate that the stage asks for; absent in a closed loop.",
        },
    ),
    (
        "gauge",
        (*STAGE, "metric", "statistic", "bound"),
        {
            "objective_threshold": "Bound of an objective on all requests (max or min): seconds, per second, or share of 1."
        },
    ),
    (
        "gauge",
        (*RUN, "kind", "end"),
        {"search_load": "Load that a search has found: estimate, and low and high end of its 90 % interval."},
    ),
    (
        "gauge",
        (*RUN, "state"),
        {"client_state": "1 for the state of the load generator: valid, degraded or invalid."},
    ),
    (
        "gauge",
        RUN,
        {
            "client_loop_lag_seconds": "How late the worst load-generating event loop is, on average of half a second.",
            "client_loop_lag_max_seconds": "How late it was at most in that half-second.",
            "client_cpu_ratio": "CPU use of the busiest load-generating process, of one CPU.",
            "client_cpu_wait_ratio": "Share of the time that a load-generating process waited for a CPU.",
            "client_gc_ratio": "Share of the time that garbage collection held up a load-generating process.",
            "client_throttled_ratio": "Share of the time that the CPU quota stopped the load generator.",
            "client_open_files_ratio": "Open files of a load-generating process, of its limit.",
            "client_ports_ratio": "Connections of a load-generating process, of the ephemeral ports.",
            "client_backlog_bytes": "Results that load-generating processes could not hand over yet.",
            "server_requests_running": "Requests that the server says it works on; all replicas together.",
            "server_requests_waiting": "Requests that wait in the server; all replicas together.",
            "server_kv_cache_usage_ratio": "Use of the server's KV cache; mean of all replicas.",
            "server_prefix_cache_hit_ratio": "Prefix cache hits, of all look-ups since the run began.",
            "server_spec_decode_acceptance_ratio": "Draft tokens accepted, of all since the run began.",
            "server_gpu_utilization_ratio": "Utilization of the GPUs; mean of all.",
            "server_gpu_power_watts": "Power of the GPUs; all together.",
            "server_gpu_memory_used_bytes": "Used memory of the GPUs; all together.",
        },
    ),
    (
        "counter",
        RUN,
        {
            "server_prompt_tokens": "Prompt tokens that the server says it processed; all replicas together.",
            "server_generation_tokens": "Tokens that the server says it generated; all replicas together.",
            "server_preemptions": "Requests that the server put back for lack of room; all replicas together.",
        },
    ),
)
FAMILIES = {
    name: Family(f"perfbench_{name}", kind, labels, text)
    for kind, labels, texts in _DECLARED
    for name, text in texts.items()
}
"""All metrics of a run; counters get `_total` when they are written."""
SERVER = {
    "running": "server_requests_running",
    "waiting": "server_requests_waiting",
    "kv_cache_usage": "server_kv_cache_usage_ratio",
    "gpu_utilization": "server_gpu_utilization_ratio",
    "gpu_power_w": "server_gpu_power_watts",
    "gpu_memory_used_bytes": "server_gpu_memory_used_bytes",
    "prefix_cache_hit_ratio": "server_prefix_cache_hit_ratio",
    "spec_decode_acceptance": "server_spec_decode_acceptance_ratio",
    "prompt_tokens": "server_prompt_tokens",
    "generation_tokens": "server_generation_tokens",
    "preemptions": "server_preemptions",
}
"""Metrics by the neutral names of server/names.py."""
