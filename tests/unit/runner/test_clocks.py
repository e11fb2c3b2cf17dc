"""Clocks of several hosts: the estimate is within its stated bound, on quiet and on busy networks."""

from random import Random

import pytest

from perfbench_runner.runners.clocks import ClockLine, Exchange, clock_line


def exchanges(
    random: Random, offset_s: float, drift: float, times_s: list[float], there_s: float, back_s: float, queue_s: float
) -> list[Exchange]:
    """Exchanges with a leader whose clock is `offset_s + drift * t` ahead at time t of the runner's."""
    found = []
    for asked_s in times_s:
        there = there_s + random.expovariate(1 / queue_s) if queue_s else there_s
        back = back_s + random.expovariate(1 / queue_s) if queue_s else back_s

        def leader(own_s: float) -> float:
            return own_s + offset_s + drift * own_s

        received = asked_s + there
        found.append(Exchange(asked_s, leader(received), leader(received + 1e-4), received + 1e-4 + back))
    return found


def test_one_exchange_gives_offset_and_bound() -> None:
    exchange = Exchange(100.0, 205.1, 205.2, 100.4)
    assert exchange.offset_s == pytest.approx(104.95)
    assert exchange.delay_s == pytest.approx(0.3)
    line = clock_line([exchange])
    assert (line.offset_s, line.bound_s, line.drift) == (exchange.offset_s, exchange.delay_s / 2, 0.0)


@pytest.mark.parametrize("drift", [0.0, 20e-6, -50e-6])
@pytest.mark.parametrize(
    ("there_s", "back_s", "queue_s"),
    [(1e-4, 1e-4, 0.0), (1e-4, 1e-4, 1e-4), (1e-4, 1e-4, 5e-3), (18e-3, 12e-3, 1e-3)],
)
@pytest.mark.parametrize("length_s", [1.0, 25.0, 90.0, 600.0])
def test_no_time_is_off_by_more_than_the_bound(
    drift: float, there_s: float, back_s: float, queue_s: float, length_s: float
) -> None:
    random = Random(f"{drift}/{queue_s}/{length_s}")
    begin_s = 5000.0
    burst = [begin_s + 0.02 * number for number in range(32)]
    times_s = [
        *burst,
        *(begin_s + 1 + number for number in range(int(length_s))),
        *(begin_s + length_s + 0.02 * number for number in range(32)),
    ]
    line = clock_line(exchanges(random, 123.0, drift, times_s, there_s, back_s, queue_s))
    # What a run shorter than 10 s cannot tell of the drift is less than what it is in that time.
    allowed_s = line.bound_s + line.residual_s + (abs(drift) * length_s if not line.drift else 0.0) + 1e-9
    for own_s in (begin_s, begin_s + length_s / 2, begin_s + length_s):
        assert abs(line.to_leader(own_s) - (own_s + 123.0 + drift * own_s)) <= allowed_s
        assert line.to_own(line.to_leader(own_s)) == pytest.approx(own_s, abs=1e-9)


def test_the_least_delay_wins_however_many_are_late() -> None:
    random = Random(3)
    late = [Exchange(t, t + 50 + random.uniform(0.5, 2), t + 50 + 2, t + 2.1) for t in range(20)]
    good = Exchange(9.5, 59.5001, 59.5001, 9.5002)
    assert clock_line([*late, good]).offset_s == pytest.approx(50.0)
    assert clock_line([*late, good]).bound_s == pytest.approx(1e-4)


def test_drift_is_found_over_minutes_and_not_claimed_over_seconds() -> None:
    def at(times_s: list[float]) -> ClockLine:
        return clock_line(exchanges(Random(1), 7.0, 40e-6, times_s, 1e-4, 1e-4, 1e-5))

    assert at([100.0 + t for t in range(300)]).drift == pytest.approx(40e-6, rel=0.05)
    assert at([100.0 + t for t in range(5)]).drift == 0.0


@pytest.mark.parametrize("late_s", [0.8, -0.8])
def test_delays_on_a_busy_host_are_not_taken_for_drift(late_s: float) -> None:
    """A busy leader answers each of a worker's first questions late; the hand-over was refused for a clock that runs away."""
    slow = [Exchange(20.0 + t, 120.4 + t + late_s / 2, 120.4 + t + late_s / 2, 20.8 + t) for t in (0.0, 1.0)]
    quick = [Exchange(t, 100.001 + t, 100.001 + t, t + 0.002) for t in (31.0, 32.0)]
    line = clock_line([*slow, *quick])
    assert line.drift == 0.0
    assert line.shift_s(31.0) == pytest.approx(100.0)
    assert line.bound_s == pytest.approx(0.001)


def test_what_was_never_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="never compared"):
        clock_line([])
    with pytest.raises(ValueError, match="never compared"):
        clock_line([Exchange(1.0, 5.0, 9.0, 1.5)])
