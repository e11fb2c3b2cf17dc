"""What a person sees of stages that were run several times: how much their figures differ, and how much chance explains."""

from rich.console import Console

from perfbench_runner.cli.grid import Column, show_grid
from perfbench_runner.results.summary import RepeatedStage, Spread
from perfbench_runner.results.written import number, time


def show_repeated(console: Console, stages: list[RepeatedStage]) -> None:
    """Print a table for each stage of the manifest."""
    for stage in stages:
        figures = stage.figures
        columns = [
            Column("mean", [_in_unit(name, each.mean) for name, each in figures.items()]),
            Column("with 95 %", [_between(name, each) for name, each in figures.items()]),
            Column("spread between\nrepeats", [_share(each.between, each) for each in figures.values()]),
            Column("expected of\nrequests alone", [_share(each.within, each) for each in figures.values()]),
        ]
        title = f"{len(stage.stages)} repeats of stage {stage.name}"
        show_grid(console, title, Column("", [_name(name) for name in figures]), columns)


def _name(name: str) -> str:
    return name.removesuffix("_rps").removesuffix("_tps").replace("_s.", " ").replace("_", " ")


def _in_unit(name: str, value: float | None) -> str:
    return "-" if value is None else time(value) if "_s." in name else number(value)


def _between(name: str, spread: Spread) -> str:
    if spread.low is None:
        return "-"
    return f"{_in_unit(name, max(0.0, spread.low))} to {_in_unit(name, spread.high)}"


def _share(value: float | None, spread: Spread) -> str:
    """A standard deviation, as a share of the mean."""
    return "-" if value is None or not spread.mean else f"{value / spread.mean:.1%}"
