"""`perfbench plan`: how many runners a manifest needs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from perfbench_api.capacity import HEADROOM
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.values import parse_duration
from perfbench_runner.cli import manifest
from perfbench_runner.results.written import number

WAITED = 0.1
"""A shard that waited for CPUs so much was measured on a machine that was short of them."""

if TYPE_CHECKING:
    from perfbench_runner.run.calibrate import Ceiling

PATH = click.Path(path_type=Path)


@click.command(name="plan", short_help="How many runners a manifest needs, and what they need.")
@click.argument("file", type=PATH)
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a field.")
@click.option("--ttft", default="200ms", show_default=True, help="The endpoint's expected time to first token.")
@click.option("--itl", default="20ms", show_default=True, help="Its expected time between tokens.")
@click.option(
    "--output-tokens",
    type=int,
    help="Its expected length of answers; 256 if not given, or request.maxTokens if that is less.",
)
@click.option(
    "--seconds",
    default="5s",
    show_default=True,
    help="How long the ceiling of a runner is measured here, each of two times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan_command(
    file: Path, overrides: tuple[str, ...], ttft: str, itl: str, output_tokens: int | None, seconds: str, as_json: bool
) -> None:
    """Measure the ceiling of one runner on this machine, and say how many like it the load of FILE needs."""
    import json

    from perfbench_api.capacity import Expected, expected_of
    from perfbench_runner.run.calibrate import ceiling
    from perfbench_runner.run.cpus import available_cpus, default_workers
    from perfbench_runner.run.plan import plan

    benchmark = manifest.load(file, overrides)
    tokens = output_tokens or expected_of(benchmark.spec).output_tokens
    target = {"mock": {"ttft": ttft, "itl": itl, "outputTokens": tokens}}
    mock = PerfBenchmark.read({"metadata": {"name": "plan"}, "spec": {"target": target}}).spec.target.mock
    if mock is None:
        raise AssertionError("the target has a mock: it was given two lines above")
    workers = benchmark.spec.runner.workers or default_workers(available_cpus())
    measured = ceiling(benchmark, mock, _seconds(seconds), workers)
    if measured.requests_per_s <= 0:
        raise SpecError(["no request came back from the mock; is this machine overloaded?"])
    expected = Expected(mock.ttft, mock.itl, tokens)
    found = plan(benchmark.spec, measured, expected, workers, tokens)
    if as_json:
        stages = [stage._asdict() for stage in found.stages]
        click.echo(json.dumps({**found._asdict(), "stages": stages, "ceiling": measured.model_dump()}))
        return
    least = "at least " if measured.is_lower_bound else ""
    click.echo(
        f"one runner here (workers: {workers}): {least}{number(measured.requests_per_s)} requests/s of {tokens} tokens"
    )
    click.echo(f"  {how(measured)}")
    for stage in found.stages:
        why = f" (one runs out of {stage.why})" if stage.why else ""
        rate, streams = number(stage.requests_per_s), number(stage.streams)
        click.echo(f"  {stage.name}: {rate} requests/s, {streams} at a time; runners: {stage.replicas}{why}")
    if found.repeat > 1:
        click.echo(f"  all of them {found.repeat} times (load.repeat), one after the other")
    disk = "not known" if found.disk_mb is None else f"{number(found.disk_mb)} MB"
    disk += f" ({found.disk_reason})" if found.disk_reason else ""
    click.echo(
        f"runner.replicas: {found.replicas}; of each: workers {found.workers}, CPUs {found.cpus},"
        f" memory {found.memory_mb} MB; disk {disk}"
    )


def how(ceiling: "Ceiling") -> str:
    """How a ceiling is known, and what of it a runner is given."""
    given = f"each is given {HEADROOM:.0%} of that, {number(HEADROOM * ceiling.requests_per_s)}"
    instant = f"{number(ceiling.instant_rps)} requests/s of answers at once"
    paced = ceiling.paced
    if paced is None:
        return f"by {instant}; what tokens one by one cost is not known; {given}"
    busiest = "the control process" if paced.control_ms >= paced.shard_ms else "the busiest shard"
    waited = (
        f"; a shard waited for a CPU {paced.wait_share:.0%} of the time: measure where nothing else runs, or on more CPUs"
        if paced.wait_share > WAITED
        else ""
    )
    return (
        f"the lower one of {instant}, and {number(paced.ceiling_rps)} whose tokens come every {paced.itl_ms:.3g} ms, of which"
        f" each takes {busiest} {max(paced.shard_ms, paced.control_ms):.3g} ms of its CPU{waited}; {given}"
    )


def _seconds(text: str) -> float:
    try:
        return float(parse_duration(text)) or 1.0
    except ValueError as error:
        raise SpecError([f"--seconds: {error}"]) from None
