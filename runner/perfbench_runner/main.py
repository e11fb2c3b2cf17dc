"""From Python: `run_perf_benchmark(Arguments(...))`, as EvalScope's users know it."""

import asyncio
import signal
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Stage
from perfbench_api.sections.load import USUAL_REQUESTS
from perfbench_plugins.arguments import Arguments
from perfbench_runner.cli.progress import ProgressLine, console
from perfbench_runner.cli.stage_results import StageResults
from perfbench_runner.cli.table import show_summary
from perfbench_runner.engine.launch import is_fork_safe
from perfbench_runner.run import disk, secrets
from perfbench_runner.run.conclude import Finished
from perfbench_runner.run.execute import execute
from perfbench_runner.run.folders import new_folder
from perfbench_runner.run.prepare import benchmark_of, prepare
from perfbench_runner.shard.wired import pack
from perfbench_runner.signals import kept


def run_perf_benchmark(args: Arguments | Mapping[str, Any] | Namespace) -> dict[str, Any]:
    """Run a benchmark; returns its summary for each stage, by `parallel_<P>_number_<N>` or `rate_<R>_number_<N>`.

    Each value has `metrics` (the stage's figures, keys of summary.json), `summary` (the run's) and `outputs_dir`.
    Progress, the tables and where the results are go to stderr. Raises SpecError, DatasetError, PluginError or
    TokenizerError before anything is sent, and RuntimeError when the run fails; its results are stored all the same.

    Where an event loop is running, as in a notebook, the benchmark gets a thread of its own, and this waits for it.
    Signals end the load; when all is stored they do what they would have done: Ctrl-C raises KeyboardInterrupt.
    """
    arguments = (
        args if isinstance(args, Arguments) else Arguments.from_dict(args if isinstance(args, Mapping) else vars(args))
    )
    prepared = prepare(
        PerfBenchmark.read(benchmark_of(arguments)), secrets.environment(), *secrets.of_arguments(arguments)
    )
    is_loop_running = _is_loop_running()
    if is_loop_running or not is_fork_safe():
        pack(prepared.wiring)  # what cannot be done is told before there is a folder
    folder = new_folder(Path(arguments.outputs_dir), prepared.benchmark.metadata.name, not arguments.no_timestamp)
    out = console(stderr=True)
    text, is_warning = disk.told(prepared.room, folder)
    if text:
        out.print(f"{'warning: ' if is_warning else ''}{text}", soft_wrap=True)
    with kept() as interrupts:
        with ProgressLine(out) as line:
            run = partial(execute, prepared, folder, [line], interrupts=interrupts)
            finished = _in_thread(run) if is_loop_running else run()
        _show(finished, out)
    for name in interrupts.names[:1]:
        signal.raise_signal(signal.Signals[name])  # whoever handles it now
        if name == "SIGINT":
            raise KeyboardInterrupt  # asyncio's own handler only cancels the task
    if finished.end.state != "complete":
        raise RuntimeError(f"{finished.end.message}; results: {finished.results}")
    summary = finished.summary.model_dump(mode="json")
    keys = stage_keys(prepared.benchmark.spec.load.stages)
    return StageResults(
        {
            key: {"metrics": stage, "summary": summary, "outputs_dir": str(folder)}
            for key, stage in zip(keys, summary["stages"], strict=False)
        }
    )


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _in_thread(function: Callable[[], Finished]) -> Finished:
    with ThreadPoolExecutor(1, "perfbench") as pool:
        return pool.submit(function).result()


def _show(finished: Finished, out: Any) -> None:
    if finished.summary.stages:
        show_summary(out, finished.summary)
    out.print(f"results: {finished.results}", soft_wrap=True)


def stage_keys(stages: Sequence[Stage]) -> list[str]:
    """EvalScope's names of stages; of several that would have the same one, the later ones get a number."""
    keys: list[str] = []
    for stage in stages:
        key = _stage_key(stage)
        again = sum(other == key or other.startswith(f"{key}_again_") for other in keys)
        keys.append(f"{key}_again_{again + 1}" if again else key)
    return keys


def _stage_key(stage: Stage) -> str:
    limit = stage.concurrency or stage.max_concurrency
    changing = stage.profile.title if stage.profile else "timestamps" if stage.timestamps else "recorded"
    load = f"rate_{stage.rate}" if stage.rate and not limit else f"parallel_{limit}" if limit else changing
    # EvalScope's names have its default number, which here does not bind where a duration is given.
    requests = stage.requests or (None if stage.has_own_end else USUAL_REQUESTS)
    return f"{load}_number_{requests}" if requests else load
