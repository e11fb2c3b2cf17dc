"""`evalscope.perf.utils.benchmark_util`: figures of a run as EvalScope's plugins and scripts sum them up.

perfbench's own figures are computed otherwise (docs/metrics.md); these are for code that calls them.
"""

from dataclasses import dataclass, field
from typing import Any

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.evalscope.perf_constants import Metrics as Metrics


def is_stream_body(body: Any) -> bool:
    """Whether a request's body asks for a stream."""
    return isinstance(body, dict) and body.get("stream") is True


@dataclass
class BenchmarkMetrics:
    """Averages over the requests that succeeded; -1 is not defined."""

    concurrency: int = 0
    rate: float = 0.0
    total_requests: int = 0
    succeed_requests: int = 0
    failed_requests: int = 0
    stream_requests: int = 0
    non_stream_requests: int = 0
    total_time: float = 0.0
    avg_latency: float = -1
    avg_first_chunk_latency: float = -1
    avg_time_per_output_token: float = -1
    avg_inter_token_latency: float = -1
    avg_steady_inter_token_latency: float = -1
    avg_pd_handoff_latency: float = -1
    avg_pd_handoff_overhead: float = -1
    qps: float = -1
    avg_prompt_tokens: float = -1
    avg_completion_tokens: float = -1
    avg_input_token_throughput: float = -1
    avg_output_token_throughput: float = -1
    avg_total_token_throughput: float = -1
    avg_turns_per_request: float = -1
    avg_cached_percent: float = -1
    avg_first_turn_ttft: float = -1
    avg_subsequent_turn_ttft: float = -1
    avg_decoded_tokens_per_iter: float = -1

    def create_message(
        self, ndigits: int = 4, api_type: str | None = None, enable_pd_metrics: bool = False
    ) -> dict[str, Any]:
        """The figures under the names of EvalScope's summary; latencies of tokens in milliseconds."""

        def ms(seconds: float) -> float:
            return round(seconds * 1000, 2)

        message: dict[str, Any] = {
            Metrics.TIME_TAKEN_FOR_TESTS: round(self.total_time, ndigits),
            Metrics.NUMBER_OF_CONCURRENCY: self.concurrency,
            Metrics.REQUEST_RATE: self.rate,
            Metrics.TOTAL_REQUESTS: self.total_requests,
            Metrics.SUCCEED_REQUESTS: self.succeed_requests,
            Metrics.FAILED_REQUESTS: self.failed_requests,
            Metrics.STREAM_REQUESTS: self.stream_requests,
            Metrics.NON_STREAM_REQUESTS: self.non_stream_requests,
            Metrics.REQUEST_THROUGHPUT: round(self.qps, ndigits),
            Metrics.AVERAGE_LATENCY: round(self.avg_latency, ndigits),
            Metrics.AVERAGE_INPUT_TOKENS_PER_REQUEST: round(self.avg_prompt_tokens, ndigits),
        }
        if Metrics.is_input_only(api_type):
            message[Metrics.INPUT_TOKEN_THROUGHPUT] = round(self.avg_input_token_throughput, ndigits)
        else:
            message |= {
                Metrics.OUTPUT_TOKEN_THROUGHPUT: round(self.avg_output_token_throughput, ndigits),
                Metrics.TOTAL_TOKEN_THROUGHPUT: round(self.avg_total_token_throughput, ndigits),
                Metrics.AVERAGE_TIME_TO_FIRST_TOKEN: ms(self.avg_first_chunk_latency),
                Metrics.AVERAGE_TIME_PER_OUTPUT_TOKEN: ms(self.avg_time_per_output_token),
                Metrics.AVERAGE_INTER_TOKEN_LATENCY: ms(self.avg_inter_token_latency),
                Metrics.AVERAGE_OUTPUT_TOKENS_PER_REQUEST: round(self.avg_completion_tokens, ndigits),
            }
        handoff = {
            Metrics.AVERAGE_STEADY_INTER_TOKEN_LATENCY: self.avg_steady_inter_token_latency,
            Metrics.AVERAGE_PD_HANDOFF_LATENCY: self.avg_pd_handoff_latency,
            Metrics.AVERAGE_PD_HANDOFF_OVERHEAD: self.avg_pd_handoff_overhead,
        }
        turns = {
            Metrics.AVERAGE_FIRST_TURN_TTFT: self.avg_first_turn_ttft,
            Metrics.AVERAGE_SUBSEQUENT_TURN_TTFT: self.avg_subsequent_turn_ttft,
        }
        message |= {
            name: ms(value) for name, value in ((handoff if enable_pd_metrics else {}) | turns).items() if value >= 0
        }
        if self.avg_turns_per_request > 0:
            message[Metrics.AVERAGE_INPUT_TURNS_PER_REQUEST] = round(self.avg_turns_per_request, ndigits)
        if self.avg_cached_percent >= 0:
            message[Metrics.AVERAGE_CACHED_PERCENT] = round(self.avg_cached_percent, ndigits)
        if self.avg_decoded_tokens_per_iter > 0:
            tokens = self.avg_decoded_tokens_per_iter
            message[Metrics.AVERAGE_DECODED_TOKENS_PER_ITER] = round(tokens, ndigits)
            message[Metrics.APPROX_SPECULATIVE_ACCEPTANCE_RATE] = round(min(1.0, max(0.0, 1 - 1 / tokens)), ndigits)
        return message


