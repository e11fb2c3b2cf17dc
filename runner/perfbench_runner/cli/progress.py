"""Progress of a run for a person: one live line on a terminal, a line now and then in a log.

Apart from the tables of `display`, so that a run does not load numpy before its end.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.live import Live as LiveDisplay
from rich.text import Text

from perfbench_runner.observe.observer import Observer, RunView

PLAIN_EVERY_S = 10.0
"""Without a terminal a line is printed this often."""


class ProgressLine(Observer):
    """An observer that shows progress: one live line on a terminal, a line now and then in a log.

    When nobody can read it any more, it goes quiet; the run goes on.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: LiveDisplay | None = None
        self._printed_s = perf_counter()

    def __enter__(self) -> "ProgressLine":
        if self.console.is_terminal:
            live = LiveDisplay(console=self.console, auto_refresh=False, transient=True)
            with self._while_read():
                live.__enter__()
                self._live = live
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._live:
            with self._while_read():
                self._live.__exit__(*exception)

    def tick(self, run: RunView) -> None:
        """Show how far it is."""
        if self.console.quiet:
            return
        self._show(self._text(run))

    @contextmanager
    def _while_read(self) -> Iterator[None]:
        """A terminal that was closed or a full disk ends the progress, and only that; so does a broken pipe."""
        try:
            yield
        except OSError:
            _silence(self.console)

    def summarising(self, done: int, total: int) -> None:
        """Show how much of the results has been read."""
        if self.console.quiet or not total:
            return
        self._show(Text(f"summarising {total:,} rows  {100 * done / total:3.0f} %"))

    def _show(self, text: Text) -> None:
        with self._while_read():
            if self._live:
                self._live.update(text, refresh=True)
            elif perf_counter() - self._printed_s >= PLAIN_EVERY_S:
                self._printed_s = perf_counter()
                self.console.print(text, soft_wrap=True)

    def _text(self, run: RunView) -> Text:
        progress = run.progress()
        if progress.phase in ("waiting", "starting"):
            return Text(f"waiting for the target  {progress.message}", style="yellow")
        if progress.phase == "pausing":
            return Text(
                f"pausing before stage {progress.stage_index + 2} of {progress.stage_count}  {progress.percent:3.0f} %"
            )
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
        if progress.itl_p50_s is not None:
            parts.append(f"ITL p50 {progress.itl_p50_s * 1e3:.1f} ms")
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


class _Console(Console):
    """Outlives its reader."""

    def on_broken_pipe(self) -> None:
        """Go quiet. Rich would end the process, and its stdout too where it is stderr that nobody reads."""
        _silence(self)


def _silence(console: Console) -> None:
    """Let all that is still to be written there, by whomever, go nowhere, so that it cannot fail."""
    console.quiet = True
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, console.file.fileno())
    os.close(nowhere)


def console(stderr: bool = False) -> Console:
    """A console on stdout or stderr; wide enough for the tables where there is no terminal.

    What it prints is taken literally: names are people's own and may look like markup.
    """
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 120
    return _Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)
