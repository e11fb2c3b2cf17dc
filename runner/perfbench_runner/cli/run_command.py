"""`perfbench run`. What it imports is loaded before the first request: what shows results comes after the load."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml

from perfbench_api.redaction import KNOWN
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import MockTarget
from perfbench_plugins.loading import load_plugins
from perfbench_runner import signals
from perfbench_runner.cli import manifest, replicas, streams
from perfbench_runner.cli.flags import FlagsCommand, evalscope_flags
from perfbench_runner.cli.given import benchmark_given
from perfbench_runner.cli.mistakes import BAD_INPUT
from perfbench_runner.cli.report import report
from perfbench_runner.cli.streams import log_without_secrets, stdout_kept_clean
from perfbench_runner.observe import termination
from perfbench_runner.observe.observer import Observer
from perfbench_runner.run import disk, secrets
from perfbench_runner.run.conclude import Finished
from perfbench_runner.run.execute import WRITER_NICENESS, execute
from perfbench_runner.run.folders import new_folder, own_folder
from perfbench_runner.run.prepare import PreparedRun, prepare

PATH = click.Path(path_type=Path)


@click.command(cls=FlagsCommand, short_help="Run a benchmark from a manifest or from flags.")
@click.argument("file", required=False, type=PATH)
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a field.")
@click.option(
    "-o",
    "--outputs-dir",
    default="outputs",
    show_default=True,
    type=PATH,
    help="Folder that gets a folder for each run.",
)
@click.option("--results-dir", type=PATH, help="Write into exactly this folder.")
@click.option(
    "--dry-run", is_flag=True, help="Print the resolved manifest, and on stderr the first request; send nothing."
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("--watch", is_flag=True, help="Show how rate, latencies and failures go, on a terminal.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE|MODULE", help="Load a plugin of your own first.")
@click.option("--calibrate", is_flag=True, help="Measure this client's own error first and put it beside the result.")
@click.option("--listen", metavar="HOST:PORT", help="Serve /healthz, /progress, /outcome and /metrics.")
@click.option(
    "--replicas", "runners", type=click.IntRange(1, 1000), help="Share the load among so many runners on this machine."
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME=URL",
    help="One of several endpoints to compare in one run; give it for each.",
)
@click.option("--no-fail", is_flag=True, help="Exit with 0 whatever the verdict; a run that failed still exits with 1.")
@click.option("--termination-message", type=PATH, hidden=True)
@evalscope_flags
def run(
    file: Path | None,
    overrides: tuple[str, ...],
    plugins: tuple[str, ...],
    outputs_dir: Path,
    results_dir: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    watch: bool,
    calibrate: bool,
    listen: str | None,
    runners: int | None,
    targets: tuple[str, ...],
    no_fail: bool,
    termination_message: Path | None,
    **flags: Any,
) -> None:
    """Run a PerfBenchmark FILE, or one described by flags named as in `evalscope perf`.

    \b
    Exit codes: 0 fine, 1 the run failed or too many requests did, 2 bad input, 3 verdict Failed,
    4 verdict Inconclusive, 130 interrupted.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    log_without_secrets(logging.DEBUG if flags.get("debug") else logging.WARNING)
    env = secrets.environment()
    secrets.learn_environment(env)
    KNOWN.add(given.get("api_key"), secrets.API_KEY)
    overrides = (*overrides, *([f"spec.runner.replicas={runners}"] if runners else []))
    alone = stdout_kept_clean() if as_json and not dry_run else nullcontext()
    with alone, termination.told(termination_message, BAD_INPUT):
        load_plugins(plugins)
        benchmark, key, headers, arguments = benchmark_given(
            file, (*manifest.several_targets(targets), *overrides), given
        )
        if replicas.is_worker(env):
            sys.exit(replicas.work(benchmark, env, own_folder(results_dir or outputs_dir), listen, termination_message))
        benchmark = replicas.decided(benchmark)
        prepared = prepare(benchmark, env, key, headers)
        if dry_run:
            _show_dry_run(prepared)
            return
        monitors = _monitors(prepared, listen, termination_message)
        with_time = not (arguments and arguments.no_timestamp)
        folder = own_folder(results_dir) if results_dir else new_folder(outputs_dir, benchmark.metadata.name, with_time)
        text, is_warning = disk.told(prepared.room, folder)
        if is_warning or (text and not quiet):
            streams.remark(f"{'warning: ' if is_warning else ''}{text}", "yellow" if is_warning else None)
        if calibrate:
            prepared.calibration = _calibration(benchmark)
        leading = replicas.leading(prepared, folder, env, plugins)
        finished = _watch(partial(execute, prepared, folder, leading=leading), quiet, watch, monitors)
    code = 0 if no_fail and finished.end.state == "complete" else finished.exit_code
    signals.exit_with(code)  # all is stored
    if streams.is_stdout_closed():
        streams.remark(f"error: a plugin has closed stdout; results: {finished.results}", "red")
        code = code or 1
    try:
        report(finished, as_json)
    except OSError as error:
        if not streams.is_unwritable(error):
            raise
        streams.give_up(error)
        streams.remark(f"results: {finished.results}")
        code = code or 1
    sys.exit(code)


