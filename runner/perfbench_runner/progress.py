"""Progress of a run for a person: one live line on a terminal, a line now and then in a log.

Apart from the tables of `display`, so that a run does not load numpy before its end.
"""

import sys
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.live import Live as LiveDisplay
from rich.text import Text

from perfbench_runner.control import Control
from perfbench_runner.observer import Observer

PLAIN_EVERY_S = 10.0
"""Without a terminal a line is printed this often."""


class ProgressLine(Observer):
    """An observer that shows progress: one live line on a terminal, a line now and then in a log."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console, self.quiet = console, quiet
        self._live: LiveDisplay | None = None
        self._printed_s = perf_counter()

    def __enter__(self) -> "ProgressLine":
        if self.console.is_terminal and not self.quiet:
            self._live = LiveDisplay(console=self.console, auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._live:
            self._live.__exit__(*exception)

    def tick(self, control: Control) -> None:
        """Show how far it is."""
        if self._live:
            self._live.update(self._text(control), refresh=True)
        elif not self.quiet and perf_counter() - self._printed_s >= PLAIN_EVERY_S:
            self._printed_s = perf_counter()
            self.console.print(self._text(control), soft_wrap=True)

    def _text(self, control: Control) -> Text:
        progress = control.progress()
        if progress.phase in ("waiting", "starting"):
            return Text(f"waiting for the target  {progress.message}", style="yellow")
        parts = [
            f"{progress.phase} {progress.stage or ''}".strip(),
            f"{progress.percent:3.0f} %",
            f"{progress.requests} requests",
            f"{progress.in_flight} in flight",
            f"{progress.request_throughput_rps or 0:.1f} req/s",
            f"{progress.output_token_throughput_tps or 0:.0f} tok/s",
        ]
        if progress.ttft_p50_s is not None:
            parts.append(f"TTFT p50 {progress.ttft_p50_s * 1e3:.0f} ms p99 {(progress.ttft_p99_s or 0) * 1e3:.0f} ms")
        if progress.eta_s is not None:
            parts.append(f"{progress.eta_s:.0f} s left")
        text = Text("  ".join(parts))
        if progress.failed:
            text.append(f"  {progress.failed} failed", style="red")
        if progress.client not in (None, "valid"):
            text.append(f"  client {progress.client}", style="yellow")
        if progress.message:
            text.append(f"  {progress.message}", style="yellow")
        return text


def console(stderr: bool = False) -> Console:
    """A console on stdout or stderr; wide enough for the tables where there is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else 120)
