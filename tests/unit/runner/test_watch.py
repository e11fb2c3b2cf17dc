"""The live view: sparklines on a terminal of any width, the plain line elsewhere."""

import io
from typing import Any

import pytest
from rich.console import Console

from perfbench_api.outcome import Progress
from perfbench_runner.cli.watch import WatchView, sparkline


@pytest.mark.parametrize(
    ("values", "width", "shown"),
    [
        ([], 10, ""),
        ([0, 0], 10, "▁▁"),
        ([1, 2, 4, 8], 10, "▂▃▅█"),
        ([1, None, 8], 10, "▂ █"),
        ([8, 1, 8], 2, "▂█"),
        ([1, 2], 0, ""),
        ([1, 2], -3, ""),
    ],
)
def test_a_sparkline_is_of_the_latest_values(values: list[float | None], width: int, shown: str) -> None:
    assert sparkline(values, width) == shown


class Run:
    """A run that gets on by a request at each look."""

    def __init__(self) -> None:
        self.looks = 0

    def progress(self) -> Progress:
        self.looks += 1
        return Progress(
            phase="running",
            stage="c8",
            percent=50,
            eta_s=75,
            requests=self.looks,
            in_flight=8,
            request_throughput_rps=12.5 * self.looks,
            ttft_p50_s=0.25,
            client="degraded",
        )


def shown(width: int, is_terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None)
    now = iter(range(1000))
    view = WatchView(console, clock=lambda: float(next(now)))
    run: Any = Run()
    texts = [view._text(run).plain for _ in range(5)]
    return texts[-1]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_it_fits_the_terminal(width: int) -> None:
    lines = shown(width).splitlines()
    assert all(len(line) <= max(width, 46) for line in lines)
    assert lines[0].startswith("running c8   50 %  5 requests  1 min 15 s left")
    assert "client degraded" in lines
    (rate,) = [line for line in lines if line.startswith("requests/s")]
    assert "62.50" in rate
    (ttft,) = [line for line in lines if line.startswith("TTFT p50")]
    assert "250.0 ms" in ttft


def test_where_there_is_no_terminal_it_is_the_plain_line() -> None:
    assert "\n" not in shown(80, is_terminal=False)
