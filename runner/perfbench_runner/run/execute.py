"""A run: make the load and write the files. Whatever happens, what was measured is stored and summarised."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from perfbench_runner.engine.engine import Engine
from perfbench_runner.engine.launch import start_shards
from perfbench_runner.engine.state import End
from perfbench_runner.engine.supervisor import ShardProcess
from perfbench_runner.event_loop import run_loop
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.reading import Tell
from perfbench_runner.results.store import PARTIAL, Store, StoreError
from perfbench_runner.results.writer import told_in_words
from perfbench_runner.run.conclude import Finished, Seldom, conclude, finished
from perfbench_runner.run.facts import facts
from perfbench_runner.run.folders import MANIFEST, held
from perfbench_runner.run.prepare import PreparedRun
from perfbench_runner.shard.places import Places
from perfbench_runner.signals import Interrupts, kept

if TYPE_CHECKING:  # it brings aiohttp, which a run of one runner needs not
    from perfbench_runner.run.leading import Leading

WRITER_NICENESS = 10
"""The control process yields the CPU to the shards: what it does can wait, a stamp cannot."""


def execute(
    prepared: PreparedRun,
    folder: Path,
    observers: Sequence[Observer] = (),
    niceness: int = 0,
    interrupts: Interrupts | None = None,
    leading: "Leading | None" = None,
) -> Finished:
    """Make the load and write the files. Whatever happens, what was measured is stored and summarised.

    Signals end the load; or `interrupts` do, where the caller handles signals. `leading`: the run's other runners.
    """
    with nullcontext(interrupts) if interrupts else kept() as asked:
        return _execute(prepared, folder, observers, niceness, asked, leading)


def _execute(
    prepared: PreparedRun,
    folder: Path,
    observers: Sequence[Observer],
    niceness: int,
    interrupts: Interrupts,
    leading: "Leading | None",
) -> Finished:
    with started(prepared, folder, niceness) as (results, shards, places):

        async def go() -> Finished:
            agreement = leading.agreement if leading else None
            engine = Engine(
                prepared.benchmark.spec, prepared.feed, shards, places, results,
                prepared.wiring.urls, observers,
                interrupts, agreement=agreement,
            )  # fmt: skip
            async with AsyncExitStack() as others:
                if leading is not None:
                    await others.enter_async_context(leading)
                end = await engine.run()
                if leading is not None:
                    end = await leading.collect(end)
                    engine.show()
            # In a thread: it may take minutes, and the endpoint still answers meanwhile.
            loop = asyncio.get_running_loop()
            in_thread = loop.run_in_executor

            def tell(count: int, total: int) -> None:
                loop.call_soon_threadsafe(engine.observers.summarising, count, total)

            done = await in_thread(None, _finish, prepared, folder, results, end, Seldom(tell), leading)
            await engine.observers.close(await in_thread(None, getattr, done, "outcome"))
            return done

        return run_loop(go())


class Started(NamedTuple):
    """What a run of one runner needs: its file, and processes that wait for their event loop's first word."""

    results: Store
    shards: list[ShardProcess]
    places: Places


@contextmanager
def started(prepared: PreparedRun, folder: Path, niceness: int) -> Iterator[Started]:
    """Make the file and start the processes. No event loop may be running, nor any thread."""
    with prepared.cleanup:
        began = datetime.now(UTC)
        manifest = yaml.safe_dump(prepared.manifest, sort_keys=False, allow_unicode=True)
        with _whole_or_nothing(folder):
            results = Store(folder, prepared.benchmark.spec.results.messages)
            with told_in_words(folder / MANIFEST):
                (folder / MANIFEST).write_text(manifest)
            prepared.cleanup.enter_context(held(folder))
            results.set_run(**facts(prepared, manifest, began))
            results.commit()
        places = Places(sides=prepared.feed.together)
        try:
            shards = start_shards(prepared.workers, prepared.wiring, places)
            if niceness and os.nice(0) == 0:
                os.nice(niceness)
            yield Started(results, shards, places)
        finally:
            places.close()


@contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[None]:
    """Remove what was made for a run that cannot begin, as on a full disk: it would be taken for one that was killed."""
    files = [folder / f"{PARTIAL}{ending}" for ending in ("", "-wal", "-shm")] + [folder / MANIFEST]
    made = [file for file in files if not file.exists()]
    try:
        yield
    except StoreError:
        for file in made:
            with suppress(OSError):
                file.unlink()
        raise


def _finish(
    prepared: PreparedRun, folder: Path, results: Store, end: End, tell: Tell, leading: "Leading | None"
) -> Finished:
    if leading is not None:
        try:
            leading.merge(results)
        except StoreError as error:
            end = End("failed", "CannotStore", f"{error} The file of that runner is beside this one")
    path, summary, end = conclude(results, prepared.benchmark, end, tell)
    summary.calibration = prepared.calibration
    return finished(folder, path, summary, end, prepared.benchmark)
