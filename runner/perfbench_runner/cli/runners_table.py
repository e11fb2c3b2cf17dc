"""What a person sees of several runners: who they were, when they began, and how they were."""

from rich.console import Console

from perfbench_runner.cli.grid import Column, show_grid
from perfbench_runner.results.client_summary import RunnerSummary
from perfbench_runner.results.summary import Summary
from perfbench_runner.results.written import time

MOST = 16
"""So many are shown; of more those that were lost, or whose health is the worst, first."""


def show_runners(console: Console, summary: Summary) -> None:
    """Print the runners of a run that had several."""
    if not summary.runners:
        return
    shown = _worst(summary.runners)
    latest = _latest_begins(summary)
    columns = [
        Column("pod or host", [runner.name for runner in shown], is_text=True),
        Column("node", [runner.node or "-" for runner in shown], is_text=True),
        Column("requests", [f"{runner.requests:,}" for runner in shown]),
        Column("began\nwithin", [time(latest.get(runner.runner)) for runner in shown]),
        Column("clock\nknown to", [time(runner.clock_bound_s) if runner.clock_bound_s else "-" for runner in shown]),
        Column("rows", [runner.state for runner in shown], is_text=True),
        Column("client", [runner.client for runner in shown], is_text=True),
    ]
    show_grid(console, "runners", Column("runner", [str(runner.runner) for runner in shown]), columns)
    if others := len(summary.runners) - len(shown):
        console.print(f"{others} more runners are in summary.json; none of them was worse", soft_wrap=True)


def _worst(runners: list[RunnerSummary]) -> list[RunnerSummary]:
    """The first ones of all, by number; those that something is to be said of before the others."""
    ranks = ("valid", "degraded", "invalid")
    by_trouble = sorted(runners, key=lambda runner: (runner.state == "merged", -ranks.index(runner.client)))
    return sorted(by_trouble[:MOST], key=lambda runner: runner.runner)


def _latest_begins(summary: Summary) -> dict[int, float]:
    """Of each runner how far from the leader's its load began at most, in any stage, seconds."""
    found: dict[int, float] = {}
    for part in (part for stage in summary.stages for part in stage.runners if part.begin_s is not None):
        found[part.runner] = max(abs(part.begin_s or 0.0), found.get(part.runner, 0.0))
    return found
