"""A run: make the load and write the files. Whatever happens, what was measured is stored and summarised."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import yaml

from perfbench_runner.engine.engine import Engine
from perfbench_runner.engine.launch import start_shards
from perfbench_runner.engine.state import End
from perfbench_runner.event_loop import run_loop
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.reading import Tell
from perfbench_runner.results.store import Store
from perfbench_runner.results.writer import told_in_words
from perfbench_runner.run.conclude import Finished, Seldom, conclude, finished
from perfbench_runner.run.facts import facts
from perfbench_runner.run.folders import MANIFEST, held
from perfbench_runner.run.prepare import PreparedRun
from perfbench_runner.shard.places import Places
from perfbench_runner.signals import Interrupts, kept

WRITER_NICENESS = 10
"""The control process yields the CPU to the shards: what it does can wait, a stamp cannot."""


def execute(
    prepared: PreparedRun,
    folder: Path,
    observers: Sequence[Observer] = (),
    niceness: int = 0,
    interrupts: Interrupts | None = None,
) -> Finished:
    """Make the load and write the files. Whatever happens, what was measured is stored and summarised.

    Signals end the load; or `interrupts` do, where the caller handles signals.
    """
    with nullcontext(interrupts) if interrupts else kept() as asked:
        return _execute(prepared, folder, observers, niceness, asked)


def _execute(
    prepared: PreparedRun, folder: Path, observers: Sequence[Observer], niceness: int, interrupts: Interrupts
) -> Finished:
    benchmark = prepared.benchmark
    with prepared.cleanup:
        started = datetime.now(UTC)
        manifest = yaml.safe_dump(prepared.manifest, sort_keys=False, allow_unicode=True)
        results = Store(folder, benchmark.spec.results.messages)
        with told_in_words(folder / MANIFEST):
            (folder / MANIFEST).write_text(manifest)
        prepared.cleanup.enter_context(held(folder))
        results.set_run(**facts(prepared, manifest, started))
        results.commit()
        places = Places()
        shards = start_shards(prepared.workers, prepared.wiring, places)
        if niceness and os.nice(0) == 0:
            os.nice(niceness)

        async def go() -> Finished:
            engine = Engine(
                benchmark.spec, prepared.feed, shards, places, results, prepared.wiring.url, observers, interrupts
            )
            end = await engine.run()
            # In a thread: it may take minutes, and the endpoint still answers meanwhile.
            loop = asyncio.get_running_loop()
            in_thread = loop.run_in_executor

            def tell(count: int, total: int) -> None:
                loop.call_soon_threadsafe(engine.observers.summarising, count, total)

            done = await in_thread(None, _finish, prepared, folder, results, end, Seldom(tell))
            await engine.observers.close(await in_thread(None, getattr, done, "outcome"))
            return done

        try:
            return run_loop(go())
        finally:
            places.close()


def _finish(prepared: PreparedRun, folder: Path, results: Store, end: End, tell: Tell) -> Finished:
    path, summary, end = conclude(results, prepared.benchmark, end, tell)
    summary.calibration = prepared.calibration
    return finished(folder, path, summary, end, prepared.benchmark)
