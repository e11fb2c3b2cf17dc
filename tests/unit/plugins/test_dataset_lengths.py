"""Distributions that lengths are drawn from."""

from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from perfbench_plugins.datasets.lengths import Drawn, NumberDistribution

ADAPTER: TypeAdapter[NumberDistribution] = TypeAdapter(Drawn)


def numbers(value: Any, count: int = 4000) -> list[float]:
    random, distribution = Random(1), ADAPTER.validate_python(value)
    return [distribution.draw(random) for _ in range(count)]


def test_short_forms() -> None:
    assert set(numbers(7)) == {7}
    assert set(numbers([1, 3])) == {1, 2, 3}


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_mean_and_deviation_are_those_of_the_numbers_themselves(kind: str) -> None:
    found = numbers({"distribution": kind, "mean": 300, "std": 60})
    assert mean(found) == pytest.approx(300, rel=0.02)
    assert stdev(found) == pytest.approx(60, rel=0.1)


def test_bounds_are_kept_without_heaping_up_at_them() -> None:
    found = numbers({"distribution": "normal", "mean": 10, "std": 10, "min": 5, "max": 15})
    assert min(found) >= 5
    assert max(found) <= 15
    assert sum(number in (5, 15) for number in found) == 0


def test_empirical_numbers_come_from_a_file_with_weights(tmp_path: Path) -> None:
    file = tmp_path / "lengths.csv"
    file.write_text("10,3\n20,1\n")
    found = numbers({"distribution": "empirical", "file": str(file)})
    assert found.count(10) / len(found) == pytest.approx(0.75, abs=0.03)
    file.write_text("[1, 2, 2]")
    assert numbers({"distribution": "empirical", "file": str(file)}).count(2) > 2000
    assert set(numbers({"distribution": "empirical", "values": [4, 5]})) == {4, 5}


def test_a_length_is_at_least_one() -> None:
    assert ADAPTER.validate_python(0).length(Random(0)) == 1


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"distribution": "normal", "mean": 5}, "normal needs std"),
        ({"distribution": "fixed", "value": 5, "mean": 5}, "mean does not belong to fixed"),
        ([5, 2], "min 5 is more than max 2"),
        ({"distribution": "empirical"}, "needs either file or values"),
        ({"distribution": "empirical", "file": "/nowhere"}, "cannot read '/nowhere'"),
        ({"distribution": "empirical", "values": [1, 2], "weights": [1]}, "as many as values"),
    ],
)
def test_mistakes_are_told(value: Any, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        ADAPTER.validate_python(value)
