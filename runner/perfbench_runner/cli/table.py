"""What a person sees when a run is over: tables, client health, verdict."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perfbench_runner.results.summary import Distribution, StageSummary, Summary
from perfbench_runner.run.calibrate import Calibration

STATISTICS = ("mean", "p50", "p90", "p95", "p99", "p99_9", "max")
RARE = ("unfinished", "unsent", "no_content", "resent")
"""Counts that are shown where there are any."""
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
    console.print(_load_table(summary))
    for stage in summary.stages:
        console.print(_latency_table(stage))
    if any(stage.server for stage in summary.stages):
        console.print(_server_table(summary))
    for stage in summary.stages:
        if stage.errors:
            kinds = ", ".join(f"{kind} {count}" for kind, count in stage.errors.items())
            console.print(f"{stage.name}: {stage.requests.failed} failed: {kinds}", style="red", soft_wrap=True)
        for note in stage.notes:
            console.print(f"{stage.name}: {note}", style="yellow", soft_wrap=True)
    _show_client(console, summary)
    _show_verdict(console, summary)


def _load_table(summary: Summary) -> Table:
    table = Table(title=summary.name, title_justify="left")
    table.add_column("stage")
    counts = ["failed", *(name for name in RARE if any(getattr(stage.requests, name) for stage in summary.stages))]
    is_cache_known = any(_cached(stage) != "-" for stage in summary.stages)
    cached = ["cached"] if is_cache_known else []
    for column in (
        "requests",
        *(name.replace("_", " ") for name in counts),
        "window s",
        "req/s",
        "output tok/s",
        "input tok/s",
        *cached,
    ):
        table.add_column(column, justify="right")
    for stage in summary.stages:
        table.add_row(
            stage.name,
            str(stage.requests.total),
            *(str(getattr(stage.requests, name)) for name in counts),
            f"{stage.window.duration_s:.2f}" if stage.window else "-",
            _number(stage.request_throughput_rps),
            _number(stage.output_token_throughput_tps) + _mark(stage),
            _number(stage.input_token_throughput_tps),
            *([_cached(stage)] if is_cache_known else []),
        )
    return table


def _cached(stage: StageSummary) -> str:
    """The share of prompt tokens that the server had in its cache."""
    cache = stage.prompt_cache
    return "-" if cache is None or cache.share is None else f"{cache.share:.0%}"


def _mark(stage: StageSummary) -> str:
    """Behind a figure made of tokens: who counted them, where it was not the server."""
    counted = [who for who in ("chunks", "tokenizer", "plugin") if who in stage.token_sources]
    return f" ({', '.join(counted)})" if counted else ""


def _ttft_rows(stage: StageSummary) -> dict[str, Distribution]:
    """The time to first token, and of what; of hits and misses apart where there are both, or the cache is measured."""
    cache = stage.prompt_cache
    if cache is None or cache.state in ("cold", "unknown"):
        return {"TTFT": stage.ttft_s}
    rows = {f"TTFT, cache {cache.state.replace('_', ' ')}": stage.ttft_s}
    if cache.is_intended or (cache.hits and cache.misses):
        rows |= {f"of {cache.hits} hits": cache.hit_ttft_s, f"of {cache.misses} misses": cache.miss_ttft_s}
    return rows


def _latency_table(stage: StageSummary) -> Table:
    table = Table(title=f"stage {stage.name}", title_justify="left")
    table.add_column("ms")
    for column in ("mean", "p50", "p90", "p95", "p99", "p99.9", "max"):
        table.add_column(column, justify="right")
    rows = {
        **_ttft_rows(stage),
        "ITL": stage.itl_s,
        "token gap": stage.token_gap_s,
        f"TPOT{_mark(stage)}": stage.tpot_s,
        "E2E": stage.e2e_latency_s,
        "E2E from schedule": stage.scheduled_latency_s,
    }
    for name, figures in rows.items():
        if figures.count:
            table.add_row(name, *_statistics(figures))
    return table


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


def _server_table(summary: Summary) -> Table:
    table = Table(title="what the server says", title_justify="left")
    table.add_column("stage")
    found = {name: how for name, how in SERVER.items() if any(name in stage.server for stage in summary.stages)}
    for heading, _, _ in found.values():
        table.add_column(heading, justify="right")
    for stage in summary.stages:
        figures = [(stage.server.get(name, {}).get(part), form) for name, (_, part, form) in found.items()]
        table.add_row(stage.name, *("-" if value is None else form.format(value) for value, form in figures))
    return table


def _statistics(figures: Distribution) -> list[str]:
    """Milliseconds; of what is only known to be longer, at least so many."""
    return [
        _ms(getattr(figures, name)) if getattr(figures, name) is not None else _at_least(figures.lower_bounds.get(name))
        for name in STATISTICS
    ]


def _at_least(seconds: float | None) -> str:
    return "-" if seconds is None else f"≥{_ms(seconds)}"


def _show_client(console: Console, summary: Summary) -> None:
    client = summary.client
    text = Text("client: ").append(client.state, style=COLOURS[client.state])
    text.append(f"; latencies {client.latencies}, load {client.load}; stamps: {client.stamps or 'unknown'}")
    if client.reasons:
        text.append(f" ({'; '.join(client.reasons)})")
    console.print(text, soft_wrap=True)
    for stage in (summary.calibration or {}).get("stages", []):
        error = stage["ttft_ms"]
        line = f"calibrated {stage['name']}: TTFT {error['mean']:+.2f} ms (p99 {error['p99']:+.2f} ms) on this machine"
        console.print(line, soft_wrap=True)


def show_calibration(console: Console, calibration: Calibration) -> None:
    """Print the client's own error and ceiling."""
    table = Table(title="this client's error, ms: reported minus true", title_justify="left")
    for column in ("stage", "requests", "TTFT mean", "p50", "p99", "ITL mean", "p50", "p99", "mock late p99", "client"):
        table.add_column(column, justify="left" if column in ("stage", "client") else "right")
    for stage in calibration.stages:
        errors = [
            getattr(figures, name) for figures in (stage.ttft_ms, stage.itl_ms) for name in ("mean", "p50", "p99")
        ]
        late = f"{stage.mock_lateness_ms['p99']:.2f}"
        table.add_row(stage.name, str(stage.requests), *(f"{error:+.2f}" for error in errors), late, stage.client)
    console.print(table)
    ceiling = calibration.ceiling
    text = (
        f"ceiling{' (at least: the mock was the limit)' if ceiling.is_lower_bound else ''}:"
        f" {ceiling.requests_per_s:.0f} requests/s, {ceiling.events_per_s:.0f} events/s,"
        f" {ceiling.streams:.0f} streams at {calibration.itl_ms:g} ms between tokens"
    )
    console.print(text, soft_wrap=True)


def _show_verdict(console: Console, summary: Summary) -> None:
    if summary.verdict is None:
        return
    text = Text("verdict: ").append(summary.verdict, style=COLOURS[summary.verdict])
    if summary.verdict_reasons:
        text.append(f" ({'; '.join(summary.verdict_reasons)})")
    console.print(text, soft_wrap=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}" if value < 10_000 else f"{value:,.0f}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:,.2f}"
