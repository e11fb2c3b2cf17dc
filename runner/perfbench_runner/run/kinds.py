"""The kinds of requests that a run sends: one, or of each target each workload, with what plugins see, and its feed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from random import Random
from typing import Any

from perfbench_api.resource import PerfBenchmark, Spec, SpecError
from perfbench_api.sections import Target
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame, is_signal
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, PluginError, PluginRegistry
from perfbench_runner.load.feed import REFUSALS, Feed
from perfbench_runner.load.mix import Mix, MixOfMixes
from perfbench_runner.load.mixed_feed import MixedFeed, told_of
from perfbench_runner.load.requests import Kind, Requests, whose
from perfbench_runner.run import disk
from perfbench_runner.shard.transport import destination

LISTEN = "PERFBENCH_RUNNERS_LISTEN"
"""HOST:PORT where a leader waits for workers that somebody else starts (`run.roles`); without it, it starts them itself."""
SEEDS = 2**31
"""A seed is below this."""


@dataclass(frozen=True)
class PreparedKind:
    """One kind of requests, checked and built."""

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

    @property
    def names(self) -> Kind:
        """Its workload and its target."""
        return self.feed.kinds[0]

    def feed_again(self) -> Feed:
        """Another feed of the same requests."""
        return Feed(self.feed.all_arguments, partial(made, self.dataset_class), *self.names)

    def send_to(self, url: str) -> None:
        """Send its requests to the endpoint that is found at a URL."""
        self.arguments.url = type(self.api).redirect(type(self.api).complete_url(url, self.arguments), self.arguments)


Secrets = Callable[[Target], tuple[str | None, Mapping[str, str]]]
"""A target's API key, and the headers that are sent to it."""


def kinds_of(benchmark: PerfBenchmark, secrets_of: Secrets) -> list[PreparedKind]:
    """All kinds of a benchmark's requests, its plugins made, nothing drawn yet; raises REFUSALS."""
    found, seed = list[PreparedKind](), benchmark.spec.load.random_seed
    for target, of_target in benchmark.spec.of_targets():
        for workload, part in of_target.of_workloads():
            own = benchmark.model_copy(update={"spec": part})
            with told_of(whose(target, workload)):
                api_key, headers = secrets_of(part.target)
                arguments = Arguments.from_benchmark(own, api_key=api_key, headers=dict(headers))
                if workload is not None:
                    arguments.random_seed = seed_of(seed, workload)
                found.append(_kind(part, arguments, workload, target))
    return found


def by_target(kinds: Sequence[PreparedKind]) -> list[list[PreparedKind]]:
    """Those of each target."""
    return [list(part) for _, part in groupby(kinds, lambda kind: kind.names.target)]


def of_own_rows(kinds: Sequence[PreparedKind]) -> list[PreparedKind]:
    """Without those that send another one's rows by the same API plugin, to another target."""
    return list({(kind.names.workload, type(kind.api)): kind for kind in reversed(kinds)}.values())


def longest(kinds: Sequence[PreparedKind]) -> float | None:
    """The longest that a request may take, seconds; None where there is no limit."""
    found = [kind.spec.target.total_timeout for kind in kinds]
    return None if None in found else max(filter(None, found))


def seed_of(seed: int | None, workload: str) -> int:
    """A workload's own seed, by its name: two of one dataset do not draw the same prompts."""
    return Random(f"{seed}/workload/{workload}").randrange(SEEDS)


def feed_of(benchmark: PerfBenchmark, kinds: Sequence[PreparedKind]) -> Requests:
    """The requests of all kinds in their order."""
    spec, seed = benchmark.spec, benchmark.spec.load.random_seed
    if len(kinds) == 1:
        return kinds[0].feed
    feeds = [kind.feed for kind in kinds]
    workloads = [Mix([each.weight for each in spec.workloads] or [1], f"{seed}/mix") for _ in spec.of_targets()]
    if not spec.targets:
        return MixedFeed(feeds, workloads[0])
    targets = Mix([each.weight for each in spec.targets], f"{seed}/targets")
    return MixedFeed(feeds, MixOfMixes(targets, workloads), spec.side_by_side)


def _kind(spec: Spec, arguments: Arguments, workload: str | None, target: str | None) -> PreparedKind:
    api_class = _registered(ApiRegistry, arguments.api, "spec.target.api")
    dataset_class = _registered(DatasetRegistry, arguments.dataset, "spec.dataset.name")
    if arguments.url:
        check_url(arguments.url, {})
    arguments.url = api_class.complete_url(arguments.url or "http://127.0.0.1", arguments)
    if arguments.apply_chat_template is None:
        arguments.apply_chat_template = api_class.takes_chat(arguments.url)
    arguments.url = api_class.redirect(arguments.url, arguments)
    feed = Feed(arguments, partial(made, dataset_class), made(api_class, arguments), workload, target)
    if arguments.model is None and getattr(feed.dataset, "requires_model", True):
        raise SpecError(
            ["spec.target.model: missing; name the model as the endpoint serves it (GET /v1/models lists them)"]
        )
    return PreparedKind(spec, arguments, dataset_class, feed)


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


def room_of(spec: Spec, kinds: Sequence[PreparedKind], env: Mapping[str, str]) -> disk.Room | None:
    """What the results take on the disk, at most: as if all requests were like the first one of the largest kind.

    Runners that somebody else starts have disks of their own.
    """
    shapes = (disk.shape_of(spec.results.messages, kind.arguments, len(kind.feed.first_bodies()[0])) for kind in kinds)
    return disk.estimate(spec, shapes, are_here=LISTEN not in env)
