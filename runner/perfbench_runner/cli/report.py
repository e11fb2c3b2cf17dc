"""What is printed of a run that is over."""

import click

from perfbench_runner.cli import streams
from perfbench_runner.run.conclude import Finished


def report(finished: Finished, as_json: bool) -> None:
    """Print the tables, or summary.json, and where the files are; on stderr what is to be said beside."""
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
