"""Lengths and times that are drawn: fixed, uniform, normal, lognormal, or as often as seen in a file. No dataset itself."""

import json
from functools import cached_property
from itertools import accumulate
from math import exp, log, log1p, sqrt
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from perfbench_api.described import Described

NEEDS = {
    "fixed": ({"value"}, set()),
    "uniform": ({"min", "max"}, set()),
    "normal": ({"mean", "std"}, {"min", "max"}),
    "lognormal": ({"mean", "std"}, {"min", "max"}),
    "empirical": (set(), {"file", "values", "weights", "min", "max"}),
}
"""Fields that each distribution needs, and those that it may have."""
REDRAWS = 100


class NumberDistribution(Described):
    """A number that is drawn for each request. Short forms: a number is `fixed`, [min, max] is `uniform`."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    distribution: Literal["fixed", "uniform", "normal", "lognormal", "empirical"]
    """Kind: fixed (value), uniform (min, max), normal or lognormal (mean, std), empirical (file, or values and weights)."""
    value: float | None = Field(None, ge=0)
    """fixed: the number itself."""
    mean: float | None = Field(None, gt=0)
    """normal, lognormal: mean of the numbers (not of their logarithms)."""
    std: float | None = Field(None, ge=0)
    """normal, lognormal: standard deviation of the numbers (not of their logarithms)."""
    min: float | None = Field(None, ge=0)
    """Least number; one below is drawn again."""
    max: float | None = Field(None, ge=0)
    """Greatest number; one above is drawn again."""
    file: str | None = None
    """empirical: a JSON list, or a text file with a number a line, optionally with a comma and its weight."""
    values: list[float] | None = None
    """empirical: the numbers."""
    weights: list[float] | None = None
    """empirical: how often each of values is drawn, as a ratio; equally often if not given."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        needed, allowed = NEEDS[self.distribution]
        given = {name for name in self.model_fields_set - {"distribution"} if getattr(self, name) is not None}
        if missing := sorted(needed - given):
            raise ValueError(f"{self.distribution} needs {' and '.join(missing)}")
        if other := sorted(given - needed - allowed):
            raise ValueError(f"{' and '.join(other)} does not belong to {self.distribution}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is more than max {self.max:g}")
        if self.distribution == "empirical":
            self._fill_values()
        return self

    def _fill_values(self) -> None:
        if (self.file is None) == (self.values is None):
            raise ValueError("empirical needs either file or values")
        if self.file is not None:
            self.values, self.weights = _read(self.file)
        if not self.values:
            raise ValueError("empirical has no values")
        if self.weights is not None and (len(self.weights) != len(self.values) or sum(self.weights) <= 0):
            raise ValueError("weights must be as many as values, and not all 0")

    def draw(self, random: Random) -> float:
        """The next number, between min and max."""
        low, high = self.min or 0.0, self.max if self.max is not None else float("inf")
        for _ in range(REDRAWS):
            number = self._draw(random)
            if low <= number <= high:
                return number
        return min(max(number, low), high)

    def length(self, random: Random) -> int:
        """The next number as a length: a whole number, at least 1."""
        return max(1, round(self.draw(random)))

    def _draw(self, random: Random) -> float:
        if self.distribution == "fixed":
            return self.value or 0.0
        if self.distribution == "uniform":
            return _uniform(self.min or 0.0, self.max or 0.0, random)
        if self.distribution == "empirical":
            return random.choices(self.values or [0.0], cum_weights=self._cumulated)[0]
        mean, std = self.mean or 0.0, self.std or 0.0
        if self.distribution == "normal":
            return random.gauss(mean, std)
        variance = log1p((std / mean) ** 2)
        return exp(random.gauss(log(mean) - variance / 2, sqrt(variance)))

    @cached_property
    def _cumulated(self) -> list[float] | None:
        return list(accumulate(self.weights)) if self.weights else None


def _uniform(low: float, high: float, random: Random) -> float:
    """Uniform over whole numbers where both bounds are whole: rounding would draw the bounds half as often."""
    if low.is_integer() and high.is_integer():
        return random.randint(int(low), int(high))
    return random.uniform(low, high)


def _read(file: str) -> tuple[list[float], list[float] | None]:
    try:
        text = Path(file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read {file!r}: {error.strerror}") from None
    try:
        if text.startswith("["):
            return [float(number) for number in json.loads(text)], None
        pairs = [[float(part) for part in line.split(",")] for line in text.splitlines() if line.strip()]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs] if len(pairs[0]) > 1 else None
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{file!r} is no list of numbers: {error}") from None


def _from_short_form(value: Any) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"distribution": "fixed", "value": value}
    if isinstance(value, list) and len(value) == 2:
        return {"distribution": "uniform", "min": value[0], "max": value[1]}
    return value


Drawn = Annotated[NumberDistribution, BeforeValidator(_from_short_form)]
"""An option that is a NumberDistribution or one of its short forms."""
