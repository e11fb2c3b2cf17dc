"""`perfbench run` where several runners share a load: as their leader, or as a worker, told by the environment.

What several runners need is imported only where there are any.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections.runner import AUTO
from perfbench_runner.cli import streams
from perfbench_runner.observe import termination
from perfbench_runner.observe.observer import Observer
from perfbench_runner.run.execute import WRITER_NICENESS
from perfbench_runner.run.prepare import PreparedRun, prepare

if TYPE_CHECKING:
    from perfbench_runner.run.leading import Leading


AUTO_S = 2.0
"""How long the ceiling of one runner is measured for `runner.replicas: auto`."""


def decided(benchmark: PerfBenchmark) -> PerfBenchmark:
    """The benchmark with a number in place of `runner.replicas: auto`: as many runners as it needs and this machine can feed."""
    if benchmark.spec.runner.replicas != AUTO:
        return benchmark
    from perfbench_api.capacity import Carried, expected_of, needs_at_most, runners_for
    from perfbench_api.sections import MockTarget
    from perfbench_runner.run.calibrate import ceiling
    from perfbench_runner.run.cpus import available_cpus, default_workers

    cpus = available_cpus()
    workers = benchmark.spec.runner.workers or default_workers(cpus)
    carried, expected = 1.0, expected_of(benchmark.spec)
    if needs_at_most(benchmark.spec) > 1:  # else nothing has to be known of this machine
        mock = MockTarget(ttft=expected.ttft_s, itl=expected.itl_s, output_tokens=expected.output_tokens)
        carried = ceiling(benchmark, mock, AUTO_S, workers).requests_per_s
        if carried <= 0:
            raise SpecError(
                ["runner.replicas: auto: this machine is too busy to measure what a runner carries; give a number"]
            )
    wanted = runners_for(benchmark.spec, Carried(carried, expected.output_tokens), expected)
    fed = max(1, int(cpus) // (workers + 1))
    text = f"runner.replicas: auto is {min(wanted, fed)}"
    if wanted > fed:
        text += f": the load needs {wanted} runners like one here, and the CPUs of this machine feed {fed}"
    streams.remark(text, "yellow" if wanted > fed else None)
    runner = benchmark.spec.runner.model_copy(update={"replicas": min(wanted, fed)})
    return benchmark.model_copy(update={"spec": benchmark.spec.model_copy(update={"runner": runner})})


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
    try:
        prepared = prepare(benchmark, env, draw=lambda seeds: welcome.seed)
    except Exception as error:  # whatever it is, it is told as ever
        working.leave(role, error)
        raise
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

    metrics = Metrics(prepared.benchmark, prepared.models)
    try:
        endpoint = Endpoint(listen, metrics, prepared.benchmark.spec.runner.linger or 0.0)
    except ValueError as error:
        raise SpecError([str(error)]) from None
    return [*first, metrics, endpoint]
