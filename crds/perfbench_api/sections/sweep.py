"""Stages written short: one entry with several values of `concurrency` or `rate` is one stage for each of them."""

from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from perfbench_api.values import Section

SWEPT = ("concurrency", "rate")


class Spread(Section):
    """Values from one to another: evenly, or each as many times the one before it."""

    start: float = Field(alias="from", gt=0)
    """The first."""
    to: float = Field(gt=0)
    """The last."""
    steps: int = Field(ge=2, le=64)
    """How many."""
    scale: Literal["linear", "log"] = "linear"
    """Equal differences, or equal ratios."""

    @model_validator(mode="after")
    def _has_a_length(self) -> Self:
        if self.start == self.to:
            raise ValueError(f"from and to are both {self.to:g}")
        return self

    def values(self) -> list[float]:
        """All of them, in four digits."""
        shares = [number / (self.steps - 1) for number in range(self.steps)]
        if self.scale == "log":
            found = [self.start * (self.to / self.start) ** share for share in shares]
        else:
            found = [self.start + (self.to - self.start) * share for share in shares]
        return [float(f"{value:.4g}") for value in found]


def expanded(entry: Any, place: str) -> list[Any]:
    """The stages that an entry of `stages` stands for: itself, unless it has several values; raises ValueError."""
    swept = [name for name in SWEPT if isinstance(entry, dict) and isinstance(entry.get(name), (list, dict))]
    if not swept:
        return [entry]
    if len(swept) > 1:
        raise ValueError(f"{place}: {' and '.join(swept)} exclude each other; give one of them")
    (name,) = swept
    stages = []
    for value in _values(entry[name], name, f"{place}.{name}"):
        title = entry.get("name")
        named = {} if title is None else {"name": f"{title}-{name[0]}{value:g}"}
        stages.append({**entry, name: value, **named})
    return stages


def _values(given: Any, name: str, place: str) -> list[Any]:
    if isinstance(given, list):
        if not given:
            raise ValueError(f"{place}: an empty list; give one value or several")
        if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
            raise ValueError(f"{place}: {given} has a value that is no number")
        return given
    try:
        values = Spread.model_validate(given, by_alias=True, by_name=False).values()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = "".join(f".{part}" for part in first["loc"])
        raise ValueError(
            f"{place}{where}: {_in_words(first)}; write {{from: 1, to: 32, steps: 6, scale: log}}"
        ) from None
    return list(dict.fromkeys(round(value) for value in values)) if name == "concurrency" else values


def _in_words(error: Any) -> str:
    text = str(error["msg"]).removeprefix("Value error, ")
    return "unknown field" if error["type"] == "extra_forbidden" else text[0].lower() + text[1:]
