"""Flags of `perfbench run`, made from the fields of Arguments: their names are those of `evalscope perf`."""

import json
import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click

from perfbench_api.resource import SpecError
from perfbench_api.values import Unit
from perfbench_plugins.arguments import WITHOUT_EFFECT, Arguments

SHORT = {"number": "-n"}
NOT_FLAGS = ("outputs_dir",)
"""Declared by the command itself."""
TYPES = {int: click.INT, float: click.FLOAT, str: click.STRING}


def evalscope_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: add a flag for each field of Arguments, and hidden ones for what EvalScope has and we need not."""
    for name in WITHOUT_EFFECT:
        command = click.option(f"--{name.replace('_', '-')}", name, default=None, hidden=True)(command)
    for name in reversed(Arguments.model_fields):
        if name not in NOT_FLAGS:
            command = _option(name)(command)
    return command


def _option(name: str) -> Callable[..., Any]:
    field = Arguments.model_fields[name]
    kinds = _kinds(field.annotation)
    flag = f"--{name.replace('_', '-')}"
    text = (field.description or "").replace("\n", " ")
    unit = next((item.name for item in field.metadata if isinstance(item, Unit)), None)
    text = f"{text} [{unit}]" if unit and unit != "duration" else text
    if bool in kinds:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    names = [flag, *([SHORT[name]] if name in SHORT else []), name]
    if list in kinds or dict in kinds:
        return click.option(
            *names, default=None, multiple=list in kinds or dict in kinds, callback=_parse(kinds), help=text
        )
    kind = next((TYPES[kind] for kind in (str, int, float) if kind in kinds), click.STRING)
    return click.option(*names, default=None, type=click.STRING if unit == "duration" else kind, help=text)


def _kinds(annotation: Any) -> set[type]:
    """The plain types that a field may hold."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    if origin is Literal:
        return {str}
    plain = origin or annotation
    if isinstance(plain, type):
        return set() if plain is NoneType else {plain}
    return _kinds(get_args(annotation)[0])


def _parse(kinds: set[type]) -> Callable[..., Any]:
    def parse(context: click.Context, option: click.Parameter, value: Any) -> Any:
        if value in (None, ()):
            return None
        try:
            return _mapping(value) if dict in kinds else _list(value)
        except ValueError as error:
            raise SpecError([f"{option.opts[0]}: {error}"]) from None

    return parse


def _list(values: tuple[str, ...]) -> Any:
    """`--parallel 1 --parallel 8`, `--parallel 1,8`, or one JSON list."""
    items = [item for value in values for item in (_json(value) if value.startswith("[") else value.split(","))]
    plain = [_number(item) for item in items]
    return plain[0] if len(plain) == 1 else plain


def _number(text: Any) -> Any:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _mapping(value: Any) -> dict[str, Any]:
    """A JSON object, or `name=value`, several by spaces or commas."""
    text = " ".join(value) if isinstance(value, tuple) else value
    if text.lstrip().startswith("{"):
        found = _json(text)
        return dict(found)
    pairs = [pair.partition("=") for pair in text.replace(",", " ").split()]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(f"{text!r} is neither a JSON object nor name=value")
    return {name: text for name, _, text in pairs}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no JSON: {error}") from None


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
        return super().parse_args(ctx, spread(args, {name for option in options for name in option.opts}))


def spread(args: list[str], several: set[str]) -> list[str]:
    """`--parallel 1 8` -> `--parallel 1 --parallel 8`: values that are numbers or name=value belong to the flag before."""
    found: list[str] = []
    flag, count = "", 0
    for arg in args:
        is_value = re.fullmatch(r"-?\d+(\.\d+)?|[^-=][^=]*=.*", arg) is not None
        if flag and count and is_value:
            found += [flag, arg]
            continue
        if arg.startswith("-") and not is_value:
            flag, count = (arg if arg in several else ""), 0
        else:
            count += 1
        found.append(arg)
    return found
