"""What `perfbench plugins check` tries on an API: build a body, send some, compare with what the mock did."""

import json
from collections.abc import Iterator
from copy import deepcopy
from time import perf_counter
from typing import Any, Literal

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.registry import Entry
from perfbench_runner.cli.plugin_bench import TOKENS, Bench, Finding

HINTS = {
    "http_404": "give --path where the API has another path, or --url of an endpoint of its own kind",
    "http_400": "the mock refuses the body; look at what build_request makes",
    "truncated": "no message said that the answer is complete; where the stream's end is not OpenAI's, override"
    " read_message and return Piece(is_last=True) for it",
    "empty": "no content was recognised; where messages are not shaped like OpenAI's, override read_message",
}


def check_api(entry: Entry, bench: Bench) -> Iterator[Finding]:
    """Build a request, then send some and compare what was understood with what the mock did."""
    yield from _check_body(entry, bench)
    dataset = {"name": bench.options.dataset}
    generates = getattr(entry.plugin, "generates", True)
    for is_stream in (True, False) if generates else (False,):
        mode = "streamed" if is_stream else "plain"
        results, message, truth = bench.run(entry.name, dataset, is_stream)
        if not results:
            yield Finding("wrong", f"{mode}: nothing was sent: {message}")
            continue
        faults = list(_faults_of_answers([result.data for result in results], is_stream, generates, truth))
        yield from (Finding(state, f"{mode}: {text}") for state, text in faults)
        if not any(state == "wrong" for state, _ in faults):
            yield Finding("ok", f"{mode}: {_understood(results[0].data, len(results))}")


def _check_body(entry: Entry, bench: Bench) -> Iterator[Finding]:
    """What build_request makes of a sample; a refusal shows again, and is told, when it is sent."""
    target, options = bench.target(entry.name), bench.options
    param = Arguments(
        url=target["url"],
        model=options.model,
        api=entry.name,
        api_args=options.api_args,
        max_tokens=TOKENS,
        stream=True,
    )
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    before = deepcopy(messages)
    try:
        plugin = entry.plugin(param)
        body = plugin.build_request(messages, param)
        other = plugin.build_request(before, param.model_copy(update={"max_tokens": TOKENS + 1}))
        text = json.dumps(body)
    except Exception:  # noqa: BLE001  # a plugin's own code; told when it is sent
        return
    yield Finding("ok", f"POST {target['url']} {text[:300]}{'…' if len(text) > 300 else ''}")
    if messages != [{"role": "user", "content": "Why is the sky blue?"}]:
        yield Finding("wrong", "build_request changes the messages it is given; make a copy")
    if body == other and getattr(plugin, "generates", True):
        text = (
            "build_request makes the same body for another param.max_tokens: lengths of the run or dataset are not sent"
        )
        yield Finding("note", text)


Fault = tuple[Literal["note", "wrong"], str]


def _faults_of_answers(
    answers: list[BenchmarkData], is_stream: bool, generates: bool, truth: dict[str, Any]
) -> Iterator[Fault]:
    failed = [data for data in answers if not data.success]
    if failed:
        kind, error = failed[0].failure, failed[0].error or ""
        hint = HINTS.get(kind)
        words = f"{len(failed)} of {len(answers)} requests failed ({kind}): {error.strip()}"
        yield "wrong", f"{words}; {hint}" if hint else words
        return
    data = answers[-1]
    yield from _faults_of_counts(answers, generates, truth)
    yield from _faults_of_times(data, is_stream)
    if not data.response_messages:
        yield "wrong", "response_messages is empty: nothing of the answer can be stored"
    if generates and not data.generated_text:
        yield "note", "generated_text is empty: conversations cannot go on with this API's answers"


def _faults_of_counts(answers: list[BenchmarkData], generates: bool, truth: dict[str, Any]) -> Iterator[Fault]:
    prompt = sum(data.prompt_tokens or 0 for data in answers)
    answer = sum(data.completion_tokens or 0 for data in answers)
    how = "does build_request ask for usage (stream_options), and parse_responses find it in every kind of answer?"
    if prompt <= 0:
        yield "wrong", f"parse_responses found no prompt tokens; {how}"
    elif truth and prompt != truth["prompt_tokens"]:
        yield "note", f"{prompt} prompt tokens were counted where the mock counted {truth['prompt_tokens']}"
    if not generates:
        return
    if answer <= 0:
        yield "wrong", f"parse_responses found no completion tokens; {how}"
    elif truth and answer != truth["output_tokens"]:
        yield "wrong", f"{answer} completion tokens were counted where the mock sent {truth['output_tokens']}; {how}"


def _faults_of_times(data: BenchmarkData, is_stream: bool) -> Iterator[Fault]:
    now = perf_counter()
    if not now - 300 < data.start_time <= data.completed_time <= now:
        yield "wrong", "start_time and completed_time must be read from time.perf_counter(), in this order"
    if not is_stream:
        return
    if not data.is_stream:
        yield "note", "the answer was no stream; does build_request send what param.stream says?"
    elif data.first_chunk_latency is None or not data.inter_chunk_latency:
        yield "wrong", "first_chunk_latency and inter_chunk_latency must be set for a stream (seconds): TTFT, ITL"
    elif data.first_chunk_latency > (data.query_latency or 0.0):
        yield "wrong", "first_chunk_latency is more than query_latency; both are seconds from start_time"


def _understood(data: BenchmarkData, count: int) -> str:
    """What an answer gave, for people."""
    parts = [f"{count} requests", f"{data.prompt_tokens} prompt tokens"]
    if data.generated_text:
        parts += [f"{data.completion_tokens} tokens ({data.token_source})", f"text {data.generated_text[:30]!r}…"]
    if data.first_chunk_latency is not None:
        parts.append(f"first content after {data.first_chunk_latency * 1000:.1f} ms")
    return ", ".join([*parts, f"{len(data.response_messages)} messages"])
