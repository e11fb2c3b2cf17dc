"""What a person sees when a run is over: tables, client health, verdict."""

from collections.abc import Callable, Iterable

from rich.console import Console
from rich.text import Text

from perfbench_runner.cli.grid import Column, show_grid
from perfbench_runner.cli.part_tables import is_rare, rare_in_parts, show_by_prompt, show_parts
from perfbench_runner.cli.repeats_table import show_repeated
from perfbench_runner.cli.runners_table import show_runners
from perfbench_runner.cli.search_table import show_search
from perfbench_runner.results.measured import Distribution
from perfbench_runner.results.objectives import MINIMUM_SAMPLES, interval_in_words, prompts_in_words, with_unit
from perfbench_runner.results.summary import ObjectiveResult, StageSummary, Summary
from perfbench_runner.results.written import number, share, time, time_in, unit_of
from perfbench_runner.run.calibrate import Calibration

STATISTICS = ("mean", "p50", "p90", "p95", "p99", "p99_9", "max")
RARE = ("unfinished", "unsent", "no_content", "resent", "retried", "excluded")
"""Counts that are shown where there are any."""
MOST_LINES = 20
"""So many notes, failures or objectives are shown, those that matter first; summary.json has them all."""
COLOURS = {
    "valid": "green",
    "degraded": "yellow",
    "invalid": "red",
    "Passed": "green",
    "Failed": "red",
    "Inconclusive": "yellow",
}


def show_summary(console: Console, summary: Summary) -> None:
    """Print the tables of a run that is over."""
    stages = Column("stage", [stage.name for stage in summary.stages])
    show_grid(console, summary.name, stages, _load_columns(summary.stages))
    _show_lines(console, [f"{stage.name}: {stage.load}" for stage in summary.stages if stage.load], "dim")
    for stage in summary.stages:
        _show_latencies(console, stage)
        show_by_prompt(console, stage)
        show_parts(console, stage)
    _say_which_are_rare(console, summary.stages)
    if any(stage.server for stage in summary.stages):
        show_grid(console, "what the server says", stages, _server_columns(summary.stages))
    _show_lines(console, _failures(summary.stages), "red")
    _show_lines(console, _notes(summary.stages), "yellow")
    show_runners(console, summary)
    _show_client(console, summary)
    show_repeated(console, summary.repeated)
    if summary.search is not None:
        show_search(console, summary.search)
    if summary.objectives:
        _show_objectives(console, summary.objectives)
    _show_verdict(console, summary)


def _load_columns(stages: list[StageSummary]) -> list[Column]:
    def column(heading: str, cell: Callable[[StageSummary], str]) -> Column:
        return Column(heading, [cell(stage) for stage in stages])

    counts = [name for name in RARE if any(getattr(stage.requests, name) for stage in stages)]
    return [
        column("requests", lambda stage: str(stage.requests.total)),
        column("failed", lambda stage: str(stage.requests.failed)),
        *(Column(name.replace("_", " "), [str(getattr(stage.requests, name)) for stage in stages]) for name in counts),
        column("window", lambda stage: time(stage.window.duration_s) if stage.window else "-"),
        column("offered\nreq/s", lambda stage: number(stage.offered_rate_rps)),
        column("sent\nreq/s", lambda stage: number(stage.sent_rate_rps)),
        column("req/s", lambda stage: number(stage.request_throughput_rps)),
        *_goodput_columns(stages),
        column("output\ntok/s", lambda stage: number(stage.output_token_throughput_tps) + _mark(stage)),
        column("input\ntok/s", lambda stage: number(stage.input_token_throughput_tps)),
        *([column("cached", _cached)] if any(_cached(stage) != "-" for stage in stages) else []),
        *([column("cost per\n1M out tok", _cost)] if any(_cost(stage) != "-" for stage in stages) else []),
        *([column("J/out\ntok", _joules)] if any(_joules(stage) != "-" for stage in stages) else []),
        *([column("cost per\n1M good tok", _good_cost)] if any(_good_cost(stage) != "-" for stage in stages) else []),
        *([column("J/good\ntok", _good_joules)] if any(_good_joules(stage) != "-" for stage in stages) else []),
        column("tok/s\nper user", lambda stage: number(_per_user(stage))),
        column("output\ntok/req", lambda stage: number(stage.output_tokens.mean)),
        column("input\ntok/req", lambda stage: number(stage.prompt_tokens.mean)),
    ]


