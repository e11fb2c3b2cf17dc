"""Quantiles while a run goes on: within what they state, and those of several runners together are those of one."""

import math
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfbench_runner.observe.sketch import ERROR, HIGHEST_S, LOWEST_S, MOST_BUCKETS, Sketch, bucket_of, value_of

QUANTILES = (0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0)


@given(st.floats(LOWEST_S * 1.01, HIGHEST_S * 0.99))
def test_a_value_is_told_within_the_stated_error(value: float) -> None:
    assert abs(value_of(bucket_of(value)) / value - 1) <= ERROR + 1e-6


@given(st.floats(LOWEST_S * 1.01, HIGHEST_S * 0.99), st.floats(LOWEST_S * 1.01, HIGHEST_S * 0.99))
def test_buckets_are_in_the_order_of_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert bucket_of(low) <= bucket_of(high)


@pytest.mark.parametrize("runners", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("spread", [0.1, 1.5])
def test_quantiles_of_any_number_of_runners_are_those_of_all_values(runners: int, spread: float) -> None:
    random = Random(runners)
    values = [random.lognormvariate(-3, spread) for _ in range(5000)]
    parts = [Sketch() for _ in range(runners)]
    for number, value in enumerate(values):
        parts[number % runners].add((value,))
    whole = Sketch()
    for part in parts:
        whole.merge(Sketch(part.counts()))
    ordered = sorted(values)
    for share, found in zip(QUANTILES, whole.quantiles(*QUANTILES), strict=True):
        exact = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
        assert found == pytest.approx(exact, rel=ERROR * 1.001), share
    assert whole.count == len(values)
    assert whole.quantile(0.5) == next(whole.quantiles(0.5))


def test_of_nothing_there_are_no_quantiles() -> None:
    assert Sketch().quantile(0.5) is None
    assert list(Sketch().quantiles(0.5, 0.99)) == []
    assert Sketch().counts() == {}


def test_what_is_no_duration_is_left_out_and_extremes_are_bounded() -> None:
    sketch = Sketch()
    sketch.add([0.0, -0.0, 1e-30, 1e12, math.nan, math.inf, None, "x", -1.0, 0.25])  # type: ignore[list-item]  # as plugins may leave
    counts = sketch.counts()
    assert sum(counts.values()) == 5
    assert list(sketch.quantiles(0.0, 1.0)) == [pytest.approx(LOWEST_S, rel=0.01), pytest.approx(HIGHEST_S, rel=0.01)]
    every = Sketch(dict.fromkeys(range(2**16), 1))
    assert len(every.counts()) == MOST_BUCKETS


def test_a_bucket_is_the_upper_half_of_a_float32() -> None:
    for value in (1e-5, 0.02, 3.0, 999.0):
        (bits,) = struct.unpack(">I", struct.pack(">f", value))
        assert bucket_of(value) == bits >> 16
