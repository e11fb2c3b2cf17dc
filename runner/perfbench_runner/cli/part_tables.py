"""Tables of what a stage is made of: its workloads, its targets and how they differ, and its prompts by their length."""

from collections.abc import Sequence

from rich.console import Console

from perfbench_runner.cli.grid import Column, show_grid
from perfbench_runner.results import differing
from perfbench_runner.results.measured import Distribution, TtftOfPrompts
from perfbench_runner.results.objectives import MINIMUM_SAMPLES, prompts_in_words
from perfbench_runner.results.summary import PartSummary, StageSummary
from perfbench_runner.results.written import number, share, time_in, unit_of

LATENCIES = {"TTFT": "ttft_s", "ITL": "itl_s", "E2E": "e2e_latency_s"}
STATISTICS: tuple[str, ...] = ("p50", "p99")
FAR_APART = 8
"""Prompts that differ so many times in length have a table of their own."""


BY_PROMPT: tuple[str, ...] = ("mean", "p50", "p90", "p99")


def is_rare(figures: Distribution, statistic: str) -> bool:
    """Whether there are too few values to tell a statistic from the next higher."""
    return figures.count + figures.censored < MINIMUM_SAMPLES[statistic]


def rare_in_parts(stage: StageSummary) -> set[str]:
    """Statistics of which that is so in these tables."""
    shown = [
        (getattr(each, field), STATISTICS)
        for each in (*stage.workloads, *stage.targets, *(own for of in stage.targets for own in of.workloads))
        for field in LATENCIES.values()
    ]
    shown += [(each.ttft_s, BY_PROMPT) for each in _ranges(stage)]
    return {name for figures, names in shown for name in names if figures.count and is_rare(figures, name)}


def show_parts(console: Console, stage: StageSummary) -> None:
    """Print those of its workloads and of its targets, if there are several, and how its targets differ."""
    _show(console, stage.name, "workload", stage.workloads)
    _show(console, stage.name, "target", stage.targets)
    for target in stage.targets:
        _show(console, f"{stage.name}, target {target.name},", "workload", target.workloads)
    for line in differing.lines(stage.comparisons):
        console.print(f"{stage.name}: {line}", soft_wrap=True)


def _show(console: Console, whole: str, what: str, found: Sequence[PartSummary]) -> None:
    if not found:
        return
    columns = [
        Column("share", [share(each.share) for each in found]),
        Column("requests", [str(each.requests.total) for each in found]),
        Column("failed", [str(each.requests.failed) for each in found]),
        Column("req/s", [number(each.request_throughput_rps) for each in found]),
        Column("output\ntok/s", [number(each.output_token_throughput_tps) for each in found]),
        *(
            [Column("good", [share(each.goodput.share if each.goodput else None) for each in found])]
            if any(each.goodput for each in found)
            else []
        ),
        *(
            _latency(title, statistic, [getattr(each, field) for each in found])
            for title, field in LATENCIES.items()
            for statistic in STATISTICS
        ),
        Column("output\ntok/req", [number(each.output_tokens.mean) for each in found]),
        Column("input\ntok/req", [number(each.prompt_tokens.mean) for each in found]),
    ]
    show_grid(console, f"stage {whole} by {what}", Column(what, [each.name for each in found]), columns)


def show_by_prompt(console: Console, stage: StageSummary) -> None:
    """Print the time to first token by the length of the prompt, where lengths are far apart."""
    found = _ranges(stage)
    if not found:
        return
    names = [prompts_in_words(each).removeprefix("prompts of ").removesuffix(" tokens") for each in found]
    figures = [each.ttft_s for each in found]
    columns = [
        Column("requests", [str(each.count) for each in figures]),
        *(_latency("TTFT", statistic, figures) for statistic in BY_PROMPT),
    ]
    show_grid(console, f"stage {stage.name} by length of prompt", Column("tokens", names), columns)


def _ranges(stage: StageSummary) -> list[TtftOfPrompts]:
    found = stage.ttft_by_prompt.ranges if stage.ttft_by_prompt else []
    return found if found and found[-1].from_tokens >= FAR_APART * found[0].from_tokens else []


def _latency(title: str, statistic: str, found: list[Distribution]) -> Column:
    values = [getattr(each, statistic) for each in found]
    unit = unit_of(values)
    marks = [
        "*" if value is not None and is_rare(each, statistic) else "" for value, each in zip(values, found, strict=True)
    ]
    cells = [f"{time_in(unit, value)}{mark}" for value, mark in zip(values, marks, strict=True)]
    return Column(f"{title} {statistic}\n{unit}", cells)
