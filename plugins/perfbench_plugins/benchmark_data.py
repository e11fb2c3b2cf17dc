"""BenchmarkData: one request's flat result, with the fields that EvalScope's plugins fill."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any

WHOLE = ("prompt_tokens", "completion_tokens", "cached_tokens", "real_cached_tokens", "asked_tokens", "status_code")
"""Fields that hold a number of something, or None."""


@dataclass
class BenchmarkData:
    """What is known of one request. Times are seconds of one monotonic clock, durations are seconds.

    A plugin that overrides `process_request` returns one; it needs to set request, success, start_time,
    completed_time, query_latency, and for streams is_stream, first_chunk_latency and either chunk_times or
    inter_chunk_latency. Durations are 0.0 until they are set, as in EvalScope, whose plugins ask for that; `tidy` makes
    None of those that stayed so. Further attributes may be added.
    """

    request: Any = None
    """The body as sent: JSON text."""
    start_time: float = 0.0
    """When the request was sent."""
    completed_time: float = 0.0
    """When the last byte of the answer came, or the failure was noticed."""
    chunk_times: list[float] = field(default_factory=list)
    """When each chunk with content came."""
    success: bool = False
    is_stream: bool = False
    response_messages: list[Any] = field(default_factory=list)
    """The answer's JSON messages: one for each event of a stream, or the whole body. Raw text where perfbench read them."""
    query_latency: float | None = 0.0
    """From start_time to completed_time."""
    first_chunk_latency: float | None = 0.0
    """From start_time to the first non-empty content (TTFT)."""
    time_per_output_token: float | None = 0.0
    """(query_latency - first_chunk_latency) / (completion_tokens - 1) (TPOT)."""
    inter_chunk_latency: list[float] = field(default_factory=list)
    """Gaps between chunks with content (ITL); from chunk_times where a plugin leaves it empty."""
    pd_handoff_latency: float | None = None
    """The first gap, where prefill and decode run apart and it was asked for."""
    pd_handoff_overhead: float | None = None
    """How much longer it is than the median of the others."""
    max_gpu_memory_cost: float = 0.0
    generated_text: str = ""
    error: str | None = None
    """What happened, for people."""
    status_code: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_num_turns: int = 0
    real_cached_tokens: int | None = None
    """Prompt tokens that the server said it had cached."""
    cached_tokens: int | None = None
    is_last_turn: bool = False
    is_first_turn: bool = False
    trace_id: str | None = None
    request_id: str | None = None
    is_warmup: bool = False
    n_decode_chunks: int = 0
    """Chunks from the first with content on, empty ones too, where a plugin counts them."""
    decoded_tokens_per_iter: float = 0.0
    """(completion_tokens - 1) / (chunks - 1): more than 1 where a chunk carries several tokens."""
    # Ours, beyond EvalScope:
    failure: str = ""
    """A FailureKind; empty for a success."""
    token_source: str = ""
    """Who counted the tokens: usage, tokenizer, chunks, plugin or none."""
    reasoning_text: str = ""
    """The reasoning before or within the answer; not part of generated_text."""
    no_content: bool = False
    """A success whose tokens were all hidden: there was nothing to show, and no time to first token."""
    model: str | None = None
    """The model's name in the answer."""
    asked_tokens: int | None = None
    """The prompt's length as it was counted here, where it was: tokens with a tokenizer, else words."""
    gap_tokens: list[int] = field(default_factory=list)
    """Tokens that came at the end of each of inter_chunk_latency, where the server counted them; else empty."""

    def finalize(self, api_plugin: Any, enable_pd_metrics: bool = False) -> None:
        """Fill in what follows from the rest: tokens by the plugin's `parse_responses`, then latencies. Can be called twice."""
        if not self.success:
            return
        if self.prompt_tokens is None or self.completion_tokens is None:
            messages: Any = self.response_messages
            if type(api_plugin).parse_responses.__module__.startswith(f"{__package__}."):
                messages = list(map(_as_object, messages))
            tokens = api_plugin.parse_responses(messages, request=self.request)
            self.prompt_tokens, self.completion_tokens = tokens
            self.token_source = self.token_source or getattr(tokens, "source", "plugin")
        if not self.query_latency:
            self.query_latency = self.completed_time - self.start_time
        if not self.inter_chunk_latency and self.chunk_times:
            self.inter_chunk_latency = [later - time for time, later in pairwise(self.chunk_times)]
        self.time_per_output_token = time_per_output_token(
            self.query_latency, self.first_chunk_latency or None, self.completion_tokens
        )
        chunks = self.n_decode_chunks or len(self.chunk_times) or len(self.inter_chunk_latency) + 1
        if self.completion_tokens and self.completion_tokens > 1 and chunks > 1:
            self.decoded_tokens_per_iter = (self.completion_tokens - 1) / (chunks - 1)
        if self.cached_tokens is None:
            self.cached_tokens = self.real_cached_tokens
        if enable_pd_metrics and self.inter_chunk_latency:
            from statistics import median  # brings fractions and decimals, for what few plugins ask for

            first, *others = self.inter_chunk_latency
            self.pd_handoff_latency = first
            self.pd_handoff_overhead = max(0.0, first - median(others)) if others else None

    def tidy(self) -> None:
        """Make what the fields say of whatever a plugin has left in them: numbers of numbers' texts, None of what is none.

        A duration of 0.0 was never set, and an answer that came whole has no first token: those are None. Everybody
        after this may rely on it.
        """
        self._tidy_numbers()
        self._tidy_texts()
        self._tidy_lists()

    def _tidy_numbers(self) -> None:
        self.start_time, self.completed_time = (number(time) or 0.0 for time in (self.start_time, self.completed_time))
        self.query_latency = number(self.query_latency)
        self.first_chunk_latency = number(self.first_chunk_latency) or None
        self.time_per_output_token = number(self.time_per_output_token) or None
        if not self.is_stream and self.first_chunk_latency == self.query_latency:
            self.first_chunk_latency = self.time_per_output_token = None
        for name in WHOLE:
            setattr(self, name, whole(getattr(self, name)))
        self.input_num_turns = whole(self.input_num_turns) or 0
        self.is_last_turn, self.no_content = bool(self.is_last_turn), bool(self.no_content)

    def _tidy_texts(self) -> None:
        self.failure, self.token_source = _text(self.failure), _text(self.token_source)
        self.success = bool(self.success) and not self.failure
        self.error = None if self.error is None else _text(self.error)
        self.model = None if self.model is None else _text(self.model)
        self.generated_text, self.reasoning_text = _text(self.generated_text), _text(self.reasoning_text)

    def _tidy_lists(self) -> None:
        self.inter_chunk_latency = _numbers(self.inter_chunk_latency)
        self.chunk_times = _numbers(self.chunk_times)
        if type(self.gap_tokens) is not list or not all(type(count) is int for count in self.gap_tokens):
            self.gap_tokens = []
        if self.response_messages is None or isinstance(self.response_messages, (str, bytes, dict)):
            self.response_messages = [self.response_messages] if self.response_messages else []
        elif not isinstance(self.response_messages, Sequence):
            self.response_messages = [str(self.response_messages)]
        self._tidy_ours()

    def _tidy_ours(self) -> None:
        """The same for fields that EvalScope does not have."""
        self.no_content = self.no_content is True
        self.model = self.model if isinstance(self.model, str) else None
        self.asked_tokens = whole(self.asked_tokens)
        tokens: Any = self.gap_tokens
        if tokens != [] and not (
            type(tokens) is list
            and len(tokens) == len(self.inter_chunk_latency)
            and all(type(count) is int and 0 <= count < 2**31 for count in tokens)
        ):
            self.gap_tokens = []

    def update_gpu_usage(self) -> None:
        """Kept for EvalScope's plugins; perfbench reads GPU memory from the server's metrics instead."""


