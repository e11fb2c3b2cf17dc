"""Runs that are over, or under way elsewhere: `perfbench show` prints one again, `perfbench ls` lists them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from perfbench_runner.results import store
from perfbench_runner.results.store import StoreError
from perfbench_runner.run.folders import MANIFEST, SUMMARY

PATH = click.Path(path_type=Path)


@click.command(name="show", short_help="Print the tables of an earlier run again.")
@click.argument("folder", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print its summary.json instead of tables.")
def show_command(folder: Path, as_json: bool) -> None:
    """Print the tables of the run in FOLDER (or of its summary.json or results.sqlite) again."""
    from perfbench_runner.cli.progress import console
    from perfbench_runner.cli.table import show_summary
    from perfbench_runner.results.summary import Summary

    if not folder.exists():
        raise StoreError(f"there is no {folder}; perfbench ls lists the runs that there are")
    file = folder / SUMMARY if folder.is_dir() else folder.parent / SUMMARY
    text = _text_of(file)
    if as_json:
        click.echo(text)
        return
    try:
        summary = Summary.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(f"{file} is no summary that this version reads: {where}: {first['msg']}") from None
    show_summary(console(), summary)
    if summary.message:
        click.echo(f"{summary.state}: {summary.message}", err=True)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if (file.parent / store.PARTIAL).exists():
            raise StoreError(
                f"{file.parent}: the run is under way, or was killed: then perfbench recover {file.parent} finishes it"
            ) from None
        raise StoreError(f"there is no run in {file.parent}: no {SUMMARY}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"cannot read {file}: {error}") from None


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it."""

    folder: Path
    started: str
    name: str
    state: str
    verdict: str
    stages: str
    client: str


@click.command(name="ls", short_help="List the runs in a folder.")
@click.argument("outputs", required=False, default="outputs", type=PATH)
def list_command(outputs: Path) -> None:
    """List the runs in the folder OUTPUTS (outputs, if not given) and below, the latest last."""
    from perfbench_runner.cli.grid import Column, show_grid
    from perfbench_runner.cli.progress import console

    if not outputs.is_dir():
        raise StoreError(f"there is no folder {outputs}; runs are in the folder that --outputs-dir names")
    runs = sorted(runs_in(outputs), key=lambda run: (run.started, str(run.folder)))
    if not runs:
        click.echo(f"no runs in {outputs}")
        return
    names = ("started", "name", "state", "verdict", "stages", "client")
    columns = [Column(name, [getattr(run, name) for run in runs], is_text=name != "stages") for name in names]
    out = console()
    folders = [str(run.folder) for run in runs]
    show_grid(out, str(outputs), columns[0], [*columns[1:], Column("folder", folders, is_text=True)])


def runs_in(outputs: Path) -> Iterator[Run]:
    """All runs in a folder and below; of those without a summary, whether they are unfinished."""
    for manifest in outputs.rglob(MANIFEST):
        folder = manifest.parent
        summary = _summary_of(folder / SUMMARY)
        if summary is not None:
            yield Run(
                folder,
                str(summary.get("started_at", ""))[:19].replace("T", " ") or "-",
                str(summary.get("name", folder.name)),
                str(summary.get("state", "-")),
                str(summary.get("verdict") or "-"),
                str(len(summary.get("stages", ()))),
                str((summary.get("client") or {}).get("state", "-")),
            )
        elif (folder / store.PARTIAL).exists():
            yield Run(folder, "-", folder.name, "unfinished", "-", "-", "-")


def _summary_of(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
