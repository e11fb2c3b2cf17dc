"""What `perfbench plugins check` tries plugins on: the mock, or the user's endpoint, through the engine of a run."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlsplit

from perfbench_api.resource import PerfBenchmark
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import ApiRegistry
from perfbench_runner.mock.process import MockProcess
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.result import Result
from perfbench_runner.run.execute import execute
from perfbench_runner.run.prepare import prepare
from perfbench_runner.signals import Interrupted, kept

REQUESTS, TOKENS = 4, 16


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
        with TemporaryDirectory() as folder, kept() as interrupts:
            finished = execute(prepared, Path(folder), [collector], interrupts=interrupts)
        if interrupts.names:
            raise Interrupted(interrupts.names[0])
        return collector.results, finished.end.message, self.mock.stats() if self.mock else {}
