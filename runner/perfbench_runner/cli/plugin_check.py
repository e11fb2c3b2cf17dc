"""Try plugins out: what `perfbench plugins check` does and says.

Datasets are iterated and their items checked; APIs send a sample to the bundled mock, whose truth is known, through
the same engine as a run. What is wrong is told in words that say what to change.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from perfbench_plugins.loading import load_plugins
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, Entry, PluginError
from perfbench_runner.cli.api_check import check_api
from perfbench_runner.cli.dataset_check import check_dataset
from perfbench_runner.cli.plugin_bench import Bench, Finding, Options
from perfbench_runner.load.feed import REFUSALS
from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings

SETTINGS = MockSettings(ttft_s=0.02, itl_s=0.002)


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
            kind, check_it = ("API", check_api) if is_api else ("dataset", check_dataset)
            yield f"{kind} plugin {entry.name} ({entry.origin})", _guarded(check_it(entry, bench))


def _guarded(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Mistakes that the plugin, or we in its place, refuse to go on with."""
    try:
        yield from findings
    except REFUSALS as error:
        yield from (Finding("wrong", line) for line in str(error).splitlines())
