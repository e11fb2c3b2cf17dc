"""The command `perfbench`."""

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

from perfbench_api.redaction import KNOWN, without_keys
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import MockTarget
from perfbench_api.values import parse_duration
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.base import DatasetError
from perfbench_plugins.loading import load_plugins
from perfbench_plugins.registry import PluginError
from perfbench_plugins.tokens import TokenizerError
from perfbench_runner import signals
from perfbench_runner.cli import manifest, replicas, streams
from perfbench_runner.cli.flags import FlagsCommand, arguments_of, evalscope_flags
from perfbench_runner.cli.mock_command import mock
from perfbench_runner.cli.past_runs import list_command, show_command
from perfbench_runner.cli.plan_command import plan_command
from perfbench_runner.cli.plugins import plugins as plugins_command
from perfbench_runner.cli.streams import log_without_secrets, stdout_kept_clean
from perfbench_runner.observe import termination
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.store import StoreError
from perfbench_runner.run import disk, secrets
from perfbench_runner.run.conclude import Finished
from perfbench_runner.run.execute import WRITER_NICENESS, execute
from perfbench_runner.run.facts import own_version
from perfbench_runner.run.folders import new_folder, own_folder
from perfbench_runner.run.prepare import PreparedRun, benchmark_of, prepare

PATH = click.Path(path_type=Path)
BAD_INPUT = (SpecError, DatasetError, PluginError, TokenizerError, StoreError)