def _calibration(benchmark: PerfBenchmark) -> dict[str, Any]:
    from perfbench_runner.run.calibrate import calibrate

    return calibrate(benchmark, MockTarget(), 5.0, benchmark.spec.runner.workers).model_dump()


def _show_dry_run(prepared: PreparedRun) -> None:
    with prepared.cleanup:
        click.echo(yaml.safe_dump(prepared.manifest, sort_keys=False, allow_unicode=True))
        if prepared.room is not None:
            click.echo(f"# results: {disk.in_words(prepared.room)}", err=True)
        bodies = prepared.feed.first_bodies()
        for wiring, kind, body in zip(prepared.wiring.all, prepared.feed.kinds, bodies, strict=True):
            whose = f" of {kind.whose}" if kind.whose else ""
            click.echo(KNOWN.text(f"# first request{whose}: POST {wiring.url}"), err=True)
            click.echo(KNOWN.text(json.dumps(json.loads(body), indent=2, ensure_ascii=False)), err=True)


def _watch(run: Callable[..., Finished], quiet: bool, watch: bool, monitors: Sequence[Observer]) -> Finished:
    """Execute, with progress on stderr."""
    if quiet:
        return run(monitors, niceness=WRITER_NICENESS)
    from perfbench_runner.cli.progress import ProgressLine, console
    from perfbench_runner.cli.watch import WatchView

    with (WatchView if watch else ProgressLine)(console(stderr=True)) as line:
        return run([line, *monitors], niceness=WRITER_NICENESS)


def _monitors(prepared: PreparedRun, listen: str | None, termination_message: Path | None) -> list[Observer]:
    """Those who ask the server, and tell others, how the run goes; imported only where they are asked for.

    In the order in which they close: first what must not be lost, last the endpoint, which may linger.
    """
    from perfbench_runner.server.collector import ServerMetrics, sources

    spec = prepared.benchmark.spec
    wanted = "off" if spec.targets else spec.target.metrics  # those of several servers would be taken for one's
    server = ServerMetrics(sources(wanted, prepared.wiring), wanted == "auto")
    push = prepared.benchmark.spec.results.push
    first: list[Observer] = [
        *([termination.TerminationMessage(termination_message)] if termination_message else []),
        server,
    ]
    if not listen and not push:
        return first
    from perfbench_runner.observe.endpoint import HANDOVER_S, Endpoint
    from perfbench_runner.observe.prometheus import Metrics
    from perfbench_runner.observe.push import Push

    metrics = Metrics(prepared.benchmark, prepared.models, server.latest)
    found = [*first, metrics, *([Push(push, metrics)] if push else [])]
    linger_s = prepared.benchmark.spec.runner.linger or 0.0
    handover_s = HANDOVER_S if termination_message else 0.0  # else nobody is expected to ask
    try:
        return [*found, *([Endpoint(listen, metrics, linger_s, handover_s)] if listen else [])]
    except ValueError as error:
        raise SpecError([str(error)]) from None
