"""What a person sees when a run is over."""

from io import StringIO

from rich.console import Console

from perfbench_runner.display import show_summary
from perfbench_runner.summary import StageSummary, Summary

LATENCIES = ("ttft", "itl", "tpot", "e2e_latency", "scheduled_latency", "dispatch_lag", "connect")


def stage(name: str, **server: dict[str, float]) -> StageSummary:
    nothing = {f"{latency}_s": {} for latency in LATENCIES} | {"output_tokens": {}, "prompt_tokens": {}, "errors": {}}
    rates = dict.fromkeys(("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps"), 1.0)
    requests = {"total": 10, "succeeded": 10, "failed": 0}
    return StageSummary.model_validate(
        {"name": name, "requests": requests, "duration_s": 2.0, "server": server, **nothing, **rates}
    )


def shown(*stages: StageSummary) -> str:
    summary = Summary(name="llama", verdict=None, stages=list(stages))
    console = Console(file=StringIO(), width=160)
    show_summary(console, summary)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_server_s_figures_are_shown_as_far_as_there_are_any() -> None:
    text = shown(stage("c8", running={"mean": 7.95}, prefix_cache_hit_ratio={"value": 0.25}), stage("c9"))
    rows = [[cell.strip() for cell in line.strip("│┃ ").replace("┃", "│").split("│")] for line in text.splitlines()]
    begin = next(number for number, row in enumerate(rows) if "what the server says" in row[0])
    assert ["stage", "running", "prefix hits"] in rows[begin:]
    assert ["c8", "8.0", "25%"] in rows[begin:]
    assert ["c9", "-", "-"] in rows[begin:]


def test_a_server_that_says_nothing_has_no_table() -> None:
    assert "server" not in shown(stage("c8"))
