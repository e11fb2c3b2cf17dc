"""DeadlineTimer: never early, seldom late, one deadline at a time."""

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from perfbench_runner.timer import DeadlineTimer

Make = Callable[[Callable[[], object]], DeadlineTimer]
Run = Callable[[Callable[[Make], Coroutine[Any, Any, None]]], None]

pytestmark = pytest.mark.alone

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=[(loop, precise) for loop in LOOPS for precise in (True, False)])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs `scenario(make_timer)` in each loop, with a timerfd and without."""
    factory, precise = request.param

    def make(callback: Callable[[], object]) -> DeadlineTimer:
        return DeadlineTimer(asyncio.get_running_loop(), callback, precise=precise)

    def run(scenario: Callable[[Make], Coroutine[Any, Any, None]]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(scenario(make))

    return run


async def fires(make: Make, at_s: float) -> list[float]:
    """When a timer armed for then fired, over the next 50 ms."""
    times: list[float] = []
    timer = make(lambda: times.append(time.monotonic()))
    timer.arm(at_s)
    await asyncio.sleep(max(at_s - time.monotonic(), 0) + 0.05)
    timer.close()
    return times


def test_fires_once_and_never_early(run: Run) -> None:
    async def scenario(make: Make) -> None:
        at_s = time.monotonic() + 0.0107
        times = await fires(make, at_s)
        assert len(times) == 1
        assert times[0] >= at_s

    run(scenario)


def test_a_deadline_in_the_past_fires_at_once(run: Run) -> None:
    async def scenario(make: Make) -> None:
        assert len(await fires(make, time.monotonic() - 5)) == 1
        assert len(await fires(make, 0.0)) == 1

    run(scenario)


def test_arming_again_moves_the_deadline(run: Run) -> None:
    async def scenario(make: Make) -> None:
        times: list[float] = []
        timer = make(lambda: times.append(time.monotonic()))
        start = time.monotonic()
        timer.arm(start + 0.01)
        timer.arm(start + 0.04)
        await asyncio.sleep(0.08)
        timer.close()
        assert len(times) == 1
        assert times[0] >= start + 0.04

    run(scenario)


def test_disarmed_or_closed_it_does_not_fire(run: Run) -> None:
    async def scenario(make: Make) -> None:
        times: list[float] = []
        disarmed, closed = (make(lambda: times.append(time.monotonic())) for _ in range(2))
        for timer in (disarmed, closed):
            timer.arm(time.monotonic() + 0.01)
        disarmed.disarm()
        closed.close()
        closed.close()
        closed.arm(time.monotonic())
        await asyncio.sleep(0.03)
        disarmed.close()
        assert times == []

    run(scenario)


def test_its_callback_can_arm_it_for_a_steady_beat(run: Run) -> None:
    async def scenario(make: Make) -> None:
        start, beats = time.monotonic(), []

        def beat() -> None:
            beats.append(time.monotonic())
            if len(beats) < 20:
                timer.arm(start + 0.0033 * (len(beats) + 1))

        timer = make(beat)
        timer.arm(start + 0.0033)
        await asyncio.sleep(0.0033 * 20 + 0.1)
        timer.close()
        late = [at - (start + 0.0033 * (k + 1)) for k, at in enumerate(beats)]
        assert len(beats) == 20
        assert min(late) >= 0
        assert statistics.median(late) < 0.005

    run(scenario)


def test_an_error_in_the_callback_does_not_make_the_loop_spin(run: Run) -> None:
    async def scenario(make: Make) -> None:
        calls: list[float] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)

        def fail() -> None:
            calls.append(time.monotonic())
            raise ValueError("a callback's bug")

        timer = make(fail)
        timer.arm(time.monotonic())
        await asyncio.sleep(0.03)
        timer.close()
        assert len(calls) == 1

    run(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is Linux")
def test_it_is_precise_on_linux() -> None:
    async def scenario() -> list[float]:
        late: list[float] = []
        fired = asyncio.Event()

        def note() -> None:
            late.append(time.monotonic() - at_s)
            fired.set()

        timer = DeadlineTimer(asyncio.get_running_loop(), note)
        for _ in range(20):
            fired.clear()
            at_s = time.monotonic() + 0.0023
            timer.arm(at_s)
            await fired.wait()
        timer.close()
        return late

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        late = runner.run(scenario())
    assert min(late) >= 0
    assert statistics.median(late) < 0.0005  # uvloop's own timers cannot do this