def _cost(stage: StageSummary) -> str:
    """What a million output tokens cost."""
    return "-" if stage.cost is None else number(stage.cost.per_million_output_tokens)


def _joules(stage: StageSummary) -> str:
    """Energy of the server's GPUs for an output token."""
    return "-" if stage.cost is None else number(stage.cost.joules_per_output_token)


def _good_cost(stage: StageSummary) -> str:
    """What a million output tokens of good requests cost."""
    return "-" if stage.cost is None else number(stage.cost.per_million_good_output_tokens)


def _good_joules(stage: StageSummary) -> str:
    """Energy for one of these."""
    return "-" if stage.cost is None else number(stage.cost.joules_per_good_output_token)


def _goodput_columns(stages: list[StageSummary]) -> list[Column]:
    """Share and rate of requests that kept all limits, where some are given."""
    found = [stage.goodput for stage in stages]
    if not any(found):
        return []
    return [
        Column("good", [share(each.share if each else None) for each in found]),
        Column("good\nreq/s", [number(each.rate_rps if each else None) for each in found]),
    ]


def _per_user(stage: StageSummary) -> float | None:
    """Tokens per second that the median user sees once an answer has begun: 1 / TPOT."""
    return 1 / stage.tpot_s.p50 if stage.tpot_s.p50 else None


def _show_latencies(console: Console, stage: StageSummary) -> None:
    rows = _latencies(stage)
    if not rows:
        return
    units = [unit_of(getattr(figures, name) for name in STATISTICS) for _, figures in rows]
    first = Column("", [f"{name}, {unit}" for (name, _), unit in zip(rows, units, strict=True)])
    columns = [
        Column(
            name.replace("_", "."),
            [_statistic(figures, name, unit) for (_, figures), unit in zip(rows, units, strict=True)],
        )
        for name in STATISTICS
    ]
    show_grid(console, f"stage {stage.name}", first, columns)


def _cached(stage: StageSummary) -> str:
    """The share of prompt tokens that the server had in its cache."""
    cache = stage.prompt_cache
    return "-" if cache is None or cache.share is None else f"{cache.share:.0%}"


def _mark(stage: StageSummary) -> str:
    """Behind a figure made of tokens: who counted them, where it was not the server."""
    counted = [who for who in ("chunks", "tokenizer", "plugin") if who in stage.token_sources]
    return f" ({', '.join(counted)})" if counted else ""


def _ttft_rows(stage: StageSummary) -> dict[str, Distribution]:
    """The time to first token, and of what it is; of hits and misses apart where there are both, or the cache is measured."""
    cache = stage.prompt_cache
    if cache is None or cache.state in ("cold", "unknown"):
        return {"TTFT": stage.ttft_s}
    rows = {f"TTFT, cache {cache.state.replace('_', ' ')}": stage.ttft_s}
    if cache.is_intended or (cache.hits and cache.misses):
        rows |= {f"of {cache.hits} hits": cache.hit_ttft_s, f"of {cache.misses} misses": cache.miss_ttft_s}
    return rows


def _latencies(stage: StageSummary) -> list[tuple[str, Distribution]]:
    """Rows of a stage's table: those that have values."""
    rows = {
        **_ttft_rows(stage),
        "ITL": stage.itl_s,
        "token gap": stage.token_gap_s,
        f"TPOT{_mark(stage)}": stage.tpot_s,
        "E2E latency": stage.e2e_latency_s,
        "from schedule": stage.scheduled_latency_s,
        **_steady_rows(stage),
    }
    return [(name, figures) for name, figures in rows.items() if figures.count]


def _steady_rows(stage: StageSummary) -> dict[str, Distribution]:
    """The same without the part that shows how the stage began, where there is such a part."""
    steady = stage.steady
    if steady is None or not steady.dropped or not steady.is_steady:
        return {}
    since = f"steady, from {time(steady.start_s)} on"
    return {f"TTFT, {since}": steady.ttft_s, f"E2E latency, {since}": steady.e2e_latency_s}


