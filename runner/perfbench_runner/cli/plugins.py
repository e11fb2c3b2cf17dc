"""`perfbench plugins`: what there is, where it comes from, its options; try one out; begin one of your own."""

import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from perfbench_api.described import described
from perfbench_api.explain import kind as type_of
from perfbench_api.resource import SpecError
from perfbench_plugins.loading import load_entry_points, load_plugins
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, Entry, PluginError

REGISTRIES = (ApiRegistry, DatasetRegistry)
GIVEN_AS = {"API": "target.apiArgs, --api-args", "dataset": "dataset.args, --dataset-args"}


@dataclass(frozen=True)
class Option:
    """One of a plugin's own options."""

    name: str
    type: str
    default: Any
    """As JSON; None where it is required, or has none."""
    is_required: bool
    meaning: str

    @property
    def short(self) -> str:
        """Name, type and default in one line."""
        default = "" if self.default is None else f" = {json.dumps(self.default, ensure_ascii=False)}"
        return f"{self.name} <{self.type}>{' required' if self.is_required else default}"


@dataclass(frozen=True)
class Plugin:
    """A plugin class under all its names."""

    kind: str
    names: list[str]
    origin: str
    """built in, the package's name, or the file."""
    summary: str
    options: list[Option]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {**vars(self), "options": [vars(option) for option in self.options]}


def found_plugins() -> list[Plugin]:
    """All plugins that are registered, APIs first, in the order of their names."""
    return [plugin for registry in REGISTRIES for plugin in _by_class(registry.kind, registry.all_entries())]


def _by_class(kind: str, entries: Iterable[Entry]) -> list[Plugin]:
    names: dict[tuple[type[Any], str], list[str]] = {}
    for entry in entries:
        names.setdefault((entry.plugin, _origin(entry)), []).append(entry.name)
    return [
        Plugin(kind, own, origin, _first_line(plugin), options_of(getattr(plugin, "args_schema", None)))
        for (plugin, origin), own in names.items()
    ]


def _origin(entry: Entry) -> str:
    if entry.builtin:
        return "built in"
    return f"package {entry.package}" if entry.package else f"file {entry.origin}"


def _first_line(plugin: type[Any]) -> str:
    return (inspect.cleandoc(plugin.__doc__ or "").splitlines() or [""])[0]


def options_of(schema: type[BaseModel] | None) -> list[Option]:
    """The options that a plugin's model has, with type, default and meaning."""
    fields = described(schema) if schema else {}
    return [
        Option(
            field.alias or name,
            type_of(field).replace("section", "map"),
            _default(field.get_default(call_default_factory=True, validated_data={})),
            field.is_required(),
            " ".join((field.description or "").split()),
        )
        for name, field in fields.items()
    ]


def _default(value: Any) -> Any:
    return None if value is PydanticUndefined else to_jsonable_python(value, fallback=str)


def listing(plugins: Iterable[Plugin]) -> str:
    """A short list: names, origin, what it is, options without their meaning."""
    lines, kind = [], ""
    for plugin in plugins:
        if plugin.kind != kind:
            kind = plugin.kind
            lines += ["", f"{kind}s" if kind == "dataset" else "APIs"]
        lines.append(f"  {', '.join(plugin.names)}  [{plugin.origin}]")
        lines += [f"      {plugin.summary}"] if plugin.summary else []
        lines += [f"        {option.short}" for option in plugin.options]
    return "\n".join(lines[1:])


def details(plugin: Plugin) -> str:
    """All there is to say of one plugin."""
    lines = [f"{plugin.kind} {', '.join(plugin.names)}  [{plugin.origin}]", *([plugin.summary] * bool(plugin.summary))]
    if not plugin.options:
        return "\n".join([*lines, "", "It has no options of its own."])
    lines += ["", f"Options ({GIVEN_AS[plugin.kind]}):"]
    for option in plugin.options:
        lines += [f"  {option.short}", *([f"      {option.meaning}"] * bool(option.meaning))]
    return "\n".join(lines)


