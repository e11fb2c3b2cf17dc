"""The client's error against the mock's truth: what can be compared, and what is said where nothing can."""

import numpy as np
import pytest

from perfbench_runner.cli.progress import console
from perfbench_runner.cli.table import show_calibration
from perfbench_runner.mock.stats import Durations
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.run.calibrate import Calibration, Ceiling, Error, StageError, compare

NOTHING = {"n": 0, "mean": 0.0, "p50": 0.0, "p99": 0.0}
UNKNOWN = Error(mean=None, p50=None, p99=None)


def test_the_error_is_the_clients_figure_minus_the_truth() -> None:
    error, reason = compare(distribution([0.051, 0.053]), {"n": 2, "mean": 51, "p50": 51, "p99": 52}, "first token")
    assert (error.mean, error.p50, error.p99) == pytest.approx((1.0, 1.0, 0.98))
    assert not reason


@pytest.mark.parametrize(
    ("known_s", "bounds_s", "truth", "why"),
    [
        ([], [], NOTHING, "no request had a first token"),
        ([], [31.0], NOTHING, "1 of 1 requests were cut off before their first token"),
        ([0.05], [31.0, 31.0], {"n": 1, "mean": 50, "p50": 50, "p99": 50}, "2 of 3 requests were cut off"),
        ([0.05], [], NOTHING, "no request had a first token"),
        ([], [], {"n": 1, "mean": 50, "p50": 50, "p99": 50}, "no request had a first token"),
    ],
)
def test_where_nothing_can_be_compared_no_error_is_claimed(
    known_s: list[float], bounds_s: list[float], truth: dict[str, float], why: str
) -> None:
    error, reason = compare(distribution(known_s, np.array(bounds_s)), truth, "first token")
    assert error == UNKNOWN
    assert reason.startswith(why)


def test_the_table_says_why_an_error_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    stage = StageError(
        name="c1",
        requests=3,
        ttft_ms=Error(mean=0.1, p50=0.1, p99=0.2),
        itl_ms=UNKNOWN,
        unknown={"itl_ms": "no request had a second token"},
        client="valid",
        mock_lateness_ms={"p99": 0.1},
    )
    ceiling = Ceiling(requests_per_s=1, events_per_s=1, streams=1, is_lower_bound=False)
    show_calibration(console(), Calibration(ttft_ms=50, itl_ms=10, output_tokens=1, stages=[stage], ceiling=ceiling))
    said = capsys.readouterr().out
    assert "c1: the error of ITL is not known: no request had a second token" in said
    assert "+0.00" not in said


@pytest.mark.parametrize("values", [[0.05], [0.05, 0.051], [0.05, 0.051, 0.09], [0.01] * 5 + [0.5], [0.02] * 16])
def test_a_distribution_has_the_quantiles_of_a_client(values: list[float]) -> None:
    truth = Durations()
    for value in values:
        truth.add(value)
    figures = distribution(values)
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)):
        assert truth.quantile(share) == pytest.approx(getattr(figures, name), abs=1e-5), name