def _statistic(figures: Distribution, name: str, unit: str) -> str:
    """A figure; of what is only known to be longer, at least so many; marked where there are too few values for it."""
    value, least = getattr(figures, name), figures.lower_bounds.get(name)
    text = time_in(unit, value) if value is not None or least is None else f"≥{time_in(unit, least)}"
    return f"{text}*" if text != "-" and is_rare(figures, name) else text


def _say_which_are_rare(console: Console, stages: list[StageSummary]) -> None:
    found = {
        name for stage in stages for _, figures in _latencies(stage) for name in STATISTICS if is_rare(figures, name)
    }
    found |= {name for stage in stages for name in rare_in_parts(stage)}
    if found:
        needs = ", ".join(f"{name.replace('_', '.')} {MINIMUM_SAMPLES[name]:,}" for name in STATISTICS if name in found)
        console.print(
            f"* of fewer values than it takes to tell it from the next higher ({needs})", style="dim", soft_wrap=True
        )


def _failures(stages: list[StageSummary]) -> list[str]:
    """What failed, and the statuses where they are not all 200."""
    lines = []
    for stage in stages:
        kinds = ", ".join(f"{kind} {count}" for kind, count in stage.errors.items())
        codes = ", ".join(f"{code} {count}" for code, count in stage.status_codes.items())
        parts = [f"{stage.requests.failed} failed: {kinds}"] if kinds else []
        parts += [f"HTTP status {codes}"] if set(stage.status_codes) - {"200"} else []
        lines += [f"{stage.name}: {'; '.join(parts)}"] if parts else []
    return lines


def _notes(stages: list[StageSummary]) -> list[str]:
    """Notes, each once with the stages, and workloads and targets of them, that it is about."""
    about: dict[str, list[str]] = {}
    for stage in stages:
        for note in stage.notes:
            about.setdefault(note, []).append(stage.name)
        parts = [(each.name, each.notes) for each in (*stage.workloads, *stage.targets)]
        parts += [(f"{target.name} {each.name}", each.notes) for target in stage.targets for each in target.workloads]
        for name, found in parts:
            for note in found:
                about.setdefault(note, []).append(f"{stage.name} {name}")
    return [f"{', '.join(names)}: {note}" for note, names in about.items()]


def _show_lines(console: Console, lines: list[str], style: str) -> None:
    for line in lines[:MOST_LINES]:
        console.print(line, style=style, soft_wrap=True)
    if len(lines) > MOST_LINES:
        console.print(f"and {len(lines) - MOST_LINES} more: see summary.json", style=style, soft_wrap=True)


def _show_objectives(console: Console, results: Iterable[ObjectiveResult]) -> None:
    """Each with its value; first what was broken, then what cannot be said, then what was kept."""
    words = {False: "broken", None: "open", True: "kept"}
    ordered = sorted(results, key=lambda result: list(words).index(result.kept))
    shown = ordered[:MOST_LINES]
    names = [_objective(result) for result in shown]
    values = ["-" if result.value is None else with_unit(result.metric, result.value) for result in shown]
    columns = [
        Column("bound", [result.bound for result in shown]),
        Column("value", values),
        Column(f"with {_confidence(shown)}", [_between(result) for result in shown]),
        Column("", [words[result.kept] for result in shown], is_text=True),
        Column("stage", [result.stage for result in shown], is_text=True),
        *(
            Column(what, [getattr(result, what) or "-" for result in shown], is_text=True)
            for what in ("workload", "target")
            if what == "workload" or any(result.target for result in shown)
        ),
    ]
    show_grid(console, "objectives", Column("objective", names), columns)
    if len(ordered) > len(shown):
        console.print(f"and {len(ordered) - len(shown)} more: see summary.json", soft_wrap=True)


def _objective(result: ObjectiveResult) -> str:
    name = f"{result.metric} {(result.statistic or '').replace('_', '.')}".strip()
    return name if result.prompt_tokens is None else f"{name}, {prompts_in_words(result.prompt_tokens)}"


