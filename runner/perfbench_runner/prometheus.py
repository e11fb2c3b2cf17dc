"""Prometheus metrics of a run, as its endpoint serves them: a fold over results, and gauges of the live state."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from perfbench_api.outcome import Outcome, Progress
from perfbench_runner.control import Control
from perfbench_runner.health import STATES
from perfbench_runner.result import Result

SECONDS = (
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""Buckets of all latencies: 1 ms to 10 min, each at most twice the one before."""


class Metrics:
    """All metrics of one run. Labels are bounded: namespace, benchmark, model, stage, outcome."""

    def __init__(self, namespace: str, benchmark: str, model: str, stages: list[str]) -> None:
        self.registry = CollectorRegistry()
        self._stages = stages
        self._common = {"namespace": namespace, "benchmark": benchmark, "model": model}
        names = [*self._common, "stage"]
        registry = self.registry
        self.requests = Counter("perfbench_requests", "Requests by outcome.", [*names, "outcome"], registry=registry)
        self.output_tokens = Counter("perfbench_output_tokens", "Output tokens received.", names, registry=registry)
        self.prompt_tokens = Counter("perfbench_prompt_tokens", "Prompt tokens sent.", names, registry=registry)
        self.latencies = {
            name: Histogram(f"perfbench_{name}_seconds", text, names, buckets=SECONDS, registry=registry)
            for name, text in {
                "ttft": "Time from sending a request to its first content.",
                "itl": "Gaps between chunks with content.",
                "tpot": "Time per output token after the first.",
                "e2e_latency": "Time from sending a request to the end of its answer.",
                "scheduled_latency": "Time from a request's schedule to the end of its answer.",
                "dispatch_lag": "Time from a request's schedule to its sending, connecting left out.",
            }.items()
        }
        self.in_flight = Gauge(
            "perfbench_requests_in_flight", "Requests under way.", list(self._common), registry=registry
        )
        self.progress = Gauge(
            "perfbench_progress_ratio", "Share of the run that is done.", list(self._common), registry=registry
        )
        self.client = Gauge(
            "perfbench_client_state", "1 for the client's state.", [*self._common, "state"], registry=registry
        )

    def add(self, result: Result) -> None:
        """Count one more measured request."""
        labels = {**self._common, "stage": self._stages[result.stage]}
        data = result.data
        self.requests.labels(**labels, outcome=data.failure or "success").inc()
        self.latencies["dispatch_lag"].labels(**labels).observe(result.dispatch_lag_s)
        if not data.success:
            return
        self.output_tokens.labels(**labels).inc(data.completion_tokens or 0)
        self.prompt_tokens.labels(**labels).inc(data.prompt_tokens or 0)
        self.latencies["scheduled_latency"].labels(**labels).observe(result.scheduled_latency_s)
        values = {
            "ttft": data.first_chunk_latency,
            "tpot": data.time_per_output_token,
            "e2e_latency": data.query_latency,
        }
        for name, value in values.items():
            if value is not None:
                self.latencies[name].labels(**labels).observe(value)
        gaps = self.latencies["itl"].labels(**labels)
        for gap in data.inter_chunk_latency:
            gaps.observe(gap)

    def tick(self, progress: Progress, control: Control) -> None:
        """Take over the live state."""
        self.in_flight.labels(**self._common).set(progress.in_flight)
        self.progress.labels(**self._common).set(progress.percent / 100)
        for state in STATES:
            self.client.labels(**self._common, state=state).set(progress.client == state)

    def finish(self, outcome: Outcome) -> None:
        """The run is over."""
        self.in_flight.labels(**self._common).set(0)
        self.progress.labels(**self._common).set(1)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The exposition, and its content type, in the format that the scraper prefers."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type
