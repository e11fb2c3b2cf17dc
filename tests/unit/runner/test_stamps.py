"""The kernel's stamps on the run's clock, and which stamps there are."""

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from perfbench_runner import stamps
from perfbench_runner.stamps import KernelClock, available_stamps

MS = 1_000_000
START_NS = 1_700_000_000_123_456_789


class Clocks:
    """A monotonic clock that stands still unless moved, and a wall clock that can be set."""

    def __init__(self) -> None:
        self.monotonic_ns, self.wall_offset_ns = 5_000 * MS, START_NS
        self.reading_ns = 100
        self.interrupted: list[int] = []

    def monotonic(self) -> int:
        self.monotonic_ns += self.reading_ns + (self.interrupted.pop() if self.interrupted else 0)
        return self.monotonic_ns

    def wall(self) -> int:
        self.monotonic_ns += self.reading_ns
        return self.monotonic_ns + self.wall_offset_ns

    def stamp(self, at_s: float) -> tuple[int, int]:
        """As the kernel would stamp what comes then."""
        return divmod(int(at_s * 1e9) + self.wall_offset_ns, 1_000_000_000)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def clock(clocks: Clocks) -> KernelClock:
    return KernelClock(clocks.monotonic, clocks.wall)


def quick(clock: KernelClock, stamp: tuple[int, int]) -> float:
    """The conversion as the wire does it."""
    return stamp[0] - clock.base_s + (stamp[1] - clock.base_ns) * 1e-9


@pytest.mark.parametrize("at_s", [5.0, 5.000001, 6.123456789, 86_400.5])
def test_a_stamp_is_converted(clocks: Clocks, clock: KernelClock, at_s: float) -> None:
    assert quick(clock, clocks.stamp(at_s)) == pytest.approx(at_s, abs=1e-6)
    assert clock.place(*clocks.stamp(at_s), at_s - 1, at_s + 1) == pytest.approx(at_s, abs=1e-6)
    assert (clock.steps, clock.misplaced) == (0, 0)


@pytest.mark.parametrize("step_s", [3600.0, 0.05, -0.05, -3600.0, 0.0002])
def test_a_step_of_the_wall_clock_is_noticed_and_corrected(clocks: Clocks, clock: KernelClock, step_s: float) -> None:
    before = clocks.stamp(5.010)
    clocks.wall_offset_ns += int(step_s * 1e9)
    after = clocks.stamp(5.020)
    clock.check()
    assert clock.steps == 1
    assert quick(clock, after) == pytest.approx(5.020, abs=1e-6)
    assert clock.place(*after, 5.0, 5.0201) == pytest.approx(5.020, abs=1e-6)
    assert clock.place(*before, 5.0, 5.0101) == pytest.approx(5.010, abs=1e-6), "came before, read after"
    assert clock.misplaced == 0


def test_a_step_is_noticed_by_the_stamp_itself(clocks: Clocks, clock: KernelClock) -> None:
    clocks.wall_offset_ns -= 700 * MS
    assert clock.place(*clocks.stamp(5.020), 5.0, 5.0201) == pytest.approx(5.020, abs=1e-6)
    assert clock.steps == 1


def test_steps_there_and_back_are_two(clocks: Clocks, clock: KernelClock) -> None:
    for step_ms in (250, -250):
        clocks.wall_offset_ns += step_ms * MS
        clock.check()
    assert clock.steps == 2
    assert quick(clock, clocks.stamp(5.5)) == pytest.approx(5.5, abs=1e-6)


def test_an_interrupted_look_at_the_clocks_is_no_step(clocks: Clocks, clock: KernelClock) -> None:
    clocks.interrupted = [0, 30 * MS]  # between the wall clock and the second look at the monotonic one
    clock.check()
    clocks.interrupted = [30 * MS, 0]
    clock.check()
    assert clock.steps == 0


def test_a_stamp_that_fits_nowhere_is_replaced_and_counted(clocks: Clocks, clock: KernelClock) -> None:
    assert clock.place(*clocks.stamp(4.0), 5.0, 5.1) == 5.1
    assert clock.misplaced == 1


@pytest.fixture
def untried() -> Iterator[None]:
    """As in a process that has not tried yet."""
    available_stamps.cache_clear()
    yield
    available_stamps.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux")
@pytest.mark.usefixtures("untried")
def test_linux_gives_the_kernels_stamps() -> None:
    """A machine where this fails measures with the program's clock, and every result says so."""
    assert available_stamps() == "kernel"


@pytest.mark.usefixtures("untried")
def test_one_may_do_without_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFBENCH_STAMPS", "program")
    assert available_stamps() == "program"


@pytest.mark.usefixtures("untried")
def test_a_system_that_refuses_leaves_the_programs_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(stamps, "request_stamps", refuse)
    assert available_stamps() == "program"


@pytest.mark.usefixtures("untried")
def test_a_system_that_accepts_and_gives_none_leaves_the_programs_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "request_stamps", lambda sock: None)
    monkeypatch.setattr(stamps, "TRIALS", 3)
    assert available_stamps() == "program"


@pytest.mark.usefixtures("untried")
def test_stamps_that_cannot_be_true_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        stamps, "KernelClock", lambda: KernelClock(time.perf_counter_ns, lambda: time.time_ns() + 60 * 1000 * MS)
    )
    assert available_stamps() == "program"


@pytest.mark.usefixtures("untried")
def test_without_loopback_there_is_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> socket.socket:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_server", nowhere)
    assert available_stamps() == "program"
