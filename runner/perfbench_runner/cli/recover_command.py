"""`perfbench recover`: the files of a run that was killed."""

import sys
from pathlib import Path

import click

from perfbench_runner.cli.mistakes import BAD_INPUT
from perfbench_runner.cli.report import report
from perfbench_runner.observe import termination

PATH = click.Path(path_type=Path)


@click.command(short_help="Finish the files of a run that was killed, or had no room left.")
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
    report(finished, as_json=False)
    sys.exit(1 if finished.end.state == "failed" else 0)