def _loading(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options that all of these commands have."""
    more = click.option(
        "--plugin", "sources", multiple=True, metavar="FILE|MODULE", help="Load a plugin of your own first."
    )
    return more(click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command))


def _load(sources: Iterable[str]) -> list[Plugin]:
    load_entry_points()
    load_plugins(sources)
    return found_plugins()


@click.group(name="plugins", invoke_without_command=True, short_help="List, try or begin plugins.")
@_loading
@click.pass_context
def plugins(context: click.Context, sources: tuple[str, ...], as_json: bool) -> None:
    """List APIs and datasets with their origin and options; try a plugin of your own, or begin one."""
    context.obj = sources
    if context.invoked_subcommand is None:
        _list(_load(sources), as_json)


@plugins.command(name="list")
@_loading
@click.pass_obj
def list_(earlier: tuple[str, ...], sources: tuple[str, ...], as_json: bool) -> None:
    """List APIs and datasets with their origin and options."""
    _list(_load((*earlier, *sources)), as_json)


def _list(found: list[Plugin], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([plugin.as_dict() for plugin in found], indent=2, ensure_ascii=False))
        return
    click.echo(listing(found))
    click.echo("\nperfbench plugins show NAME tells what the options mean.")


@plugins.command()
@click.argument("name")
@_loading
@click.pass_obj
def show(earlier: tuple[str, ...], name: str, sources: tuple[str, ...], as_json: bool) -> None:
    """Print what the options of plugin NAME mean; of both, where an API and a dataset have that name."""
    found = _load((*earlier, *sources))
    chosen = [plugin for plugin in found if name in plugin.names]
    if not chosen:
        near = get_close_matches(name, [one for plugin in found for one in plugin.names], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "perfbench plugins lists all"
        raise PluginError(f"there is no plugin {name!r}; {hint}")
    if as_json:
        click.echo(json.dumps([plugin.as_dict() for plugin in chosen], indent=2, ensure_ascii=False))
    else:
        click.echo("\n\n".join(map(details, chosen)))


def _json_object(_: click.Context, option: click.Parameter, text: str | None) -> dict[str, Any] | None:
    try:
        value = None if text is None else json.loads(text)
    except ValueError as error:
        raise SpecError([f"{option.opts[0]}: {text!r} is no JSON: {error}"]) from None
    if value is not None and not isinstance(value, dict):
        raise SpecError([f"{option.opts[0]}: {text!r} is no JSON object"])
    return value


@plugins.command()
@click.argument("source", metavar="FILE|MODULE")
@click.option("--dataset-path", help="The file or folder of its datasets.")
@click.option("--dataset-args", callback=_json_object, metavar="JSON", help="Options of its datasets.")
@click.option("--api-args", callback=_json_object, metavar="JSON", help="Options of its APIs.")
@click.option("--api", default="openai", show_default=True, help="The API by which its datasets are sent.")
@click.option("--dataset", default="openqa", show_default=True, help="The dataset that its APIs send.")
@click.option("--path", help="The path of its APIs on the mock or --url, where it is not their usual one.")
@click.option("--url", help="An endpoint to try it on instead of the bundled mock.")
@click.option("--model", default="mock", show_default=True, help="The model's name there.")
@click.option("--tokenizer-path", help="A tokenizer, where it needs one.")
def check(source: str, **given: Any) -> None:
    """Try all plugins of a file or module on the bundled mock, and say what is wrong.

    \b
    Exit codes: 0 nothing is wrong, 1 something is, 2 the command cannot be understood.
    """
    from perfbench_runner.cli import plugin_bench, plugin_check

    try:
        entries = plugin_check.plugins_of(source)
    except PluginError as error:
        _say("wrong", str(error))
        raise SystemExit(1) from None
    wrong = 0
    for title, findings in plugin_check.check(entries, plugin_bench.Options(**given)):
        click.echo(title)
        for finding in findings:
            _say(finding.state, finding.text)
            wrong += finding.state == "wrong"
    click.echo(f"{len(entries)} tried, {wrong or 'nothing'} wrong")
    raise SystemExit(1 if wrong else 0)


def _say(state: str, text: str) -> None:
    colour = {"ok": "green", "note": "yellow", "wrong": "red"}[state]
    click.echo(f"  {click.style(f'{state:<5}', fg=colour)}  {text}")


@plugins.command()
@click.argument("kind", type=click.Choice(["api", "dataset"]))
@click.argument("name")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=".", show_default=True, help="Where the files are written."
)
def new(kind: str, name: str, folder: Path) -> None:
    """Write a working start for an API or dataset NAME, and its test."""
    from perfbench_runner.cli.plugin_scaffold import write_start

    plugin, test = write_start(kind, name, folder)
    click.echo(f"{plugin}: the {kind}; try it with  perfbench plugins check {plugin}")
    click.echo(f"{test}: its test; run it with  pytest {test}")
