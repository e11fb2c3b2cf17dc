"""The attempts of a benchmark in a cluster: every pod has a folder of its own below the benchmark's, and one of them counts."""

from contextlib import closing, suppress
from pathlib import Path

import yaml
from pydantic import ValidationError

from perfbench_api.resource import PerfBenchmark
from perfbench_runner.engine.state import End
from perfbench_runner.results import reading, store
from perfbench_runner.results.store import StoreError
from perfbench_runner.run.conclude import Finished, recover
from perfbench_runner.run.folders import MANIFEST, SUMMARY


def finish(folder: Path) -> Finished:
    """What the attempts below a folder have left: the last one that went to its end, else the last one, finished if need be.

    A folder that holds a run itself is that run. Raises StoreError where there is nothing.
    """
    held = [attempt for attempt in _attempts(folder) if (attempt / MANIFEST).exists()]
    for attempt in held:
        with suppress(StoreError):
            if (found := _finished(attempt)).end.state == "complete":
                return found
    if not held:
        raise StoreError(f"{folder} holds no run: no {MANIFEST} in it, or in a folder below")
    return recover(held[0]) if (held[0] / store.PARTIAL).exists() else _finished(held[0])


def _attempts(folder: Path) -> list[Path]:
    """The folder and those below, the newest first."""
    below = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted([folder, *below], key=_began_s, reverse=True)


def _began_s(attempt: Path) -> float:
    manifest = attempt / MANIFEST
    return manifest.stat().st_mtime if manifest.exists() else 0.0


def _finished(folder: Path) -> Finished:
    """A run whose files are finished, as they tell it; raises StoreError."""
    from perfbench_runner.results.summary import Summary

    path = folder / store.FILE
    with closing(reading.open_results(path)) as db:
        facts = reading.facts(db)
    try:
        summary = Summary.model_validate_json((folder / SUMMARY).read_text())
        end = End(summary.state, facts.get("reason", ""), summary.message)
        benchmark = PerfBenchmark.read(yaml.safe_load((folder / MANIFEST).read_text()))
    except (OSError, ValidationError, ValueError) as error:
        raise StoreError(f"{folder} holds a run whose files cannot be read: {error}") from None
    return Finished(folder, path, summary, end, benchmark)
