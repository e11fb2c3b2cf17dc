"""The types of a manifest's values (durations, quantities, limits) and the base class of every section.

Inside, a duration is a float of seconds; in YAML it is text such as `500ms`, `30s`, `1h30m`, or a whole number of seconds.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from perfbench_api.described import Described


class Section(Described):
    """A part of the manifest: camelCase in YAML, snake_case in Python; unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        extra="forbid",
        allow_inf_nan=False,
        defer_build=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, data: Any) -> Any:
        """`yes` and `true` of YAML are not 1, which pydantic takes them for, and an API server refuses them.

        One look at all fields: a validator of each would take longer to build than all the rest of a section.
        """
        truths = [key for key, value in data.items() if isinstance(value, bool)] if isinstance(data, dict) else []
        wrong = {key: Truth(str(data[key]).lower()) for key in truths if key in _numbers(cls)}
        return {**data, **wrong} if wrong else data


class Truth(str):
    """What stands in for a truth value where a number belongs, so that it is refused; as YAML has it."""

    __slots__ = ()


@cache
def _numbers(section: type[Section]) -> frozenset[str]:
    """Names and aliases of the fields that take numbers."""
    fields = section.model_fields.items()
    return frozenset(
        key for name, field in fields if _is_number(field.annotation) for key in (name, field.alias or name)
    )


def _is_number(annotation: Any) -> bool:
    """Whether a field takes numbers, alone or as one of several types, and neither truth values nor anything at all."""
    types = _plain_types(annotation)
    return not types.isdisjoint((int, float)) and types.isdisjoint((bool, Any))


def _plain_types(annotation: Any) -> set[Any]:
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType, Annotated) else ()
    return set().union(*map(_plain_types, members)) if members else {annotation}


@dataclass(frozen=True)
class Unit:
    """The unit of a number, for people: `perfbench explain` prints it."""

    name: str


@dataclass(frozen=True, eq=False)
class Schema:
    """Replaces the JSON schema that pydantic would derive."""

    schema: dict[str, Any]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return dict(self.schema)


MOST_AT_A_TIME = 1_000_000
"""Requests in flight: more take more memory and ports than any client has, and are a slip of the hand."""
UNIT_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$"


def parse_duration(value: Any) -> Any:
    """Seconds of `30s`, `1h30m`, `500ms` or a plain number; anything else raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a duration is text such as 30s, 5m or 500ms")
    if isinstance(value, str):
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            return float(value)
        if not re.fullmatch(DURATION, value):
            raise ValueError(f"{value!r} is not a duration; write it as 30s, 5m, 1h30m or 500ms")
        return sum(float(number) * UNIT_S[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h|d)", value))
    if value < 0 or not math.isfinite(value):
        raise ValueError("a duration cannot be negative or infinite")
    return float(value)


def check_quantity(text: str) -> str:
    """A quantity as Kubernetes writes it; anything else raises ValueError."""
    if not re.fullmatch(QUANTITY, text):
        raise ValueError(f"{text!r} is no quantity; write it as 10Gi or 500M")
    return text


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back: 0.5 -> 500ms, 90 -> 90s, 3600 -> 1h."""
    for unit in ("h", "m"):
        if seconds and seconds % UNIT_S[unit] == 0:
            return f"{seconds / UNIT_S[unit]:.0f}{unit}"
    if seconds == int(seconds):
        return f"{seconds:.0f}s"
    return f"{seconds * 1e3:.12f}".rstrip("0").rstrip(".") + "ms"


def parse_share(value: Any) -> float:
    """A share of 1, of `5%` or a plain number; anything else raises ValueError, a duration too."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(\.[0-9]+)?%?", value):
        return float(value[:-1]) / 100 if value.endswith("%") else float(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"{value!r} is not a share; write it as 1% or 0.01")


def parse_limit(value: Any) -> Any:
    """An objective's bound: a duration (`500ms`), a share (`1%`) or a plain number; seconds, a share of 1, or unchanged."""
    if isinstance(value, str) and value.endswith("%"):
        return parse_share(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number to compare with")
        return float(value)
    return parse_duration(value)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    Schema(
        {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, "pattern": DURATION}
    ),
    Unit("duration"),
]
Quantity = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else value),
    AfterValidator(check_quantity),
    Schema(
        {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True, "pattern": QUANTITY}
    ),
    Unit("quantity"),
]
Limit = Annotated[
    float,
    BeforeValidator(parse_limit),
    Schema({"x-kubernetes-preserve-unknown-fields": True}),
    Unit("duration or number"),
]
Share = Annotated[
    float,
    BeforeValidator(parse_share),
    Schema({"x-kubernetes-preserve-unknown-fields": True}),
    Unit("share"),
]
Tokens = Annotated[int, Unit("tokens")]
Free = Annotated[dict[str, Any], Schema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
