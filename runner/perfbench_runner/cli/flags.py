"""Flags of `perfbench run`, made from the fields of Arguments: their names are those of `evalscope perf`."""

import json
import re
from collections.abc import Callable, Collection
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from perfbench_api.described import described
from perfbench_api.resource import SpecError
from perfbench_api.values import Unit, format_duration
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.foreign import FOLDED, REFUSED, WITHOUT_EFFECT

SHORT = {"number": "-n"}
NOT_FLAGS = ("outputs_dir",)
"""Declared by the command itself."""
TYPES = {int: click.INT, float: click.FLOAT, str: click.STRING}
SWITCHES = ("enable_progress_tracker", "enable_pd_metrics", "sla_auto_tune")
"""EvalScope's flags without a value, of those that are no fields of Arguments."""


def evalscope_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: add a flag for each field of Arguments, and hidden ones for what EvalScope has and we have not."""
    for name in (*WITHOUT_EFFECT, *FOLDED, *REFUSED):
        refuse = _refuse if name in REFUSED else None
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            is_flag=name in SWITCHES,
            default=None,
            hidden=True,
            callback=refuse,
            expose_value=not refuse,
        )
        command = option(command)
    for name in reversed(Arguments.model_fields):
        if name not in NOT_FLAGS:
            command = _option(name)(command)
    return command


def _refuse(context: click.Context, option: click.Parameter, value: Any) -> None:
    if value is not None:
        raise SpecError([f"{option.opts[0]}: {REFUSED[str(option.name)]}"])


def _option(name: str) -> Callable[..., Any]:
    field = Arguments.model_fields[name]
    kinds = _kinds(field.annotation)
    flag = f"--{name.replace('_', '-')}"
    unit = _unit(field)
    if bool in kinds:
        both = flag if name.startswith("no_") else f"{flag}/--no-{flag[2:]}"  # nobody says --no-no-timestamp
        return click.option(both, name, cls=Flag, is_flag=True, default=None)
    names = [flag, *([SHORT[name]] if name in SHORT else []), name]
    if list in kinds or dict in kinds:
        return click.option(
            *names,
            cls=Several,
            default=None,
            multiple=True,
            callback=_parse(name, kinds),
            is_text=_is_text(name),
            metavar="NAME=VALUE…" if dict in kinds else "TEXT…" if _is_text(name) else "VALUE…",
        )
    kind = next((TYPES[kind] for kind in (str, int, float) if kind in kinds), click.STRING)
    return click.option(*names, cls=Flag, default=None, type=click.STRING if unit == "duration" else kind)


def _unit(field: FieldInfo) -> str | None:
    """The unit of a field, or of the values of an optional one."""
    inner = [item for part in get_args(field.annotation) for item in getattr(part, "__metadata__", ())]
    return next((item.name for item in (*field.metadata, *inner) if isinstance(item, Unit)), None)


def _default(field: FieldInfo, unit: str | None) -> str:
    """What the command does where the flag is not given, for its help."""
    default = field.default
    if default is None or default == "" or default == {} or default is False:
        return ""
    shown = (
        format_duration(default)
        if unit == "duration"
        else "yes"
        if default is True
        else f"{default:g}"
        if isinstance(default, float)
        else default
    )
    return f"  [default: {shown}]"


def _help(name: str) -> str:
    field = described(Arguments)[name]
    unit = _unit(field)
    text = (field.description or "").replace("\n", " ")
    text = (f"{text} [{unit}]" if unit and unit != "duration" else text) + _default(field, unit)
    return f"{text} {MAP_FORMS}" if dict in _kinds(field.annotation) else text


class Flag(click.Option):
    """An option for a field of Arguments, whose description is looked up when somebody asks for help."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """What `--help` says of it."""
        self.help = _help(str(self.name))
        return super().get_help_record(ctx)


class Several(Flag):
    """An option of several values; `is_text` when they are texts, which may look like anything."""

    def __init__(self, *names: Any, is_text: bool = False, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.is_text = is_text


def _is_text(name: str) -> bool:
    """Whether the items of a list, or the values of a map, are texts."""
    annotation = Arguments.model_fields[name].annotation
    choices = [annotation, *get_args(annotation)]  # `list[str] | None` and the like
    return any(get_args(choice)[-1:] == (str,) for choice in choices if get_origin(choice) in (list, dict))


def _kinds(annotation: Any) -> set[type]:
    """The plain types that a field may hold."""
    if hasattr(annotation, "__metadata__"):
        return _kinds(annotation.__origin__)
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    if origin is Literal:
        return {str}
    plain = origin or annotation
    if isinstance(plain, type):
        return set() if plain is NoneType else {plain}
    return _kinds(get_args(annotation)[0])


def _parse(name: str, kinds: set[type]) -> Callable[..., Any]:
    read = _mapping if dict in kinds else _list

    def parse(context: click.Context, option: click.Parameter, value: Any) -> Any:
        if value in (None, ()):
            return None
        try:
            found = read(value, _is_text(name))
            return found if isinstance(found, (list, dict)) or kinds - {list} else [found]
        except ValueError as error:
            raise SpecError([f"{option.opts[0]}: {error}"]) from None

    return parse


def _list(values: tuple[str, ...], is_text: bool) -> Any:
    """`--parallel 1 --parallel 8`, `--parallel 1,8`, or one JSON list; texts are taken as they are."""
    if len(values) == 1 and values[0].startswith("["):
        return _json(values[0])
    if is_text:
        return list(values)
    plain = [_value(item) for value in values for item in value.split(",")]
    return plain[0] if len(plain) == 1 else plain


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _mapping(values: tuple[str, ...], is_text: bool) -> dict[str, Any]:
    """One JSON object, or `name=value` as often as there are names; values are read as JSON where they are JSON, else as text."""
    if values[0].lstrip().startswith("{"):
        return dict(_json(" ".join(values)))
    pairs = [_pair(value) for value in values]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(f"{' '.join(values)[:200]!r} is neither a JSON object nor name=value nor 'Name: value'")
    return {name: text if is_text else _value(text) for name, _, text in pairs}


MAP_FORMS = "Takes name=value or 'Name: value', several of them, or one JSON object."
HEADER = r"[A-Za-z0-9_.-]+:(?!//)"
"""How a header begins as curl takes it: `Name: value`."""


def _pair(text: str) -> tuple[str, str, str]:
    """Name, separator and value of `name=value` or of curl's `Name: value`."""
    if re.match(HEADER, text):
        name, colon, value = text.partition(":")
        return name, colon, value.strip()
    return text.partition("=")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{text[:200]!r} is no JSON: {error}") from None


