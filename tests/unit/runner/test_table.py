"""What a person sees of a run: progress while it runs, tables when it is over."""

import os
import pty
import re
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
from perfbench_runner.results import written
from perfbench_runner.results.measured import TtftByPrompt, TtftOfPrompts
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.summary import (
    Comparison,
    Difference,
    Figures,
    StageSummary,
    Summary,
    TargetSummary,
    WorkloadSummary,
)
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


def rows_below(text: str, title: str) -> list[list[str]]:
    """The cells of all lines after a title."""
    lines = text.splitlines()
    return [re.split(r" {2,}", line.strip()) for line in lines[lines.index(title) + 1 :]]


def test_the_server_s_figures_are_shown_as_far_as_there_are_any(shown: Callable[..., str]) -> None:
    text = shown(stage("c8", running={"mean": 7.95}, prefix_cache_hit_ratio={"value": 0.25}), stage("c9"))
    rows = rows_below(text, "what the server says")
    assert rows[0] == ["stage", "running", "prefix hits"]
    assert ["c8", "8.0", "25%"] in rows
    assert ["c9", "-", "-"] in rows


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
    lines = [line.strip() for line in text.splitlines()]
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
    assert f"\n{name} " in capsys.readouterr().out


# Of any width


def figures(*values: float, unit: float = 1.0) -> dict[str, Any]:
    return distribution([value * unit for value in values]).model_dump()


def wide(name: str = "c8") -> StageSummary:
    """A stage with all that can be shown."""
    more = {
        "requests": {"total": 12_345, "succeeded": 12_000, "failed": 300, "unfinished": 45, "unsent": 7, "resent": 3},
        "window": {"start_s": 0, "end_s": 1801, "duration_s": 1801, "kind": "duration"},
        "offered_rate_rps": 1235.0,
        "sent_rate_rps": 1230.25,
        "request_throughput_rps": 1229.75,
        "output_token_throughput_tps": 123_456.7,
        "input_token_throughput_tps": 1_234_567.8,
        "output_tokens": figures(1024, 2048),
        "prompt_tokens": figures(32_768),
        "ttft_s": figures(3.002, 10.502, 60.25),
        "itl_s": figures(0.0101, 0.0102, 120.0),
        "tpot_s": figures(0.0125),
        "e2e_latency_s": figures(*[0.0005] * 2000),
        "scheduled_latency_s": {**figures(2.5), "p99": None, "lower_bounds": {"p99": 3600.0}},
        "status_codes": {"200": 12_000, "500": 300},
        "errors": {"http_500": 300},
    }
    return StageSummary.model_validate(stage(name).model_dump() | more)


WHOLE = (
    *("12345", "300", "45", "7", "3", "1,801", "1,235", "1,230", "123,457", "1,234,568", "80.00", "1,536", "32,768"),
    *("TTFT, s", "10.50", "60.25", "ITL, ms", "10.20", "120,000", "E2E latency, µs", "500.0", "≥3,600"),
)


