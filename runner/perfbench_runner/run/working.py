"""A run from a worker's side: it makes its part of the load, hands over its file, and says nothing of the whole."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from perfbench_api.outcome import Outcome
from perfbench_api.resource import Spec, SpecError
from perfbench_runner.engine.engine import Engine
from perfbench_runner.engine.state import End
from perfbench_runner.event_loop import run_loop
from perfbench_runner.load.feed import REFUSALS
from perfbench_runner.observe.counts import Counts
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.store import StoreError
from perfbench_runner.run.execute import started
from perfbench_runner.run.prepare import PreparedRun
from perfbench_runner.run.roles import Role
from perfbench_runner.runners.link import UNREACHABLE, LeaderError, report_in
from perfbench_runner.runners.messages import Leaving, Welcome
from perfbench_runner.runners.sending import hand_over
from perfbench_runner.runners.worker import Worker
from perfbench_runner.signals import kept

HANDOVER_S = 540.0
"""A little less than the leader waits."""
EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 130}


def meet(role: Role, spec: Spec) -> Welcome:
    """Report in with the leader, before anything is prepared: the seed is the leader's. Raises SpecError."""
    try:
        return run_loop(report_in(role.link(), role.hello(spec), spec.runner.start_deadline))
    except LeaderError as error:
        raise SpecError([f"runner {role.runner}: {error}"]) from None


def leave(role: Role, error: Exception) -> None:
    """Tell the leader that this worker could not be prepared, so that nobody waits for it; it may not hear that."""

    async def go() -> None:
        async with role.link() as link:
            said = Leaving(instance=role.instance, state="failed", reason="CannotStart", message=str(error)[:4000])
            await link.say("leaving", said)

    with suppress(LeaderError, *UNREACHABLE):
        run_loop(go())


def work(
    prepared: PreparedRun,
    folder: Path,
    role: Role,
    welcome: Welcome,
    observers: Sequence[Observer] = (),
    niceness: int = 0,
) -> End:
    """Make this worker's part of the load and hand over its file: how that ended."""
    counts = Counts(prepared.benchmark.spec)
    with kept() as interrupts, started(prepared, folder, niceness) as (results, shards, places):

        async def go() -> End:
            async with Worker(role.link(), welcome) as worker:
                engine = Engine(
                    prepared.benchmark.spec, prepared.feed, shards, places, results, prepared.wiring.urls,
                    [counts, *observers], interrupts, agreement=worker,
                )  # fmt: skip
                worker.progress = partial(engine.figures, counts)
                end = await _run(engine, worker)
                results.set_run(state=end.state, reason=end.reason, message=end.message)
                try:
                    path = await asyncio.to_thread(results.close)
                    left = worker.left.message or worker.left.reason if worker.left else ""
                    await hand_over(worker, path, prepared.workers, left, HANDOVER_S)
                except StoreError as error:
                    end = End("failed", "CannotStore", str(error))
                except LeaderError as error:
                    if end.state == "complete":
                        end = End("failed", error.reason, str(error))
            await engine.observers.close(_outcome(end))
            return end

        return run_loop(go())


async def _run(engine: Engine, worker: Worker) -> End:
    """Make the load, and tell its last figures: how it ended. What ends by a bug keeps what was measured, too."""
    try:
        end = await engine.run()
        if not worker.is_broken:
            await worker.tell()
    except (*REFUSALS, StoreError):  # bad input, which is told as such
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is: else the leader knows only that nothing is heard of us
        end = worker.broken(error)
        worker.stopped(end)
        worker.left = worker.left or end
    return end


def _outcome(end: End) -> Outcome:
    state = {"complete": "succeeded"}.get(end.state, end.state)
    return Outcome.model_validate({"outcome": state, "reason": end.reason, "message": end.message})