@dataclass
class Mean:
    """A running mean."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        """Take one more value."""
        self.total += value
        self.count += 1

    def of(self, default: float = -1) -> float:
        """The mean, or `default` without values."""
        return self.total / self.count if self.count else default


def _means() -> dict[str, Mean]:
    names = "latency ttft stream_ttft tpot stream_tpot itl steady handoff overhead turns first later decoded"
    return {name: Mean() for name in names.split()}


@dataclass
class MetricsAccumulator:
    """Sums up requests one by one: `update` for each, `to_result` for the figures so far."""

    concurrency: int = 0
    rate: float = 0.0
    enable_pd_metrics: bool = False
    n_total: int = 0
    n_success: int = 0
    n_stream_total: int = 0
    n_non_stream_total: int = 0
    n_stream_success: int = 0
    total_prompt_tokens: int = 0
    total_completion_tokens: int = 0
    total_cached_tokens: int = 0
    total_prompt_tokens_for_cache: int = 0
    n_cache_turns: int = 0
    _means: dict[str, Mean] = field(default_factory=_means, repr=False)
    _start_s: float | None = field(default=None, repr=False)
    _end_s: float | None = field(default=None, repr=False)

    @property
    def n_failed(self) -> int:
        """Requests that failed."""
        return self.n_total - self.n_success

    @property
    def wall_time(self) -> float:
        """Seconds from the first start to the last end; 1 before there is any."""
        return 1.0 if self._start_s is None or self._end_s is None else max(0.0, self._end_s - self._start_s)

    def update(self, data: BenchmarkData, api_plugin: Any) -> None:
        """Take one more request; those of the warm-up do not count."""
        if data.is_warmup:
            return
        self.n_total += 1
        self.n_stream_total += bool(data.is_stream)
        self.n_non_stream_total += not data.is_stream
        if data.success:
            self.n_success += 1
            data.finalize(api_plugin, enable_pd_metrics=self.enable_pd_metrics)
            self._add(data)
        if 0 < data.start_time <= data.completed_time:
            self._start_s = min(self._start_s or data.start_time, data.start_time)
            self._end_s = max(self._end_s or data.completed_time, data.completed_time)

    def _add(self, data: BenchmarkData) -> None:
        means, gaps, ttft = self._means, data.inter_chunk_latency, data.first_chunk_latency or 0.0
        prompt, completion = data.prompt_tokens or 0, data.completion_tokens or 0
        self.total_prompt_tokens += prompt
        self.total_completion_tokens += completion
        means["latency"].add(data.query_latency or 0.0)
        means["ttft"].add(ttft)
        means["tpot"].add(data.time_per_output_token or 0.0)
        for gap in gaps:
            means["itl"].add(gap)
        if self.enable_pd_metrics:
            for gap in gaps[1:]:
                means["steady"].add(gap)
            for name, value in (("handoff", data.pd_handoff_latency), ("overhead", data.pd_handoff_overhead)):
                if value is not None:
                    means[name].add(value)
        if data.is_stream:
            self.n_stream_success += 1
            means["stream_ttft"].add(ttft)
            if completion > 1:
                means["stream_tpot"].add(data.time_per_output_token or 0.0)
        self._add_turn(data)
        if data.decoded_tokens_per_iter > 1:
            means["decoded"].add(data.decoded_tokens_per_iter)

    def _add_turn(self, data: BenchmarkData) -> None:
        """What there is of conversations and caches only."""
        if data.input_num_turns > 0:
            self._means["turns"].add(data.input_num_turns)
            self._means["first" if data.is_first_turn else "later"].add(data.first_chunk_latency or 0.0)
        if data.cached_tokens is not None and data.prompt_tokens:
            self.total_cached_tokens += data.cached_tokens
            self.total_prompt_tokens_for_cache += data.prompt_tokens
            self.n_cache_turns += 1

    def to_result(self) -> BenchmarkMetrics:
        """The figures so far."""
        means, count, wall_s = self._means, self.n_success, self.wall_time
        streamed = self.n_stream_success > 0

        def share(value: float, of: float) -> float:
            return value / of if of else -1

        return BenchmarkMetrics(
            concurrency=self.concurrency,
            rate=self.rate,
            total_requests=self.n_total,
            succeed_requests=count,
            failed_requests=self.n_failed,
            stream_requests=self.n_stream_total,
            non_stream_requests=self.n_non_stream_total,
            total_time=wall_s,
            avg_latency=means["latency"].of(),
            avg_first_chunk_latency=means["stream_ttft" if streamed else "ttft"].of(),
            avg_time_per_output_token=means["stream_tpot"].of(0.0) if streamed else means["tpot"].of(),
            avg_inter_token_latency=means["itl"].of(0.0),
            avg_steady_inter_token_latency=means["steady"].of(),
            avg_pd_handoff_latency=means["handoff"].of(),
            avg_pd_handoff_overhead=means["overhead"].of(),
            qps=share(count, wall_s),
            avg_prompt_tokens=share(self.total_prompt_tokens, count),
            avg_completion_tokens=share(self.total_completion_tokens, count),
            avg_input_token_throughput=share(self.total_prompt_tokens, means["ttft"].total),
            avg_output_token_throughput=share(self.total_completion_tokens, wall_s),
            avg_total_token_throughput=share(self.total_prompt_tokens + self.total_completion_tokens, wall_s),
            avg_turns_per_request=share(means["turns"].total, count) if means["turns"].count else -1,
            avg_cached_percent=share(100 * self.total_cached_tokens, self.total_prompt_tokens_for_cache),
            avg_first_turn_ttft=means["first"].of(),
            avg_subsequent_turn_ttft=means["later"].of(),
            avg_decoded_tokens_per_iter=means["decoded"].of(),
        )
