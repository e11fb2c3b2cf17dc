"""Try plugins out: what `perfbench plugins check` does and says.

Datasets are iterated and their items looked at; APIs send a sample to the bundled mock, whose truth is known, through
the same engine as a run. What is wrong is told in words that say what to change.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urlsplit

from perfbench_api.resource import PerfBenchmark
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.blame import blame
from perfbench_plugins.datasets.base import Item, Turn
from perfbench_plugins.loading import load_plugins
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, Entry, PluginError
from perfbench_runner.load.feed import REFUSALS, is_conversation
from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.result import Result
from perfbench_runner.run.execute import execute
from perfbench_runner.run.prepare import prepare

ITEMS, REQUESTS, TOKENS = 20, 4, 16
SETTINGS = MockSettings(ttft_s=0.02, itl_s=0.002)
SHAPES = (
    "chat messages (a list of objects with role and content), a text, token ids, a whole body (dict),"
    " texts of a batch (list of str), a Conversation (list of Turn), or an Item around one of them"
)
HINTS = {
    "http_404": "give --path where the API has another path, or --url of an endpoint of its own kind",
    "http_400": "the mock refuses the body; look at what build_request makes",
    "truncated": "no message said that the answer is complete; where the stream's end is not OpenAI's, override"
    " read_message and return Piece(is_last=True) for it",
    "empty": "no content was recognised; where messages are not shaped like OpenAI's, override read_message",
}
SAMPLE = "".join(f"Line {number} of a sample, as long as a short question.\n" for number in range(1, 41))


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: Literal["ok", "note", "wrong"]
    text: str


@dataclass(frozen=True)
class Options:
    """What the user gives beside the plugin."""

    url: str | None = None
    """An endpoint to try APIs on instead of the mock."""
    path: str | None = None
    model: str = "mock"
    api: str = "openai"
    """The API by which datasets are sent."""
    dataset: str = "openqa"
    """The dataset that APIs are given."""
    dataset_path: str | None = None
    dataset_args: dict[str, Any] | None = None
    api_args: dict[str, Any] | None = None
    tokenizer_path: str | None = None


class Collector(Observer):
    """Keeps all results of a run."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def add(self, result: Result) -> None:
        self.results.append(result)


class Bench:
    """The mock, or the user's endpoint, and runs against it."""

    def __init__(self, options: Options, mock: MockProcess | None) -> None:
        self.options, self.mock = options, mock

    def target(self, api: str) -> dict[str, Any]:
        """The target's part of a manifest, the usual path added where the API has none of its own."""
        options = self.options
        base = (self.mock.base_url if self.mock else options.url or "") + (options.path or "")
        arguments = Arguments(url=base, model=options.model, api=api, api_args=options.api_args)
        url = ApiRegistry.get_class(api).complete_url(base, arguments)
        if urlsplit(url).path in ("", "/") and self.mock:
            url = url.rstrip("/") + "/v1/chat/completions"
        return {"url": url, "model": options.model, "api": api, "apiArgs": options.api_args, "connectionTest": False}

    def run(self, api: str, dataset: dict[str, Any], stream: bool) -> tuple[list[Result], str, dict[str, Any]]:
        """Results, what ended the run if it was no success, and the mock's truth. Raises REFUSALS."""
        spec = {
            "target": self.target(api),
            "dataset": {"tokenizerPath": self.options.tokenizer_path, **dataset},
            "request": {"maxTokens": TOKENS, "stream": stream},
            "load": {"stages": [{"concurrency": 2, "requests": REQUESTS, "duration": "60s"}], "gracePeriod": "5s"},
            "runner": {"workers": 1},
        }
        if self.mock:
            self.mock.reset()
        collector = Collector()
        prepared = prepare(PerfBenchmark.read({"metadata": {"name": "check"}, "spec": spec}), {})
        with TemporaryDirectory() as folder:
            finished = execute(prepared, Path(folder), [collector])
        return collector.results, finished.end.message, self.mock.stats() if self.mock else {}


def plugins_of(source: str) -> list[Entry]:
    """Load a file or module; one entry for each plugin class that it registers. Raises PluginError."""
    registries = (ApiRegistry, DatasetRegistry)
    before = [dict(registry.entries) for registry in registries]
    load_plugins([source])
    new = [
        entry
        for registry, old in zip(registries, before, strict=True)
        for name, entry in registry.entries.items()
        if old.get(name) is not entry and not entry.builtin
    ]
    if not new:
        raise PluginError(
            f'{source} registers no plugin; decorate its class with @register_api("…") or @register_dataset("…")'
        )
    return list({entry.plugin: entry for entry in reversed(new)}.values())[::-1]


def faults(source: str | Path, **options: Any) -> list[str]:
    """All that is wrong with the plugins of a file or module; for tests of plugins. `options`: fields of Options."""
    found = check(plugins_of(str(source)), Options(**options))
    return [f"{title}: {one.text}" for title, findings in found for one in findings if one.state == "wrong"]


def check(entries: Iterable[Entry], options: Options) -> Iterator[tuple[str, Iterator[Finding]]]:
    """For each plugin its title and what was found; both are made while they are read."""
    mock = None if options.url else MockProcess(SETTINGS)
    with mock or nullcontext():
        bench = Bench(options, mock)
        for entry in entries:
            is_api = ApiRegistry.entries.get(entry.name) == entry
            kind, look = ("API", check_api) if is_api else ("dataset", check_dataset)
            yield f"{kind} plugin {entry.name} ({entry.origin})", _guarded(look(entry, bench))


