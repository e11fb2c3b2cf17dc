"""`perfbench calibrate`: the client's own error and ceiling."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.values import parse_duration
from perfbench_runner.cli.flags import FlagsCommand, evalscope_flags
from perfbench_runner.cli.given import benchmark_given
from perfbench_runner.cli.streams import stdout_kept_clean
from perfbench_runner.run.folders import new_folder

PATH = click.Path(path_type=Path)


@click.command(name="calibrate", cls=FlagsCommand, short_help="Measure this client's own error and ceiling.")
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
def calibrate(
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
    from perfbench_runner.run import calibrate as calibration

    given = {name: value for name, value in flags.items() if value is not None}
    if file is None:  # only the load matters: the mock takes the target's place
        given = {"url": "http://127.0.0.1", "model": "mock"} | given
    benchmark = benchmark_given(file, overrides, given)[0]
    target = {"mock": {"ttft": mock_ttft, "itl": mock_itl, "outputTokens": output_tokens}}
    mock = PerfBenchmark.read({"metadata": {"name": "calibrate"}, "spec": {"target": target}}).spec.target.mock
    if mock is None:
        raise AssertionError("the target has a mock: it was given two lines above")
    with stdout_kept_clean() if as_json else nullcontext():
        found = calibration.calibrate(benchmark, mock, _seconds(seconds), benchmark.spec.runner.workers)
    path = calibration.store(found, new_folder(outputs_dir, f"calibration-{benchmark.metadata.name}"))
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
