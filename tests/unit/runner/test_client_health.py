"""The judgement of the client: thresholds, worst shard first, and a word for each."""

from typing import Any

import pytest

from perfbench_runner.results.client_health import COLUMNS, THRESHOLDS, figures, judge


def sample(shard: int = 0, interval_s: float = 0.5, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS, 0.0) | {"shard": shard, "interval_s": interval_s} | values


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold.name)
def test_each_figure_has_two_thresholds(threshold: Any) -> None:
    assert threshold.degraded < threshold.invalid
    for value, state in (
        (threshold.degraded, "valid"),
        (threshold.degraded * 1.01, "degraded"),
        (threshold.invalid, "degraded"),
        (threshold.invalid * 1.01, "invalid"),
    ):
        found, reasons = judge({threshold.name: value})
        assert found == state
        assert len(reasons) == (state != "valid")
        assert "{" not in "".join(reasons)


def test_the_worst_reason_comes_first() -> None:
    state, reasons = judge({"loop_lag_mean_s": 0.005, "cpu_share": 0.99})
    assert state == "invalid"
    assert [reason.split()[0] for reason in reasons] == ["a", "event"]
    assert "99 % of a CPU" in reasons[0]


def test_nothing_known_is_nothing_wrong() -> None:
    assert judge(figures([], [])) == ("valid", [])


def test_shares_are_of_the_worst_shard_weighted_by_time() -> None:
    rows = [
        sample(0, 0.5, cpu_share=0.2),
        sample(1, 0.5, cpu_share=1.0),
        sample(1, 1.5, cpu_share=0.2, gc_pause_s=0.2, throttled_s=0.1),
    ]
    found = figures(rows, [])
    assert found["cpu_share"] == pytest.approx(0.4)
    assert found["gc_share"] == pytest.approx(0.1)
    assert found["throttled_share"] == pytest.approx(0.05)


def test_lags_are_of_all_requests() -> None:
    found = figures([], [0.001] * 98 + [0.3] * 2)
    assert found["dispatch_lag_mean_s"] == pytest.approx(0.00698)
    assert found["dispatch_lag_p99_s"] == 0.3
    assert judge(found)[0] == "invalid"