def _guarded(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Mistakes that the plugin, or we in its place, refuse to go on with."""
    try:
        yield from findings
    except REFUSALS as error:
        yield from (Finding("wrong", line) for line in str(error).splitlines())


# Datasets.


def check_dataset(entry: Entry, bench: Bench) -> Iterator[Finding]:
    """Iterate, look at the items, iterate again, send some."""
    options = bench.options
    if options.dataset_path is None:
        with TemporaryDirectory() as folder:
            sample = Path(folder, "sample.txt")
            sample.write_text(SAMPLE)
            path = _path_needed(entry, options, str(sample))
            if path:
                yield Finding("note", "it asks for a file: a sample of lines is used; --dataset-path gives your own")
            yield from _look_at_dataset(entry, bench, replace(options, dataset_path=path))
        return
    yield from _look_at_dataset(entry, bench, options)


def _path_needed(entry: Entry, options: Options, sample: str) -> str | None:
    """The sample's path if the dataset works with it and not without any."""
    try:
        _items(entry, options, 1)
    except REFUSALS:  # told when it is tried for good
        with suppress(*REFUSALS):
            return sample if _items(entry, replace(options, dataset_path=sample), 1) else None
    return None


def _items(entry: Entry, options: Options, count: int) -> list[Any]:
    """The first items of a new dataset plugin; raises REFUSALS."""
    arguments = Arguments(
        url="http://127.0.0.1/v1/chat/completions",
        model=options.model,
        dataset=entry.name,
        dataset_path=options.dataset_path,
        dataset_args=options.dataset_args,
        tokenizer_path=options.tokenizer_path,
        apply_chat_template=True,
    )
    try:
        return list(islice(entry.plugin(arguments).build_messages(), count))
    except REFUSALS:
        raise
    except Exception as error:  # a plugin's own code: whatever it raised is what is wrong
        raise PluginError(blame(entry.plugin, error)) from error


def _look_at_dataset(entry: Entry, bench: Bench, options: Options) -> Iterator[Finding]:
    dataset = {"name": entry.name, "path": options.dataset_path, "args": options.dataset_args}
    began = perf_counter()
    items = _items(entry, options, ITEMS)
    taken_s = perf_counter() - began
    faults = list(_faults(items, getattr(entry.plugin, "provides_arrival_schedule", False)))
    yield from (Finding("wrong", fault) for fault in faults)
    if faults:
        return
    shape = shape_of(items[0])
    yield Finding("ok", f"{len(items)} items in {taken_s:.3f} s; the first is {shape}")
    yield _repeats(entry, options, items)
    api = {"texts of a batch": "openai_embedding"}.get(str(shape), options.api)
    if shape in ("a text", "token ids") and api == "openai" and not options.path:
        yield Finding("note", "it yields plain text, not chat messages: give --url with /v1/completions")
        bench = Bench(replace(options, path="/v1/completions"), bench.mock)
    results, message, _ = bench.run(api, dataset, stream=True)
    failed = [result.data for result in results if not result.data.success]
    if failed or not results:
        yield Finding("wrong", f"sent by API {api}: {failed[0].error if failed else message or 'nothing was sent'}")
    else:
        yield Finding("ok", f"API {api} sends it: {len(results)} requests, all answered")


def _faults(items: list[Any], has_schedule: bool) -> Iterator[str]:
    if not items:
        yield "build_messages yields nothing; does a filter or an empty file leave everything out?"
    for number, item in enumerate(items, 1):
        if shape_of(item) is None:
            yield f"item {number} is {_short(item)}; expected {SHAPES}"
            return
    times = [item.at_s for item in items if isinstance(item, Item) and item.at_s is not None]
    if not has_schedule:
        return
    if len(times) < len(items):
        yield "provides_arrival_schedule is true, but items come without a time: yield Item(messages, at_s=seconds)"
    elif any(later < earlier for earlier, later in pairwise(times)):
        yield "at_s goes back from one item to the next; it must never be less than the item before"


def _repeats(entry: Entry, options: Options, items: list[Any]) -> Finding:
    if _items(entry, options, ITEMS) == items:
        return Finding("ok", "the same seed gives the same items again")
    return Finding("wrong", "the same seed gives other items: take every random choice from self.random")


def shape_of(item: Any) -> str | None:
    """What an item of a dataset is, in words; None for what no API can send."""
    if isinstance(item, Item):
        return shape_of(item.messages)
    if is_conversation(item):
        good = all(isinstance(turn, Turn) and _are_messages(turn.messages) for turn in item)
        return f"a conversation of {len(item)} turns" if good else None
    if isinstance(item, str):
        return "a text" if item else None
    if isinstance(item, dict):
        return "a whole body" if item else None
    if not isinstance(item, list) or not item:
        return None
    if _are_messages(item):
        return "chat messages"
    return next((name for kind, name in ((int, "token ids"), (str, "texts of a batch")) if _all(item, kind)), None)


def _all(items: list[Any], kind: type) -> bool:
    return all(isinstance(item, kind) and not isinstance(item, bool) for item in items)


def _are_messages(messages: Any) -> bool:
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(one, dict) and "role" in one and ("content" in one or "tool_calls" in one) for one in messages
        )
    )


def _short(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text[:100]}{'…' if len(text) > 100 else ''}"


# APIs.


def check_api(entry: Entry, bench: Bench) -> Iterator[Finding]:
    """Build a request, then send some and compare what was understood with what the mock did."""
    yield from _look_at_body(entry, bench)
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


def _look_at_body(entry: Entry, bench: Bench) -> Iterator[Finding]:
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
