"""The window of a stage: that in which the load was as asked."""

from typing import Any

import numpy as np
import pytest

from perfbench_runner.results.windows import Span, StageTimes, Units, all_lanes_busy, window

OVERALL = Span(0.5, 99.0, "overall")
BY_COUNT = StageTimes(0.0, None, None)


def waves(lanes: int, count: int, latency_s: float, spread_s: float = 0.001) -> Units:
    """A closed loop of equal answers: lanes begin and end in step."""
    starts = np.array([(n // lanes) * latency_s + (n % lanes) * spread_s / lanes for n in range(count)])
    return Units(starts, starts + latency_s - 1e-6)  # a lane sends a moment after its last answer ended


def rate(units: Units, lanes: int) -> float:
    found = all_lanes_busy(units, lanes)
    assert found is not None
    start_s, end_s = found
    return float(Span(start_s, end_s, "all_lanes_busy").has(units.ends_s).sum()) / (end_s - start_s)


@pytest.mark.parametrize("latency_s", [0.05, 0.46, 10.0])
@pytest.mark.parametrize(
    ("lanes", "count"), [(1, 20), (3, 17), (5, 16), (8, 20), (8, 24), (8, 200), (20, 2000), (16, 50)]
)
def test_lanes_in_step_have_their_true_rate(lanes: int, count: int, latency_s: float) -> None:
    """Also where the last wave is not whole. One wave more or less, of 25, would be 4 %."""
    for spread_s in (0.0, 0.001, latency_s / 3):
        assert rate(waves(lanes, count, latency_s, spread_s), lanes) == pytest.approx(lanes / latency_s, rel=0.01)


@pytest.mark.parametrize(("lanes", "count"), [(1, 1), (2, 1), (8, 3), (8, 8), (8, 19)])
def test_without_a_whole_round_there_is_no_such_window(lanes: int, count: int) -> None:
    units = waves(lanes, count, 1.0)
    found = window(lanes, count, BY_COUNT, units, units.starts_s, OVERALL)
    assert (found.start_s, found.end_s, found.kind) == (OVERALL.start_s, OVERALL.end_s, "overall")
    are = "request is" if count == 1 else "requests are"
    assert f"{count} {are} too few to see {lanes} lanes busy" in found.reason


def test_the_tail_in_which_lanes_have_no_work_is_left_out() -> None:
    """Two lanes: one works on a long request while the other, after its last, has nothing."""
    units = Units(np.array([0.0, 0.0, 1.0, 2.0, 3.0]), np.array([1.0, 50.0, 2.0, 3.0, 4.0]))
    assert all_lanes_busy(units, 2) == (1.0, 3.0)


def test_a_lane_that_starts_late_is_waited_for() -> None:
    starts = np.array([0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5])
    found = all_lanes_busy(Units(starts, starts + 1.0), 2)
    assert found is not None
    assert found[0] >= 2.5


@pytest.mark.parametrize(
    ("lanes", "count", "times", "expected"),
    [
        (8, None, StageTimes(1.0, 13.0, None), (1.0, 13.0, "duration")),
        (None, None, StageTimes(1.0, 13.0, None), (1.0, 13.0, "duration")),
        (8, None, StageTimes(1.0, 13.0, 4.5), (1.0, 4.5, "duration")),
        (8, 1000, StageTimes(1.0, 13.0, None), (1.0, 13.0, "duration")),  # the deadline came first
        (None, 17, StageTimes(0.0, None, None), (0.0, 16.0, "schedule")),
        (None, 17, StageTimes(0.0, 100.0, None), (0.0, 16.0, "schedule")),  # the count came first
        (None, 17, StageTimes(0.0, None, 7.0), (0.0, 7.0, "schedule")),
        (1, 16, StageTimes(0.0, 100.0, None), (0.9, 14.9, "all_lanes_busy")),
        (8, None, StageTimes(1.0, 13.0, 0.5), (0.5, 99.0, "overall")),
        (None, 1, StageTimes(16.0, None, None), (0.5, 99.0, "overall")),
    ],
)
def test_which_window_a_stage_has(lanes: Any, count: Any, times: StageTimes, expected: Any) -> None:
    starts = np.arange(16.0)
    scheduled = np.append(starts, 16.0)  # one more that was never sent
    found = window(lanes, count, times, Units(starts, starts + 0.9), scheduled, OVERALL)
    assert (found.start_s, found.end_s, found.kind) == expected
    assert bool(found.reason) == (found.kind == "overall")


@pytest.mark.parametrize(
    ("kind", "expected"), [("duration", [True, True, True, False]), ("all_lanes_busy", [False, True, True, False])]
)
def test_a_window_that_begins_with_an_event_does_not_count_it(kind: Any, expected: list[bool]) -> None:
    assert Span(1.0, 3.0, kind).has(np.array([1.0, 2.0, 3.0, 3.1])).tolist() == expected