@pytest.mark.parametrize("width", [30, 45, 60, 72, 80, 100, 120, 200])
def test_no_figure_is_cut_and_no_line_too_long(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    out = console()
    out.width = width
    long = wide("a-stage-with-quite-a-long-name-that-ends-in-512")
    show_summary(out, Summary(name="llama", verdict=None, stages=[wide(), long]))
    text = capsys.readouterr().out
    tables = text[: text.index("HTTP status")]
    cells = re.split(r" {2,}|\n", tables)
    for figure in WHOLE:
        assert any(cell.strip().startswith(figure) for cell in cells), figure
    assert all(len(line) <= max(width, 44) for line in tables.splitlines() if "─" in line)
    if width >= 60:
        assert all(len(line) <= width for line in tables.splitlines() if not line.startswith(("*", "stage a-", "c8:")))


def test_what_there_is_none_of_takes_no_room(shown: Callable[..., str]) -> None:
    text = shown(stage("c8"))
    for heading in ("unfinished", "unsent", "resent", "offered", "sent", "per user", "HTTP status", "objectives"):
        assert heading not in text


def test_a_statistic_of_too_few_values_is_marked(shown: Callable[..., str]) -> None:
    few = stage("c8").model_copy(update={"ttft_s": distribution([0.1 + 0.001 * n for n in range(12)])})
    text = shown(few)
    (row,) = [row for row in rows_below(text, "stage c8") if row[0] == "TTFT, ms"]
    assert row[1:] == ["105.5", "105.5", "109.9", "110.5*", "110.9*", "111.0*", "111.0"]
    assert "(p95 20, p99 100, p99.9 1,000)" in text


def test_status_codes_are_shown_where_not_all_are_200(shown: Callable[..., str]) -> None:
    assert "c8: 300 failed: http_500 300; HTTP status 200 12000, 500 300" in shown(wide())


def test_objectives_are_shown_with_value_and_unit_the_broken_ones_first(shown: Callable[..., str]) -> None:
    objectives = [
        {"metric": "ttft", "statistic": "p99", "stage": "c8", "bound": "<= 500 ms", "value": 0.3021, "kept": True},
        {"metric": "failed_share", "statistic": None, "stage": "c8", "bound": "<= 1 %", "value": 0.025, "kept": False},
        {"metric": "itl", "statistic": "p99_9", "stage": "c8", "bound": "<= 1 s", "value": None, "kept": None},
    ]
    rows = rows_below(shown(stage("c8"), objectives=objectives), "objectives")
    assert rows[2:5] == [
        ["failed_share", "<= 1 %", "2.5 %", "broken", "c8"],
        ["itl p99.9", "<= 1 s", "-", "open", "c8"],
        ["ttft p99", "<= 500 ms", "302.1 ms", "kept", "c8"],
    ]


def test_notes_are_told_once_with_the_stages_they_are_about(shown: Callable[..., str]) -> None:
    stages = [stage(name).model_copy(update={"notes": ["the same", f"of {name}"]}) for name in ("c1", "c2")]
    text = shown(*stages)
    assert "c1, c2: the same" in text
    assert "c1: of c1" in text


def test_many_lines_are_counted_rather_than_shown(shown: Callable[..., str]) -> None:
    text = shown(*(stage(f"c{n}").model_copy(update={"notes": [f"note {n}"]}) for n in range(64)))
    assert "and 44 more: see summary.json" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0.000 ms"),
        (0.0000123, "12.30 µs"),
        (0.0099996, "10.00 ms"),
        (0.05073, "50.73 ms"),
        (3.002, "3.002 s"),
        (10.502, "10.50 s"),
        (3600, "3,600 s"),
    ],
)
def test_times_are_written_in_a_unit_that_suits_them(seconds: float | None, text: str) -> None:
    assert written.time(seconds) == text


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
    assert any("cached" in line for line in lines)
    assert any(line.startswith("c8") and "60%" in line for line in lines)
    assert any(line.startswith("c9") and "1%" in line for line in lines)
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
    assert re.search(rf" 1(\.0+)?{re.escape(mark)}\n", text)
    assert f"TPOT{mark}, ms " in text


def workload(name: str, total: int, ttft_s: list[float]) -> dict[str, Any]:
    made = stage(name).model_dump(exclude=set(StageSummary.model_fields) - set(Figures.model_fields))
    requests = {"total": total, "succeeded": total, "failed": 0}
    return made | {"requests": requests, "ttft_s": distribution(ttft_s), "weight": 1, "share": total / 10}


def test_each_workload_has_a_row_of_its_own(shown: Callable[..., str]) -> None:
    mixed = stage("c8")
    mixed.workloads = [
        WorkloadSummary.model_validate(workload(*each)) for each in (("a", 7, [0.1] * 7), ("b", 3, [0.3]))
    ]
    rows = rows_below(shown(mixed, stage("c9")), "stage c8 by workload")
    assert [row[:5] for row in rows[3:5]] == [["a", "70 %", "7", "0", "1.000"], ["b", "30 %", "3", "0", "1.000"]]
    assert rows[3][-2:] == ["100.0", "100.0*"]
    assert rows[4][-2:] == ["300.0*", "300.0*"]


def test_each_target_has_a_row_and_their_differences_a_line(shown: Callable[..., str]) -> None:
    compared = stage("c8")
    compared.targets = [
        TargetSummary.model_validate(workload(*each)) for each in (("old", 5, [0.1] * 5), ("new", 5, [0.3] * 5))
    ]
    seen = Difference(
        metric="ttft", statistic="p50", baseline=0.1, value=0.3, difference=0.2, low=0.1, high=0.3, is_seen=True
    )
    compared.comparisons = [Comparison(baseline="old", target="new", confidence=0.95, differences=[seen])]
    text = shown(compared, stage("c9"))
    rows = rows_below(text, "stage c8 by target")
    assert [row[:3] for row in rows[3:5]] == [["old", "50 %", "5"], ["new", "50 %", "5"]]
    assert "c8: TTFT p50 of new is 200.0 ms (100.0 ms to 300.0 ms) higher than that of old" in text


@pytest.mark.parametrize(("longest", "is_shown"), [(64, False), (512, True)])
def test_lengths_of_prompts_are_shown_where_they_are_far_apart(
    shown: Callable[..., str], longest: int, is_shown: bool
) -> None:
    apart = stage("c8")
    ranges = [
        TtftOfPrompts(from_tokens=each, to_tokens=2 * each, ttft_s=distribution([0.1, 0.2])) for each in (32, longest)
    ]
    apart.ttft_by_prompt = TtftByPrompt(ranges=ranges, unknown=0)
    text = shown(apart)
    assert ("stage c8 by length of prompt" in text) is is_shown
    if is_shown:
        assert [row[0] for row in rows_below(text, "stage c8 by length of prompt")[3:5]] == ["32 to 63", "512 to 1,023"]
