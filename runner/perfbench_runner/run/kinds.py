"""The kinds of requests that a run sends: one, or one of each workload, with what plugins see of it, and its feed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from perfbench_api.resource import PerfBenchmark, Spec, SpecError
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame, is_signal
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, PluginError, PluginRegistry
from perfbench_runner.load.feed import REFUSALS, Feed
from perfbench_runner.load.mix import Mix
from perfbench_runner.load.mixed_feed import MixedFeed, told_of
from perfbench_runner.load.requests import Requests
from perfbench_runner.shard.transport import destination

SEEDS = 2**31
"""A seed is below this."""


@dataclass(frozen=True)
class PreparedKind:
    """One kind of requests, checked and built."""

    workload: str | None
    """The name of its workload; None where the run has one."""
    spec: Spec
    """As if it were the only one."""
    arguments: Arguments
    """What plugins see of it."""
    dataset_class: type[DatasetPluginBase]
    feed: Feed

    @property
    def api(self) -> ApiPluginBase:
        """Its API plugin."""
        return self.feed.api

    def feed_again(self) -> Feed:
        """Another feed of the same requests."""
        return Feed(self.feed.all_arguments, partial(made, self.dataset_class), self.api, self.workload)

    def send_to(self, url: str) -> None:
        """Send its requests to the endpoint that is found at a URL."""
        self.arguments.url = type(self.api).redirect(type(self.api).complete_url(url, self.arguments), self.arguments)


def kinds_of(benchmark: PerfBenchmark, api_key: str | None, headers: Mapping[str, str]) -> list[PreparedKind]:
    """All kinds of a benchmark's requests, its plugins made, nothing drawn yet; raises REFUSALS."""
    found, spec = list[PreparedKind](), benchmark.spec
    for number, part in enumerate(spec.parts()):
        workload = spec.workloads[number].name if spec.workloads else None
        own = benchmark.model_copy(update={"spec": part})
        with told_of(workload):
            arguments = Arguments.from_benchmark(own, api_key=api_key, headers=dict(headers))
            if workload is not None:
                arguments.random_seed = seed_of(spec.load.random_seed, workload)
            found.append(_kind(part, arguments, workload))
    return found


def seed_of(seed: int | None, workload: str) -> int:
    """A workload's own seed, by its name: two of one dataset do not draw the same prompts."""
    return Random(f"{seed}/workload/{workload}").randrange(SEEDS)


def feed_of(benchmark: PerfBenchmark, kinds: Sequence[PreparedKind]) -> Requests:
    """The requests of all kinds in their order."""
    if not benchmark.spec.workloads:
        return kinds[0].feed
    weights = [workload.weight for workload in benchmark.spec.workloads]
    return MixedFeed([kind.feed for kind in kinds], Mix(weights, f"{benchmark.spec.load.random_seed}/mix"))


def _kind(spec: Spec, arguments: Arguments, workload: str | None) -> PreparedKind:
    api_class = _registered(ApiRegistry, arguments.api, "spec.target.api")
    dataset_class = _registered(DatasetRegistry, arguments.dataset, "spec.dataset.name")
    if arguments.url:
        check_url(arguments.url, {})
    arguments.url = api_class.complete_url(arguments.url or "http://127.0.0.1", arguments)
    if arguments.apply_chat_template is None:
        arguments.apply_chat_template = api_class.takes_chat(arguments.url)
    arguments.url = api_class.redirect(arguments.url, arguments)
    feed = Feed(arguments, partial(made, dataset_class), made(api_class, arguments), workload)
    if arguments.model is None and getattr(feed.dataset, "requires_model", True):
        raise SpecError(
            ["spec.target.model: missing; name the model as the endpoint serves it (GET /v1/models lists them)"]
        )
    return PreparedKind(workload, spec, arguments, dataset_class, feed)


def _registered(registry: PluginRegistry, name: str, field_name: str) -> type[Any]:
    """The plugin class of a name; raises PluginError that names the field."""
    try:
        return registry.get_class(name)
    except PluginError as error:
        raise PluginError(f"{field_name}: {error}") from None


def made(plugin_class: type[Any], arguments: Arguments) -> Any:
    """A plugin for these arguments; raises PluginError that names file and line when it cannot be made."""
    try:
        return plugin_class(arguments)
    except REFUSALS:
        raise
    except (Exception, SystemExit) as error:  # a plugin's own code: whatever it raised, we name the plugin
        if is_signal(error):
            raise
        raise PluginError(f"plugin {plugin_class.__name__}: {blame(plugin_class, error)}") from error


def check_url(url: str, headers: dict[str, str]) -> None:
    """Raise SpecError where nothing can be sent there, or with these headers."""
    try:
        destination(url, headers)
    except ValueError as error:
        field_name = "spec.target.headers (or apiKey)" if headers else "spec.target.url"
        raise SpecError([f"{field_name}: {error}"]) from None
