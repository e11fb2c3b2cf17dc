"""What `perfbench plugins check` tries on a dataset: iterate it twice, look at its items, send some."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame
from perfbench_plugins.datasets.base import Item, Turn
from perfbench_plugins.registry import Entry, PluginError
from perfbench_runner.cli.plugin_bench import Bench, Finding, Options
from perfbench_runner.load.feed import REFUSALS, is_conversation

ITEMS = 20
SHAPES = (
    "chat messages (a list of objects with role and content), a text, token ids, a whole body (dict),"
    " texts of a batch (list of str), a Conversation (list of Turn), or an Item around one of them"
)
SAMPLE = "".join(f"Line {number} of a sample, as long as a short question.\n" for number in range(1, 41))


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
            yield from _check_items(entry, bench, replace(options, dataset_path=path))
        return
    yield from _check_items(entry, bench, options)


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


def _check_items(entry: Entry, bench: Bench, options: Options) -> Iterator[Finding]:
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
