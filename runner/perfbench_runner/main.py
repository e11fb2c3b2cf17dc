"""From Python: `run_perf_benchmark(Arguments(...))`, as EvalScope's users know it."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Stage
from perfbench_plugins.arguments import Arguments
from perfbench_runner.cli.progress import ProgressLine, console
from perfbench_runner.cli.table import show_summary
from perfbench_runner.run import secrets
from perfbench_runner.run.conclude import Finished
from perfbench_runner.run.execute import execute
from perfbench_runner.run.folders import new_folder
from perfbench_runner.run.prepare import benchmark_of, prepare


def run_perf_benchmark(args: Arguments | Mapping[str, Any] | Namespace) -> dict[str, Any]:
    """Run a benchmark; returns its summary for each stage, by `parallel_<P>_number_<N>` or `rate_<R>_number_<N>`.

    Each value has `metrics` (the stage's figures, keys of summary.json), `summary` (the run's) and `outputs_dir`.
    Progress, the tables and where the results are go to stderr. Raises SpecError, DatasetError, PluginError or
    TokenizerError before anything is sent, and RuntimeError when the run fails; its results are stored all the same.
    """
    arguments = (
        args if isinstance(args, Arguments) else Arguments.from_dict(args if isinstance(args, Mapping) else vars(args))
    )
    prepared = prepare(
        PerfBenchmark.read(benchmark_of(arguments)), secrets.environment(), *secrets.of_arguments(arguments)
    )
    folder = new_folder(Path(arguments.outputs_dir), prepared.benchmark.metadata.name, not arguments.no_timestamp)
    out = console(stderr=True)
    with ProgressLine(out) as line:
        finished = execute(prepared, folder, [line])
    _show(finished, out)
    if finished.end.state != "complete":
        raise RuntimeError(f"{finished.end.message}; results: {finished.results}")
    summary = finished.summary.model_dump(mode="json")
    keys = stage_keys(prepared.benchmark.spec.load.stages)
    return {
        key: {"metrics": stage, "summary": summary, "outputs_dir": str(folder)}
        for key, stage in zip(keys, summary["stages"], strict=False)
    }


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
    load = f"rate_{stage.rate}" if stage.rate and not limit else f"parallel_{limit}" if limit else "recorded"
    return f"{load}_number_{stage.requests}" if stage.requests else load
