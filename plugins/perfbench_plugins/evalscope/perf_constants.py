"""`evalscope.perf.utils.perf_constants`: names of figures in EvalScope's summaries."""


class Metrics:
    """Keys of its benchmark_summary.json."""

    TIME_TAKEN_FOR_TESTS = "Test Duration (s)"
    NUMBER_OF_CONCURRENCY = "Concurrency"
    REQUEST_RATE = "Request Rate (req/s)"
    TOTAL_REQUESTS = "Total Requests"
    SUCCEED_REQUESTS = "Success Requests"
    FAILED_REQUESTS = "Failed Requests"
    STREAM_REQUESTS = "Stream Requests"
    NON_STREAM_REQUESTS = "Non-Stream Requests"
    REQUEST_THROUGHPUT = "Req Throughput (req/s)"
    AVERAGE_LATENCY = "Avg Latency (s)"
    AVERAGE_INPUT_TOKENS_PER_REQUEST = "Avg Input Tokens"
    OUTPUT_TOKEN_THROUGHPUT = "Output Throughput (tok/s)"  # noqa: S105  # no password, nor are those below
    TOTAL_TOKEN_THROUGHPUT = "Total Throughput (tok/s)"  # noqa: S105
    AVERAGE_TIME_TO_FIRST_TOKEN = "Avg TTFT (ms)"  # noqa: S105
    AVERAGE_TIME_PER_OUTPUT_TOKEN = "Avg TPOT (ms)"  # noqa: S105
    AVERAGE_INTER_TOKEN_LATENCY = "Avg ITL (ms)"  # noqa: S105
    AVERAGE_STEADY_INTER_TOKEN_LATENCY = "Avg Steady ITL (ms)"  # noqa: S105
    AVERAGE_PD_HANDOFF_LATENCY = "Avg PD Handoff Latency (ms)"
    AVERAGE_PD_HANDOFF_OVERHEAD = "Avg PD Handoff Overhead (ms)"
    AVERAGE_OUTPUT_TOKENS_PER_REQUEST = "Avg Output Tokens"
    INPUT_TOKEN_THROUGHPUT = "Input Throughput (tok/s)"  # noqa: S105
    AVERAGE_INPUT_TURNS_PER_REQUEST = "Avg Turns/Request"
    AVERAGE_CACHED_PERCENT = "KV Cache Hit Rate (%)"
    AVERAGE_FIRST_TURN_TTFT = "Avg First-Turn TTFT (ms)"
    AVERAGE_SUBSEQUENT_TURN_TTFT = "Avg Subsequent-Turn TTFT (ms)"
    AVERAGE_DECODED_TOKENS_PER_ITER = "Avg Decoded Tok/Iter"
    APPROX_SPECULATIVE_ACCEPTANCE_RATE = "Spec. Accept Rate"

    @staticmethod
    def is_embedding_or_rerank(api_name: str | None) -> bool:
        """Whether an API's answers have no text."""
        return api_name is not None and any(word in api_name.lower() for word in ("embed", "rerank"))

    @staticmethod
    def is_input_only(api_name: str | None) -> bool:
        """Whether an API's answers have no text."""
        return Metrics.is_embedding_or_rerank(api_name) or api_name in ("systemone", "autotrust")


class PercentileMetrics:
    """Columns of its benchmark_percentile.json."""

    TTFT = "TTFT (ms)"
    ITL = "ITL (ms)"
    STEADY_ITL = "Steady ITL (ms)"
    PD_HANDOFF_LATENCY = "PD Handoff Latency (ms)"
    PD_HANDOFF_OVERHEAD = "PD Handoff Overhead (ms)"
    TPOT = "TPOT (ms)"
    LATENCY = "Latency (s)"
    INPUT_TOKENS = "Input tokens"
    OUTPUT_TOKENS = "Output tokens"
    OUTPUT_THROUGHPUT = "Output (tok/s)"
    INPUT_THROUGHPUT = "Input (tok/s)"
    TOTAL_THROUGHPUT = "Total (tok/s)"
    DECODE_THROUGHPUT = "Decode (tok/s)"
    PERCENTILES = "Percentiles"