def arguments_of(flags: dict[str, Any]) -> Arguments:
    """Arguments from flags that were given."""
    try:
        return Arguments(**flags)
    except SpecError as error:
        raise SpecError([_by_flag(problem) for problem in error.problems]) from None


def _by_flag(problem: str) -> str:
    field, colon, rest = problem.partition(":")
    return f"--{field.replace('_', '-')}{colon}{rest}" if field in Arguments.model_fields else problem


class FlagsCommand(click.Command):
    """A command whose flags take several values after one name, as `evalscope perf --parallel 1 8 64` does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Spread the values over repeated flags, then parse as usual."""
        options = [option for option in self.params if isinstance(option, click.Option) and option.multiple]
        several = {name: option for option in options for name in option.opts}
        texts = {name for name, option in several.items() if isinstance(option, Several) and option.is_text}
        return super().parse_args(ctx, spread(args, set(several), texts))


def spread(args: list[str], several: set[str], texts: Collection[str] = ()) -> list[str]:
    """`--parallel 1 8` -> `--parallel 1 --parallel 8`: values that are numbers or name=value belong to the flag before.

    So does anything up to the next flag after one of `texts`.
    """
    found: list[str] = []
    flag, count = "", 0
    for arg in args:
        is_value = re.fullmatch(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[^-=][^=]*=.*", arg) is not None
        is_value = is_value or (flag in several and re.match(HEADER, arg) is not None)
        is_value = is_value or (flag in texts and not arg.startswith("-"))
        if flag and count and is_value:
            found += [flag, arg]
            continue
        if arg.startswith("-") and not is_value:
            flag, count = (arg if arg in several else ""), 0
        else:
            count += 1
        found.append(arg)
    return found
