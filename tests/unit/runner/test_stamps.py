"""The kernel's stamps on the run's clock, and which stamps there are."""

import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from perfbench_runner import stamps
from perfbench_runner.stamps import KernelClock, available_stamps, trial, wrong_wish

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

    def mark(self, at_s: float) -> bytes:
        """As the kernel would stamp what comes then."""
        return struct.pack("=qq32x", *divmod(int(at_s * 1e9) + self.wall_offset_ns, 1_000_000_000))


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def clock(clocks: Clocks) -> KernelClock:
    return KernelClock(clocks.monotonic, clocks.wall)


@pytest.mark.parametrize("times", [[5.1], [5.0, 5.000001, 6.123456789], [5.9999999, 86_400.5], [5.5] * 100])
def test_stamps_are_converted(clocks: Clocks, clock: KernelClock, times: list[float]) -> None:
    assert clock.times(
        b"".join(clocks.mark(at_s) for at_s in times), [at_s + 0.0001 for at_s in times], 5.0
    ) == pytest.approx(times, abs=1e-6)
    assert (clock.steps, clock.misplaced) == (0, 0)


@pytest.mark.parametrize("step_s", [3600.0, 0.15, -0.15, -3600.0, 0.0002])
@pytest.mark.parametrize("checked_s", [[5.26], [5.21, 5.26, 5.3, 5.4]])
def test_a_step_of_the_wall_clock_is_noticed_and_corrected(
    clocks: Clocks, clock: KernelClock, step_s: float, checked_s: list[float]
) -> None:
    """The wall clock is set at 5.25, and looked at before and after."""
    before, after = [5.05, 5.1, 5.2, 5.249], [5.251, 5.3, 5.45]
    marks = [clocks.mark(at_s) for at_s in before]
    clocks.monotonic_ns = 5_200 * MS
    clock.check()
    clocks.wall_offset_ns += int(step_s * 1e9)
    marks += [clocks.mark(at_s) for at_s in after]
    for at_s in checked_s:
        clocks.monotonic_ns = int(at_s * 1e9)
        clock.check()
    read_s = [at_s + 0.00005 for at_s in before + after]
    assert clock.times(b"".join(marks), read_s, 5.0) == pytest.approx(before + after, abs=1e-6)
    assert (clock.steps, clock.misplaced) == (1, 0)


def test_a_step_between_answers_needs_no_placing(clocks: Clocks, clock: KernelClock) -> None:
    clocks.wall_offset_ns -= 700 * MS
    clock.check()
    clocks.monotonic_ns = 6_000 * MS
    assert clock.times(clocks.mark(6.0), [6.1], 5.9) == pytest.approx([6.0], abs=1e-6)


def test_a_step_that_nobody_has_noticed_yet_is_noticed_with_the_stamps(clocks: Clocks, clock: KernelClock) -> None:
    clocks.wall_offset_ns -= 700 * MS
    assert clock.times(clocks.mark(5.02), [5.03], 5.0) == pytest.approx([5.02], abs=1e-6)
    assert clock.steps == 1


def test_steps_there_and_back_are_two(clocks: Clocks, clock: KernelClock) -> None:
    for step_ms in (250, -250):
        clocks.wall_offset_ns += step_ms * MS
        clocks.monotonic_ns += 100 * MS
        clock.check()
    assert clock.steps == 2
    assert clock.times(clocks.mark(5.5), [5.6], 5.4) == pytest.approx([5.5], abs=1e-6)


def test_an_interrupted_look_at_the_clocks_is_no_step(clocks: Clocks, clock: KernelClock) -> None:
    for interrupted in ([0, 30 * MS], [30 * MS, 0]):
        clocks.interrupted = interrupted  # before and between the readings
        clock.check()
    assert clock.steps == 0


@pytest.mark.parametrize("at_s", [4.0, 7.0])
def test_a_stamp_that_fits_nowhere_is_replaced_and_counted(clocks: Clocks, clock: KernelClock, at_s: float) -> None:
    assert clock.times(clocks.mark(at_s), [5.1], 5.0) == [5.1]
    assert clock.misplaced == 1


def test_what_stands_for_a_missing_stamp_is_converted_back(clock: KernelClock) -> None:
    assert clock.times(clock.mark(5.25), [5.3], 5.0) == pytest.approx([5.25], abs=1e-6)


@pytest.fixture
def untried() -> Iterator[None]:
    """As in a process that has not tried yet."""
    trial.cache_clear()
    yield
    trial.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux")
@pytest.mark.usefixtures("untried")
def test_linux_gives_the_kernels_stamps() -> None:
    """A machine where this fails measures with the program's clock, and every result says so."""
    assert available_stamps() == "kernel"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux")
def test_the_socket_of_the_trial_is_closed_at_the_programs_end() -> None:
    """It is open until then on purpose; `python -X dev` would complain."""
    code = "from perfbench_runner.stamps import available_stamps; print(available_stamps())"
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=30)
    assert (done.stdout, done.stderr) == ("kernel\n", "")


@pytest.mark.usefixtures("untried")
def test_one_may_do_without_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFBENCH_STAMPS", "program")
    assert trial() == ("program", "PERFBENCH_STAMPS=program asks for it")


@pytest.mark.usefixtures("untried")
def test_a_system_that_refuses_leaves_the_programs_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(stamps, "request_stamps", refuse)
    assert trial() == ("program", "SO_TIMESTAMPING cannot be had: Protocol not available")


@pytest.mark.usefixtures("untried")
def test_a_system_that_accepts_and_gives_none_leaves_the_programs_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "request_stamps", lambda sock: None)
    monkeypatch.setattr(stamps, "TRIALS", 3)
    assert trial() == ("program", "the kernel took SO_TIMESTAMPING, and gave no stamps")


@pytest.mark.usefixtures("untried")
def test_stamps_that_cannot_be_true_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        stamps, "KernelClock", lambda: KernelClock(time.perf_counter_ns, lambda: time.time_ns() + 60 * 1000 * MS)
    )
    assert trial() == ("program", "the kernel's stamps do not lie between sending and reading")


@pytest.mark.usefixtures("untried")
def test_without_loopback_there_is_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> socket.socket:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(socket, "create_server", nowhere)
    assert trial() == ("program", "SO_TIMESTAMPING cannot be had: Cannot assign requested address")


@pytest.mark.parametrize(
    ("wish", "is_wrong"), [(None, False), ("", False), ("program", False), ("kernal", True), ("Program", True)]
)
def test_a_wish_for_stamps_that_there_are_not_is_refused(wish: str | None, is_wrong: bool) -> None:
    said = wrong_wish({} if wish is None else {"PERFBENCH_STAMPS": wish})
    assert said.startswith(f"PERFBENCH_STAMPS: there is no {wish!r}; `program` does without") is is_wrong
    assert bool(said) is is_wrong
