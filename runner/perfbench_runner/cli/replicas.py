"""`perfbench run` where several runners share a load: as their leader, or as a worker, told by the environment.

What several runners need is imported only where there are any.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_runner.cli import streams
from perfbench_runner.observe import termination
from perfbench_runner.observe.observer import Observer
from perfbench_runner.run.execute import WRITER_NICENESS
from perfbench_runner.run.prepare import PreparedRun, prepare

if TYPE_CHECKING:
    from perfbench_runner.run.leading import Leading


def leading(prepared: PreparedRun, folder: Path, env: Mapping[str, str], plugins: Sequence[str]) -> "Leading | None":
    """The other runners of the run, if there are to be any."""
    if prepared.benchmark.spec.runner.replicas == 1:
        return None
    from perfbench_runner.run.leading import Leading

    return Leading(prepared, folder, env, plugins)


def is_worker(env: Mapping[str, str]) -> bool:
    """Whether another process leads the run."""
    return bool(env.get("PERFBENCH_LEADER"))


def work(
    benchmark: PerfBenchmark, env: Mapping[str, str], folder: Path, listen: str | None, termination_message: Path | None
) -> int:
    """Be a worker; the exit code."""
    from perfbench_runner.run import roles, working

    role = roles.worker_role(env)
    welcome = working.meet(role, benchmark.spec)
    prepared = prepare(benchmark, env, draw=lambda seeds: welcome.seed)
    observers = _observers(prepared, listen, termination_message)
    end = working.work(prepared, folder, role, welcome, observers, WRITER_NICENESS)
    if end.message:
        streams.remark(f"{end.state}: {end.message}", "red")
    return working.EXIT_CODES[end.state]


def _observers(prepared: PreparedRun, listen: str | None, termination_message: Path | None) -> list[Observer]:
    """Those who watch a worker: the server's metrics are the leader's business."""
    first: list[Observer] = [termination.TerminationMessage(termination_message)] if termination_message else []
    if not listen:
        return first
    from perfbench_runner.observe.endpoint import Endpoint
    from perfbench_runner.observe.prometheus import Metrics

    metrics = Metrics(prepared.benchmark, prepared.arguments.model or "")
    try:
        endpoint = Endpoint(listen, metrics, prepared.benchmark.spec.runner.linger or 0.0)
    except ValueError as error:
        raise SpecError([str(error)]) from None
    return [*first, metrics, endpoint]
