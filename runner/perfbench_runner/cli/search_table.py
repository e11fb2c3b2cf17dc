"""What a person sees of a search: the loads that were tried, and the answer."""

from rich.console import Console

from perfbench_runner.cli.grid import Column, show_grid
from perfbench_runner.results.summary import SearchPoint, SearchResult
from perfbench_runner.results.written import number, time


def show_search(console: Console, search: SearchResult) -> None:
    """Print the curve, by load, and what was found."""
    points = sorted(search.points, key=lambda point: point.load)
    columns = [
        Column("load", [f"{point.load:g}" for point in points]),
        Column("counted\nrequests", [str(point.requests) for point in points]),
        *_measured(points),
        Column("for", [point.role for point in points], is_text=True),
    ]
    show_grid(console, "search", Column("stage", [point.stage for point in points]), columns)
    console.print(f"{answer(search)} ({search.reason})", soft_wrap=True)


def _measured(points: list[SearchPoint]) -> list[Column]:
    """The share of requests that kept each objective; without objectives what the knee is found by."""
    if any(point.throughput_rps is not None for point in points):
        return [
            Column("req/s", [number(point.throughput_rps) for point in points]),
            Column("latency", [time(point.latency_s) if point.latency_s else "-" for point in points]),
        ]
    most = max((len(point.shares) for point in points), default=0)
    return [
        Column(
            f"kept\nobjective {index + 1}" if most > 1 else "kept",
            [f"{point.shares[index]:.2%}" if index < len(point.shares) else "-" for point in points],
        )
        for index in range(most)
    ]


def answer(search: SearchResult) -> str:
    """What was found, in a sentence."""
    unit = "requests/s" if search.kind == "rate" else "requests in flight"
    if search.goal == "knee" and search.load is not None:
        between = (
            "" if search.low is None or search.high is None else f", between {search.low:.4g} and {search.high:.4g}"
        )
        return f"the knee is at {search.load:.4g} {unit}{between}"
    if search.load is None:
        return f"carries no load of the range within the objectives: {unit}"
    if search.low is None:
        return f"carries about {search.load:.4g} {unit}"
    if search.high is None:
        return f"carries at least {search.low:.4g} {unit}, the most that was tried"
    sure = {True: ", confirmed", False: ", not confirmed", None: ""}[search.confirmed]
    return f"carries at least {search.low:.4g} {unit}{sure}; the limit is {search.load:.4g}, below {search.high:.4g}"
