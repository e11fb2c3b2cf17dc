"""Gaps by time: their figures are those of all of them, and steps that all sequences share count as what they are."""

import numpy as np
import pytest

from perfbench_runner.results.sliced_gaps import GapSlices, SlicedGaps


def sliced(gaps_us: "np.ndarray[tuple[int], np.dtype[np.int64]]", parts: int = 1) -> SlicedGaps:
    """Gaps that follow each other evenly over a minute, added in so many parts."""
    made = GapSlices(0.0, 60.0)
    ends_s = np.linspace(0.0, 60.0, len(gaps_us))
    for gaps, ends in zip(np.array_split(gaps_us, parts), np.array_split(ends_s, parts), strict=True):
        made.add(gaps, ends)
    return made.measured()


@pytest.mark.parametrize("parts", [1, 3, 16])
@pytest.mark.parametrize("scale", [1000, 3_000_000])
def test_quantiles_and_shares_are_those_of_all_gaps(parts: int, scale: int) -> None:
    gaps = np.random.default_rng(1).integers(1, scale, 5000)
    found = sliced(gaps, parts)
    assert found.count == 5000
    assert found.largest_s == gaps.max() / 1e6
    for p in (0.0, 0.5, 0.99, 1.0):
        assert found.quantile(p) == pytest.approx(np.quantile(gaps, p) / 1e6)
    at = float(np.sort(gaps)[3999]) / 1e6
    assert found.share_up_to(at).value == pytest.approx((gaps <= at * 1e6 + 0.5).mean())
    assert found.first_at(0.8) == pytest.approx(np.sort(gaps)[3999] / 1e6)
    assert found.first_above(0.8) == pytest.approx(np.sort(gaps)[4000] / 1e6)
    assert found.first_at(1.1) is None
    assert found.first_above(1.0) is None


def test_a_slow_spell_that_many_sequences_share_is_one_event() -> None:
    spell = np.full(10_000, 10_000)
    spell[3000:3500] = 50_000
    mixed = np.random.default_rng(1).permutation(spell)
    assert sliced(spell).share_up_to(0.02).design_effect > 50 * sliced(mixed).share_up_to(0.02).design_effect


def test_without_gaps_there_is_nothing() -> None:
    found = GapSlices(0.0, 0.0).measured()
    assert (found.count, found.quantile(0.5), found.largest_s, found.share_up_to(1.0).value) == (0, None, 0.0, 0.0)
    assert len(found.means()) == 0


def test_means_are_of_slices() -> None:
    gaps = np.repeat(np.arange(10, 20), 100)
    assert sliced(gaps).means() == pytest.approx(np.arange(10, 20) / 1e6, rel=0.01)
