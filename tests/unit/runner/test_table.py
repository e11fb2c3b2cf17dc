"""What a person sees of a run: progress while it runs, tables when it is over."""

import os
import pty
import select
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from perfbench_api.outcome import Progress
from perfbench_runner.cli import progress
from perfbench_runner.cli.progress import ProgressLine, console
from perfbench_runner.cli.table import show_calibration, show_summary
from perfbench_runner.results.summary import StageSummary, Summary
from perfbench_runner.run.calibrate import Calibration, Ceiling, Error, StageError

LATENCIES = ("ttft", "itl", "tpot", "e2e_latency", "scheduled_latency", "dispatch_lag", "connect")


def stage(name: str, **server: dict[str, float]) -> StageSummary:
    nothing = {f"{latency}_s": {} for latency in LATENCIES} | {"output_tokens": {}, "prompt_tokens": {}, "errors": {}}
    rates = dict.fromkeys(("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps"), 1.0)
    requests = {"total": 10, "succeeded": 10, "failed": 0}
    return StageSummary.model_validate(
        {"name": name, "requests": requests, "duration_s": 2.0, "server": server, **nothing, **rates}
    )


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What is printed of a run with these stages."""

    def show(*stages: StageSummary, **facts: Any) -> str:
        show_summary(console(), Summary(**{"name": "llama", "verdict": None, "stages": list(stages), **facts}))
        return capsys.readouterr().out

    return show


def test_the_server_s_figures_are_shown_as_far_as_there_are_any(shown: Callable[..., str]) -> None:
    text = shown(stage("c8", running={"mean": 7.95}, prefix_cache_hit_ratio={"value": 0.25}), stage("c9"))
    rows = [[cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")] for line in text.splitlines()]
    begin = next(number for number, row in enumerate(rows) if "what the server says" in row[0])
    assert ["stage", "running", "prefix hits"] in rows[begin:]
    assert ["c8", "8.0", "25%"] in rows[begin:]
    assert ["c9", "-", "-"] in rows[begin:]


def test_a_server_that_says_nothing_has_no_table(shown: Callable[..., str]) -> None:
    assert "server" not in shown(stage("c8"))


NAMES = ["a[/b]", "[bold]x", "[red]", ":warning:", "[link=http://x]y[/link]"]
"""What rich would take for markup, or for an emoji."""


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_as_they_are(name: str, shown: Callable[..., str]) -> None:
    error = {"mean": 1.0, "p50": 1.0, "p99": 1.0}
    odd = stage(name, running={"mean": 1.0}).model_copy(update={"errors": {f"kind {name}": 1}})
    odd = odd.model_copy(update={"ttft_s": odd.ttft_s.model_copy(update={"count": 1, "mean": 0.1})})
    text = shown(
        odd,
        name=f"run {name}",
        calibration={"stages": [{"name": name, "ttft_ms": error}]},
        verdict="Failed",
        verdict_reasons=[f"reason {name}"],
    )
    lines = [line.strip("│ ") for line in text.splitlines()]
    for expected in (
        f"run {name}",
        f"stage {name}",
        f"{name}: 0 failed: kind {name} 1",
        f"verdict: Failed (reason {name})",
    ):
        assert expected in lines
    assert f"calibrated {name}: TTFT +1.00 ms" in text
    assert sum(line.startswith(f"{name} ") for line in lines) == 2, "in the tables of the load and of the server"


@pytest.mark.parametrize("name", NAMES)
def test_names_are_calibrated_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = Error(mean=1, p50=1, p99=1)
    odd = StageError(name=name, requests=1, ttft_ms=error, itl_ms=error, client="valid", mock_lateness_ms={"p99": 0.1})
    ceiling = Ceiling(requests_per_s=1, events_per_s=1, streams=1, is_lower_bound=False)
    show_calibration(console(), Calibration(ttft_ms=50, itl_ms=10, output_tokens=4, stages=[odd], ceiling=ceiling))
    assert f"│ {name} " in capsys.readouterr().out


# While it runs


class AtOnce:
    """A run that is always as far."""

    def __init__(self, stage: str = "c8", message: str = "") -> None:
        self.how_far = Progress(phase="running", stage=stage, percent=50, message=message)

    def progress(self) -> Progress:
        return self.how_far


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal, too, each tick prints a line."""
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)


def tick(line: ProgressLine, run: AtOnce) -> None:
    line.tick(run)  # type: ignore[arg-type]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", NAMES)
