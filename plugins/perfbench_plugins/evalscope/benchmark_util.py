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


def _share(value: float, of: float, otherwise: float = -1) -> float:
    return value / of if of else otherwise


@dataclass
class MetricsAccumulator:
    """Sums up requests one by one: `update` for each, `to_result` for the figures so far. Times are seconds."""

    concurrency: int = 0
    rate: float = 0.0
    enable_pd_metrics: bool = False
    n_total: int = 0
    n_success: int = 0
    n_stream_success: int = 0
    n_stream_total: int = 0
    n_non_stream_total: int = 0
    total_latency: float = 0.0
    total_prompt_tokens: int = 0
    total_completion_tokens: int = 0
    total_first_chunk_latency: float = 0.0
    total_first_chunk_latency_stream: float = 0.0
    total_time_per_output_token: float = 0.0
    total_time_per_output_token_stream: float = 0.0
    n_stream_tpot: int = 0
    total_inter_token_latency: float = 0.0
    n_inter_token_latencies: int = 0
    total_steady_inter_token_latency: float = 0.0
    n_steady_inter_token_latencies: int = 0
    total_pd_handoff_latency: float = 0.0
    n_pd_handoff_latency: int = 0
    total_pd_handoff_overhead: float = 0.0
    n_pd_handoff_overhead: int = 0
    total_input_turns: int = 0
    total_first_turn_ttft: float = 0.0
    n_first_turn: int = 0
    total_subsequent_turn_ttft: float = 0.0
    n_subsequent_turn: int = 0
    total_cached_tokens: int = 0
    total_prompt_tokens_for_cache: int = 0
    n_cache_turns: int = 0
    total_decoded_tokens_per_iter: float = 0.0
    n_decoded_samples: int = 0
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
            self._add_gaps(data)
            self._add_turn(data)
        if 0 < data.start_time <= data.completed_time:
            self._start_s = min(self._start_s or data.start_time, data.start_time)
            self._end_s = max(self._end_s or data.completed_time, data.completed_time)

    def _add(self, data: BenchmarkData) -> None:
        ttft_s, tpot_s = data.first_chunk_latency or 0.0, data.time_per_output_token or 0.0
        self.total_prompt_tokens += data.prompt_tokens or 0
        self.total_completion_tokens += data.completion_tokens or 0
        self.total_latency += data.query_latency or 0.0
        self.total_first_chunk_latency += ttft_s
        self.total_time_per_output_token += tpot_s
        if data.is_stream:
            self.n_stream_success += 1
            self.total_first_chunk_latency_stream += ttft_s
            if (data.completion_tokens or 0) > 1:
                self.total_time_per_output_token_stream += tpot_s
                self.n_stream_tpot += 1
        if data.decoded_tokens_per_iter > 1:
            self.total_decoded_tokens_per_iter += data.decoded_tokens_per_iter
            self.n_decoded_samples += 1

    def _add_gaps(self, data: BenchmarkData) -> None:
        gaps = data.inter_chunk_latency
        self.total_inter_token_latency += sum(gaps)
        self.n_inter_token_latencies += len(gaps)
        if self.enable_pd_metrics:
            self.total_steady_inter_token_latency += sum(gaps[1:])
            self.n_steady_inter_token_latencies += len(gaps[1:])
            if data.pd_handoff_latency is not None:
                self.total_pd_handoff_latency += data.pd_handoff_latency
                self.n_pd_handoff_latency += 1
            if data.pd_handoff_overhead is not None:
                self.total_pd_handoff_overhead += data.pd_handoff_overhead
                self.n_pd_handoff_overhead += 1

    def _add_turn(self, data: BenchmarkData) -> None:
        """What there is of conversations and caches only."""
        ttft_s = data.first_chunk_latency or 0.0
        if data.input_num_turns > 0:
            self.total_input_turns += data.input_num_turns
            if data.is_first_turn:
                self.total_first_turn_ttft += ttft_s
                self.n_first_turn += 1
            else:
                self.total_subsequent_turn_ttft += ttft_s
                self.n_subsequent_turn += 1
        if data.cached_tokens is not None and data.prompt_tokens:
            self.total_cached_tokens += data.cached_tokens
            self.total_prompt_tokens_for_cache += data.prompt_tokens
            self.n_cache_turns += 1

    def to_result(self) -> BenchmarkMetrics:
        """The figures so far."""
        count, wall_s, tokens = self.n_success, self.wall_time, self.total_prompt_tokens + self.total_completion_tokens
        ttft_s = _share(self.total_first_chunk_latency, count)
        tpot_s = _share(self.total_time_per_output_token, count)
        if self.n_stream_success:
            ttft_s = _share(self.total_first_chunk_latency_stream, self.n_stream_success)
            tpot_s = _share(self.total_time_per_output_token_stream, self.n_stream_tpot, 0.0)
        return BenchmarkMetrics(
            concurrency=self.concurrency,
            rate=self.rate,
            total_requests=self.n_total,
            succeed_requests=count,
            failed_requests=self.n_failed,
            stream_requests=self.n_stream_total,
            non_stream_requests=self.n_non_stream_total,
            total_time=wall_s,
            avg_latency=_share(self.total_latency, count),
            avg_first_chunk_latency=ttft_s,
            avg_time_per_output_token=tpot_s,
            avg_inter_token_latency=_share(self.total_inter_token_latency, self.n_inter_token_latencies, 0.0),
            avg_steady_inter_token_latency=_share(
                self.total_steady_inter_token_latency, self.n_steady_inter_token_latencies
            ),
            avg_pd_handoff_latency=_share(self.total_pd_handoff_latency, self.n_pd_handoff_latency),
            avg_pd_handoff_overhead=_share(self.total_pd_handoff_overhead, self.n_pd_handoff_overhead),
            qps=_share(count, wall_s),
            avg_prompt_tokens=_share(self.total_prompt_tokens, count),
            avg_completion_tokens=_share(self.total_completion_tokens, count),
            avg_input_token_throughput=_share(self.total_prompt_tokens, self.total_first_chunk_latency),
            avg_output_token_throughput=_share(self.total_completion_tokens, wall_s),
            avg_total_token_throughput=_share(tokens, wall_s),
            avg_turns_per_request=_share(self.total_input_turns, count) if self.total_input_turns else -1,
            avg_cached_percent=_share(100 * self.total_cached_tokens, self.total_prompt_tokens_for_cache),
            avg_first_turn_ttft=_share(self.total_first_turn_ttft, self.n_first_turn),
            avg_subsequent_turn_ttft=_share(self.total_subsequent_turn_ttft, self.n_subsequent_turn),
            avg_decoded_tokens_per_iter=_share(self.total_decoded_tokens_per_iter, self.n_decoded_samples),
        )
