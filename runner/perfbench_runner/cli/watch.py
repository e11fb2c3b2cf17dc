"""`--watch`: a live view of a run on a terminal: how its figures went over the last seconds, as sparklines."""

from collections import deque
from collections.abc import Callable, Sequence
from time import perf_counter

from rich.console import Console
from rich.text import Text

from perfbench_api.outcome import Progress
from perfbench_runner.cli.progress import ProgressLine
from perfbench_runner.observe.observer import RunView
from perfbench_runner.results.written import number, short_time, time

BLOCKS = "▁▂▃▄▅▆▇█"
KEPT = 240
"""Points that are kept; the latest ones that fit are shown."""
EVERY_S = 1.0
LABEL, VALUE = 16, 12


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The latest values, a character each, from 0 to the largest of them; a blank where there is none."""
    shown = list(values)[-width:] if width > 0 else []
    top = max((value for value in shown if value), default=0.0)
    if not top:
        return "".join(" " if value is None else BLOCKS[0] for value in shown)
    steps = len(BLOCKS) - 1
    return "".join(" " if value is None else BLOCKS[round(value / top * steps)] for value in shown)


ROWS: dict[str, tuple[Callable[[Progress], float | None], Callable[[float | None], str]]] = {
    "requests/s": (lambda run: run.request_throughput_rps, number),
    "output tok/s": (lambda run: run.output_token_throughput_tps, number),
    "in flight": (lambda run: run.in_flight, lambda value: f"{value or 0:,.0f}"),
    "TTFT p50": (lambda run: run.ttft_p50_s, time),
    "TTFT p99": (lambda run: run.ttft_p99_s, time),
    "ITL p50": (lambda run: run.itl_p50_s, time),
    "ITL p99": (lambda run: run.itl_p99_s, time),
    "failed": (lambda run: run.failed, lambda value: f"{value or 0:,.0f}"),
}
"""What is shown: figure, and how it is written."""


class WatchView(ProgressLine):
    """Shows sparklines on a terminal; elsewhere the plain line."""

    def __init__(self, console: Console, clock: Callable[[], float] = perf_counter) -> None:
        super().__init__(console)
        self._clock = clock
        self._next_s = clock()
        self._history: dict[str, deque[float | None]] = {name: deque(maxlen=KEPT) for name in ROWS}

    def _text(self, run: RunView) -> Text:
        progress = run.progress()
        if not self.console.is_terminal or progress.phase in ("waiting", "starting", "pausing"):
            return super()._text(run)
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + EVERY_S
            for name, (figure, _) in ROWS.items():
                self._history[name].append(figure(progress))
        lines = [_headline(progress, self.console.width)]
        width = self.console.width - LABEL - VALUE - 3
        for name, (figure, written) in ROWS.items():
            style = "red" if name == "failed" and progress.failed else "cyan"
            line = Text(f"{name:<{LABEL}}{written(figure(progress)):>{VALUE}}  ")
            lines.append(line.append(sparkline(self._history[name], width), style=style))
        return Text("\n").join(lines)


def _headline(progress: Progress, width: int) -> Text:
    """Stage, a bar of how far the run is, and what is left of the stage."""
    stage = f"{progress.phase} {progress.stage or ''}".strip()
    left = "" if progress.eta_s is None else f"  {short_time(progress.eta_s)} left"
    text = f"{stage}  {progress.percent:3.0f} %  {progress.requests:,} requests{left}"
    line = Text(text, style="bold")
    room = width - len(text) - 3
    if room >= 10:
        full = round(room * progress.percent / 100)
        line.append("  ").append("━" * full, style="green").append("━" * (room - full), style="dim")
    if progress.client not in (None, "valid"):
        line.append(f"\nclient {progress.client}", style="yellow")
    if progress.message:
        line.append(f"\n{progress.message}", style="yellow")
    return line