def _confidence(results: Iterable[ObjectiveResult]) -> str:
    """That of the intervals; they have one."""
    known = [result.confidence for result in results if result.confidence is not None]
    return f"{max(known, default=0.95) * 100:.4g} %"


def _between(result: ObjectiveResult) -> str:
    return "-" if result.low is None and result.high is None else interval_in_words(result)


SERVER = {
    "running": ("running", "mean", "{:.1f}"),
    "waiting": ("waiting", "mean", "{:.1f}"),
    "kv_cache_usage": ("KV cache", "mean", "{:.0%}"),
    "prefix_cache_hit_ratio": ("prefix hits", "value", "{:.0%}"),
    "spec_decode_acceptance": ("drafts accepted", "value", "{:.0%}"),
    "preemptions": ("preempted", "increase", "{:.0f}"),
    "generation_tokens": ("generated tok/s", "per_second", "{:,.0f}"),
    "gpu_utilization": ("GPU", "mean", "{:.0%}"),
    "gpu_power_w": ("GPU W", "mean", "{:,.0f}"),
}
"""Figures of the server: heading, which part of the figure, how it is written."""


def _server_columns(stages: list[StageSummary]) -> list[Column]:
    def cells(name: str, part: str, form: str) -> list[str]:
        values = [stage.server.get(name, {}).get(part) for stage in stages]
        return ["-" if value is None else form.format(value) for value in values]

    return [Column(heading, cells(name, part, form)) for name, (heading, part, form) in SERVER.items()]


def _show_client(console: Console, summary: Summary) -> None:
    client = summary.client
    text = Text("client: ").append(client.state, style=COLOURS[client.state])
    text.append(f"; latencies {client.latencies}, load {client.load}; stamps: {client.stamps or 'unknown'}")
    if client.reasons:
        text.append(f" ({'; '.join(client.reasons)})")
    console.print(text, soft_wrap=True)
    for stage in (summary.calibration or {}).get("stages", []):
        error = stage["ttft_ms"]
        mean, p99 = _signed(error["mean"]), _signed(error["p99"])
        figures = f"TTFT {mean} ms (p99 {p99} ms)" if error["mean"] is not None else "the error of TTFT is not known"
        line = f"calibrated {stage['name']}: {figures} on this machine"
        console.print(line, soft_wrap=True)


def show_calibration(console: Console, calibration: Calibration) -> None:
    """Print the client's own error and ceiling."""
    stages = calibration.stages
    errors = {"TTFT": [stage.ttft_ms for stage in stages], "ITL": [stage.itl_ms for stage in stages]}
    columns = [
        Column("requests", [str(stage.requests) for stage in stages]),
        *(
            Column(f"{latency}\n{name}", [_signed(getattr(error, name)) for error in found])
            for latency, found in errors.items()
            for name in ("mean", "p50", "p99")
        ),
        Column("mock late\np99", [f"{stage.mock_lateness_ms['p99']:.2f}" for stage in stages]),
        Column("client", [stage.client for stage in stages], is_text=True),
    ]
    title = "this client's error, ms: reported minus true"
    show_grid(console, title, Column("stage", [stage.name for stage in stages]), columns)
    names = {"ttft_ms": "TTFT", "itl_ms": "ITL"}
    for stage in stages:
        for name, reason in stage.unknown.items():
            console.print(Text(f"{stage.name}: the error of {names[name]} is not known: {reason}"), soft_wrap=True)
    ceiling = calibration.ceiling
    text = (
        f"ceiling{' (at least: the mock was the limit)' if ceiling.is_lower_bound else ''}:"
        f" {ceiling.requests_per_s:.0f} requests/s, {ceiling.events_per_s:.0f} events/s,"
        f" {ceiling.streams:.0f} streams at {calibration.itl_ms:g} ms between tokens"
    )
    console.print(text, soft_wrap=True)


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"


def _show_verdict(console: Console, summary: Summary) -> None:
    if summary.verdict is None:
        return
    text = Text("verdict: ").append(summary.verdict, style=COLOURS[summary.verdict])
    if summary.verdict_reasons:
        text.append(f" ({'; '.join(summary.verdict_reasons)})")
    console.print(text, soft_wrap=True)