class Group(click.Group):
    """Turns mistakes in the input into one line each and exit code 2; everything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BAD_INPUT as error:
            for line in str(error).splitlines():
                click.secho(f"error: {without_keys(KNOWN.text(line))}", fg="red", err=True)
            ctx.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(own_version(), prog_name="perfbench")
def main() -> None:
    """Measure LLM inference endpoints: exact, small, honest about its own error."""


main.add_command(plugins_command)


@main.command(cls=FlagsCommand, short_help="Run a benchmark from a manifest or from flags.")
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
        benchmark, key, headers, arguments = _benchmark(file, (*manifest.several_targets(targets), *overrides), given)
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
        text, is_warning = disk.told(prepared.results_bytes, folder)
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
        _report(finished, as_json)
    except OSError as error:
        if not streams.is_unwritable(error):
            raise
        streams.give_up(error)
        streams.remark(f"results: {finished.results}")
        code = code or 1
    sys.exit(code)


def _benchmark(
    file: Path | None, overrides: tuple[str, ...], flags: dict[str, Any]
) -> tuple[PerfBenchmark, str | None, dict[str, str], Arguments | None]:
    """The validated object that both ways lead to, and the credentials that it must not hold."""
    if file is not None:
        seed, debug = flags.pop("seed", None), flags.pop("debug", None)
        if flags:
            raise SpecError([_both(file, flags)])
        del debug
        return manifest.load(file, overrides, seed), None, {}, None
    if not flags:
        raise SpecError(["nothing to run; give a manifest FILE, or --url and --model (see perfbench run --help)"])
    arguments = arguments_of(flags)
    # EvalScope's default URL is for its programs: nobody who forgets --url means that address.
    is_usual = "url" not in flags and not flags.get("api", "").startswith("local")
    data = benchmark_of(arguments)
    for override in overrides:
        manifest.assign(data, override)
    if is_usual and not data["spec"]["targets"]:
        raise SpecError(["--url: missing; give url, the address of the endpoint (perfbench mock serves one to try)"])
    if is_usual:
        data["spec"]["target"].pop("url", None)
    return PerfBenchmark.read(data), *secrets.of_arguments(arguments), arguments


def _both(file: Path, flags: dict[str, Any]) -> str:
    """What is wrong with a FILE beside flags: most often it is no file, but a second value of a flag that takes one."""
    names = ", ".join(f"--{name.replace('_', '-')}" for name in flags)
    if file.suffix in (".yaml", ".yml", ".json") or file.is_file():
        return f"{file}: a manifest goes without {names}; use --set to change its fields"
    return f"{file}: is taken for a manifest FILE, which goes without {names}; does it belong to a flag, which takes one value?"


def _calibration(benchmark: PerfBenchmark) -> dict[str, Any]:
    from perfbench_runner.run.calibrate import calibrate

    return calibrate(benchmark, MockTarget(), 5.0, benchmark.spec.runner.workers).model_dump()


def _show_dry_run(prepared: PreparedRun) -> None:
    with prepared.cleanup:
        click.echo(yaml.safe_dump(prepared.manifest, sort_keys=False, allow_unicode=True))
        if prepared.results_bytes is not None:
            click.echo(f"# results: about {disk.size(prepared.results_bytes)} at most", err=True)
        bodies = prepared.feed.first_bodies()
        for wiring, kind, body in zip(prepared.wiring.all, prepared.feed.kinds, bodies, strict=True):
            whose = f" of {kind.whose}" if kind.whose else ""
            click.echo(KNOWN.text(f"# first request{whose}: POST {wiring.url}"), err=True)
            click.echo(KNOWN.text(json.dumps(json.loads(body), indent=2, ensure_ascii=False)), err=True)


def _watch(run: Callable[..., Finished], quiet: bool, watch: bool, monitors: Sequence[Observer]) -> Finished:
    """Execute, with progress on stderr."""
    from perfbench_runner.cli.progress import ProgressLine, console
    from perfbench_runner.cli.watch import WatchView

    with (WatchView if watch else ProgressLine)(console(stderr=True), quiet) as line:
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


def _report(finished: Finished, as_json: bool) -> None:
    if as_json:
        click.echo(finished.summary.model_dump_json())
    elif finished.summary.stages:  # else nothing was measured, and the message below says why
        from perfbench_runner.cli.progress import console
        from perfbench_runner.cli.table import show_summary

        show_summary(console(), finished.summary)
        click.echo(f"results: {finished.results}")
        if finished.summary_file:
            click.echo(f"summary: {finished.summary_file}")
    if finished.end.message:
        streams.remark(f"{finished.end.state}: {finished.end.message}", "red")
    if finished.summary.client.state == "invalid":
        streams.remark("warning: the client itself was too slow to be believed; see `client` above", "yellow")


@main.command(name="calibrate", cls=FlagsCommand, short_help="Measure this client's own error and ceiling.")
@click.argument("file", required=False, type=PATH)
@click.option("--ttft", "mock_ttft", default="50ms", show_default=True, help="The mock's time to first token.")
@click.option("--itl", "mock_itl", default="10ms", show_default=True, help="The mock's time between tokens.")
@click.option("--output-tokens", default=64, show_default=True, help="Length of the mock's answers.")
@click.option("--seconds", default="10s", show_default=True, help="Length of each load level: 10, 30s, 1m.")
@click.option(
    "-o", "--outputs-dir", default="outputs", show_default=True, type=PATH, help="Gets a folder with calibration.json."
)
@click.option("--json", "as_json", is_flag=True, help="Print calibration.json instead of tables.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a field.")
@evalscope_flags
def calibrate_command(
    file: Path | None,
    mock_ttft: str,
    mock_itl: str,
    output_tokens: int,
    seconds: str,
    outputs_dir: Path,
    as_json: bool,
    overrides: tuple[str, ...],
    **flags: Any,
) -> None:
    """Send the load shape of a manifest FILE, or of flags as for `run`, to the bundled mock, whose truth is known."""
    from perfbench_runner.run import calibrate

    given = {name: value for name, value in flags.items() if value is not None}
    if file is None:  # only the load matters: the mock takes the target's place
        given = {"url": "http://127.0.0.1", "model": "mock"} | given
    benchmark = _benchmark(file, overrides, given)[0]
    target = {"mock": {"ttft": mock_ttft, "itl": mock_itl, "outputTokens": output_tokens}}
    mock = PerfBenchmark.read({"metadata": {"name": "calibrate"}, "spec": {"target": target}}).spec.target.mock
    if mock is None:
        raise AssertionError("the target has a mock: it was given two lines above")
    with stdout_kept_clean() if as_json else nullcontext():
        found = calibrate.calibrate(benchmark, mock, _seconds(seconds), benchmark.spec.runner.workers)
    path = calibrate.store(found, new_folder(outputs_dir, f"calibration-{benchmark.metadata.name}"))
    if as_json:
        click.echo(found.model_dump_json())
        return
    from perfbench_runner.cli.progress import console
    from perfbench_runner.cli.table import show_calibration

    show_calibration(console(), found)
    click.echo(f"calibration: {path}")


def _seconds(text: str) -> float:
    try:
        seconds = float(parse_duration(text))
    except ValueError as error:
        raise SpecError([f"--seconds: {error}"]) from None
    if not seconds:
        raise SpecError(["--seconds: must be more than 0"])
    return seconds


@main.command(short_help="Finish the files of a run that was killed.")
@click.argument("folder", type=PATH)
@click.option(
    "--termination-message", type=PATH, hidden=True, help="Write the outcome there, as JSON for the operator."
)
def recover(folder: Path, termination_message: Path | None) -> None:
    """Turn what a killed run had committed into its results file and summary, and print it."""
    from perfbench_runner.run import attempts, conclude

    if termination_message:
        with termination.told(termination_message, BAD_INPUT):
            found = attempts.finish(folder)
        termination_message.write_bytes(found.outcome.message_bytes())
        return
    from perfbench_runner.cli.progress import ProgressLine, console

    with ProgressLine(console(stderr=True)) as line:
        finished = conclude.recover(folder, conclude.Seldom(line.summarising))
    _report(finished, as_json=False)
    sys.exit(1 if finished.end.state == "failed" else 0)


main.add_command(show_command)
main.add_command(list_command)
main.add_command(mock)
main.add_command(plan_command)


@main.command(short_help="Print what a field of the manifest means.")
@click.argument("field", required=False, default="spec")
def explain(field: str) -> None:
    """Print type, unit, default and meaning of a FIELD such as spec.load.stages.rate, and of what is in it."""
    from perfbench_api.explain import explain as text

    click.echo(text(field))
