"""Live figures: about right, of constant size, and of the stage under way only."""

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.observe.live import WINDOW_S, Live
from perfbench_runner.results.result import Result


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def result(success: bool = True, ttft_s: float | None = 0.1, tokens: int = 10, failure: str = "") -> Result:
    data = BenchmarkData(success=success, first_chunk_latency=ttft_s, completion_tokens=tokens, failure=failure)
    return Result(0, 0, 0, 0.0, data)


def test_rates_are_of_the_last_seconds() -> None:
    clock = Clock()
    live = Live(clock)
    live.begin()
    for _ in range(40):
        clock.now_s += 0.5
        live.add(result())
    requests_s, tokens_s = live.rates()
    assert requests_s == pytest.approx(2, rel=0.1)
    assert tokens_s == pytest.approx(20, rel=0.1)


def test_failures_are_counted_by_kind() -> None:
    live = Live(Clock())
    live.add(result(success=False, failure="timeout"))
    live.add(result())
    assert (live.total, live.failed, live.errors) == (2, 1, {"timeout": 1})
    live.begin()
    assert (live.total, live.failed, live.errors) == (0, 0, {})


def test_it_stays_small_even_when_nobody_asks() -> None:
    """Without a progress line nobody calls `rates`."""
    clock = Clock()
    live = Live(clock)
    live.begin()
    for _ in range(10_000):
        clock.now_s += 0.01
        live.add(result())
    assert len(live._recent) <= WINDOW_S / 0.01 + 1
