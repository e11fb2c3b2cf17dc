"""`perfbench explain`: type, unit, default and meaning of every field, read from the models."""

import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from perfbench_api.resource import Spec, SpecError, field_names, section_of
from perfbench_api.values import Unit, format_duration


def explain(path: str) -> str:
    """What a field such as `spec.load.stages.rate` means and contains; raises SpecError for an unknown one."""
    steps = tuple(step for step in re.sub(r"\[\d*\]", "", path).split(".") if step)
    if not steps or steps[0] != "spec":
        steps = ("spec", *steps)
    names = field_names(Spec, steps[1:-1]) if len(steps) > 1 else {}
    if len(steps) > 1 and steps[-1] not in names:
        known = ", ".join(names) or "none"
        raise SpecError([f"explain {path}: no such field; {'.'.join(steps[:-1])} has {known}"])
    lines = [_line(steps[-1], names[steps[-1]]).strip(), ""] if len(steps) > 1 else ["spec: what to measure", ""]
    inner = field_names(Spec, steps[1:])
    lines += [_line(name, field) for name, field in inner.items()]
    return "\n".join(lines).rstrip()


def _line(name: str, field: FieldInfo) -> str:
    return f"  {name} <{kind(field)}>{_default(field)}\n      {(field.description or '').replace(chr(10), ' ')}"


def kind(field: FieldInfo) -> str:
    """A field's type for people: its unit if it has one, its choices if there are any."""
    unit = next((item.name for item in field.metadata if isinstance(item, Unit)), None)
    text = _kind(field.annotation)
    return (
        text if unit is None or unit in text else f"{unit}" if unit in ("duration", "quantity") else f"{text}, {unit}"
    )


def _kind(annotation: Any) -> str:
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, Unit):
            return (
                item.name if item.name in ("duration", "quantity") else f"{_kind(annotation.__origin__)}, {item.name}"
            )
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(_kind(argument) for argument in arguments if argument is not NoneType))
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is list:
        return f"list of {_kind(arguments[0])}"
    if origin is dict:
        return "map"
    if hasattr(annotation, "__metadata__"):
        return _kind(annotation.__origin__)
    if section_of(annotation):
        return "section"
    names = {str: "text", int: "number", float: "number", bool: "true | false", dict: "map"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return " required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, list) and default and isinstance(default[0], BaseModel):
        items = (item.model_dump(by_alias=True, exclude_unset=True, mode="json") for item in default)
        return f" = [{', '.join('{' + ', '.join(f'{name}: {value}' for name, value in each.items()) + '}' for each in items)}]"
    if default in (None, PydanticUndefined, [], {}) or section_of(type(default)) or isinstance(default, list):
        return ""
    is_duration = any(isinstance(item, Unit) and item.name == "duration" for item in field.metadata)
    is_duration = is_duration or "duration" in _kind(field.annotation)
    return f" = {format_duration(default) if is_duration else default}"
