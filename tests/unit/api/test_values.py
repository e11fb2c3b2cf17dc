"""Durations, limits and quantities: what people write, and that it comes back as it was."""

import math
from random import Random
from typing import Any

import pytest

from perfbench_api.values import format_duration, parse_duration, parse_limit, parse_share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("500ms", 0.5),
        ("1h30m", 5400.0),
        ("1.5m", 90.0),
        ("2d", 172_800.0),
        ("1m500ms", 60.5),
        ("0s", 0.0),
        ("45", 45.0),
        ("0.25", 0.25),
        (45, 45.0),
        (0.25, 0.25),
    ],
)
def test_durations_are_seconds(text: Any, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "30 s",
        "30sec",
        "-3s",
        "1,5s",
        "1.2.3s",
        "30s\n",
        "nan",
        "inf",
        -1,
        -0.1,
        math.nan,
        math.inf,
        True,
        None,
        ["30s"],
        {"s": 30},
    ],
)
def test_anything_else_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError, match=r"duration"):
        parse_duration(text)


def test_a_formatted_duration_reads_back_as_itself() -> None:
    random = Random(0)
    values = [0.0, 1e-9, 1e-6, 0.0005, 0.5, 1.0, 59.999, 60.0, 90.0, 3600.0, 5400.0, 86_400.0, 1e9, 123_456.789]
    values += [round(random.uniform(0, 10 ** random.randint(-4, 5)), random.randint(0, 7)) for _ in range(500)]
    for value in values:
        assert parse_duration(format_duration(value)) == pytest.approx(value, rel=1e-12, abs=1e-15), value


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "500ms"), (90, "90s"), (3600, "1h"), (120, "2m"), (0, "0s"), (0.0001, "0.1ms")]
)
def test_durations_are_written_as_people_write_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("500ms", 0.5), ("1%", 0.01), ("0.5%", 0.005), ("100%", 1.0), (0.01, 0.01), (250, 250.0), ("250", 250.0), (0, 0)],
)
def test_a_limit_is_a_duration_a_share_or_a_number(text: Any, value: float) -> None:
    assert parse_limit(text) == pytest.approx(value)


@pytest.mark.parametrize("value", [None, ["30s"], {"s": 30}])
def test_a_duration_is_text_or_a_number(value: Any) -> None:
    with pytest.raises(ValueError, match="a duration is text such as 30s"):
        parse_duration(value)


@pytest.mark.parametrize("text", ["%", "one%", "nan%", "fast", True, None, math.nan, [1]])
def test_anything_else_is_no_limit(text: Any) -> None:
    with pytest.raises(ValueError, match=r"share|duration|number"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("given", "share"), [("5%", 0.05), ("0.5%", 0.005), ("0.05", 0.05), (0.05, 0.05), (0, 0.0), (1, 1.0)]
)
def test_a_share_is_of_a_hundred_or_of_one(given: Any, share: float) -> None:
    assert parse_share(given) == pytest.approx(share)


@pytest.mark.parametrize("given", ["500ms", "5s", "x", "", "%", "-1%", "1e-3%", True, None, math.inf, math.nan, [1]])
def test_anything_else_is_no_share_nor_is_a_duration(given: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a share; write it as 1% or 0\.01"):
        parse_share(given)