def test_progress_shows_names_as_they_are(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine(console(stderr=True)) as line:
        tick(line, AtOnce(name, f"message {name}"))
    shown = capsys.readouterr().err
    assert shown.startswith(f"running {name}   50 %")
    assert shown.endswith(f"message {name}\n")


@dataclass
class Reader:
    """Reads what is written to a stream, until it goes away."""

    stream: TextIO
    descriptor: int

    def read_until(self, text: str) -> None:
        """Read on until there is this text; what a terminal is sent may come in parts."""
        shown = ""
        while text not in shown:
            assert select.select([self.descriptor], [], [], 5)[0], f"no {text!r} in {shown!r}"
            shown += os.read(self.descriptor, 10_000).decode()

    def go(self) -> None:
        os.close(self.descriptor)


@pytest.fixture
def pipe() -> Iterator[Reader]:
    descriptor, writer = os.pipe()
    with open(writer, "w") as stream:  # noqa: PTH123 a descriptor has no path
        yield Reader(stream, descriptor)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setenv("TERM", "xterm")
    descriptor, writer = pty.openpty()
    with open(writer, "w") as stream:  # noqa: PTH123 a descriptor has no path
        yield Reader(stream, descriptor)


@pytest.mark.usefixtures("impatient")
def test_progress_that_nobody_reads_any_more_ends_and_not_the_run(
    pipe: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (tmp_path / "stdout").open("w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setattr(sys, "stderr", pipe.stream)
        with ProgressLine(console(stderr=True)) as line:
            tick(line, AtOnce())
            assert not line.console.quiet
            pipe.go()
            for _ in range(2):
                tick(line, AtOnce())
            assert line.console.quiet
        print("error: what is still said", file=sys.stderr, flush=True)
        print("results", flush=True)
    assert (tmp_path / "stdout").read_text() == "results\n", "stdout is still read"


def test_a_live_line_outlives_its_terminal(terminal: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sys.stdout
    monkeypatch.setattr(sys, "stderr", terminal.stream)
    with ProgressLine(console(stderr=True)) as line:
        tick(line, AtOnce("a[/b]"))
        terminal.read_until("running a[/b]   50 %")
        terminal.go()
        tick(line, AtOnce())
    assert (sys.stdout, sys.stderr) == (before, terminal.stream), "what it took it gives back"


@pytest.mark.usefixtures("impatient")
def test_progress_ends_and_not_the_run_where_the_disk_of_its_log_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with ProgressLine(console(stderr=True)) as line:
            tick(line, AtOnce())
            assert line.console.quiet


def test_tables_that_nobody_reads_are_no_failure(pipe: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", pipe.stream)
    pipe.go()
    show_summary(console(), Summary(name="llama", verdict=None, stages=[stage("c8")]))
    print("results", flush=True)


# What figures are figures of


def cache(state: str, **fields: Any) -> dict[str, Any]:
    some = {"count": 1, "mean": 0.1, "p50": 0.1}
    given = {"source": "usage", "share": 0.6, "hits": 3, "misses": 2, "hit_ttft_s": some, "miss_ttft_s": some} | fields
    return {"state": state, **given}


def with_cache(name: str, **fields: Any) -> StageSummary:
    data = stage(name).model_dump() | {"ttft_s": {"count": 5, "mean": 0.1, "p50": 0.1}}
    return StageSummary.model_validate(data | {"prompt_cache": cache(**fields)})


def test_a_warm_cache_is_in_the_name_of_the_ttft_and_its_share_beside_the_throughput(shown: Callable[..., str]) -> None:
    text = shown(with_cache("c8", state="warm"), with_cache("c9", state="cold", share=0.01))
    lines = text.splitlines()
    assert any("cached" in line and "input tok/s" in line for line in lines)
    assert any(line.strip("│ ").startswith("c8") and "60%" in line for line in lines)
    assert any(line.strip("│ ").startswith("c9") and "1%" in line for line in lines)
    assert "TTFT, cache warm" in text
    assert "of 3 hits" in text
    assert "of 2 misses" in text


def test_without_a_word_of_a_cache_there_is_no_column(shown: Callable[..., str]) -> None:
    text = shown(stage("c8"), with_cache("c9", state="unknown", share=None, source="none"))
    assert "cached" not in text
    assert "TTFT, cache" not in text


@pytest.mark.parametrize(
    ("sources", "mark"),
    [({"usage": 5}, ""), ({"chunks": 5}, " (chunks)"), ({"tokenizer": 2, "usage": 3}, " (tokenizer)")],
)
def test_figures_of_tokens_are_marked_by_who_counted_them(
    shown: Callable[..., str], sources: dict[str, int], mark: str
) -> None:
    data = stage("c8").model_dump() | {"token_sources": sources, "tpot_s": {"count": 5, "mean": 0.1}}
    text = shown(StageSummary.model_validate(data))
    assert f"1.0{mark} " in text
    assert f"TPOT{mark} " in text