def _as_object(message: Any) -> Any:
    """A message as our own `parse_responses` read it: plugins that send by themselves may keep the JSON text of each."""
    if not isinstance(message, (str, bytes)):
        return message
    try:
        return json.loads(message.removeprefix("data:") if isinstance(message, str) else message)
    except ValueError:
        return message


def number(value: Any) -> float | None:
    """A float of what is a finite number, None of what is none."""
    if value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def whole(value: Any) -> int | None:
    """An int of what is a finite number, not negative; None of what is none."""
    if value is None:
        return None
    found = value if type(value) is int else number(value)
    return int(found) if found is not None and found >= 0 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else repr(value)


def _numbers(values: Any) -> list[float]:
    """The numbers in a list; the same list where there is nothing else in it."""
    if type(values) is list and all(type(value) is float for value in values):
        return values
    try:
        found = [number(value) for value in values]
    except TypeError:  # nothing to go through
        return []
    return [value for value in found if value is not None]


def time_per_output_token(latency_s: float, first_s: float | None, tokens: int | None) -> float | None:
    """TPOT in seconds, or None where it is not defined: no first token time, or fewer than two tokens.

    (e2e latency - TTFT) / (output tokens - 1), as vLLM's `bench serve` defines it.
    """
    if first_s is None or tokens is None or tokens < 2:
        return None
    return (latency_s - first_s) / (tokens - 1)
