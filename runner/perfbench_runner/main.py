"""From Python: `run_perf_benchmark(Arguments(...))`, as EvalScope's users know it."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfbench_plugins.arguments import Arguments
from perfbench_runner.cli.progress import ProgressLine, console
from perfbench_runner.cli.table import show_summary
from perfbench_runner.run import secrets
from perfbench_runner.run.conclude import Finished
from perfbench_runner.run.execute import execute
from perfbench_runner.run.folders import new_folder
from perfbench_runner.run.prepare import prepare


def run_perf_benchmark(args: Arguments | Mapping[str, Any] | Namespace) -> dict[str, Any]:
    """Run a benchmark; returns its summary for each stage, by `parallel_<P>_number_<N>` or `rate_<R>_number_<N>`.

    Each value has `metrics` (the stage's figures, keys of summary.json), `summary` (the run's) and `outputs_dir`.
    Progress, the tables and where the results are go to stderr. Raises SpecError, DatasetError, PluginError or
    TokenizerError before anything is sent, and RuntimeError when the run fails; its results are stored all the same.
    """
    arguments = (
        args if isinstance(args, Arguments) else Arguments.from_dict(args if isinstance(args, Mapping) else vars(args))
    )
    prepared = prepare(arguments.to_benchmark(), secrets.environment(), *secrets.of_arguments(arguments))
    folder = new_folder(Path(arguments.outputs_dir), prepared.benchmark.metadata.name, not arguments.no_timestamp)
    out = console(stderr=True)
    with ProgressLine(out) as line:
        finished = execute(prepared, folder, [line])
    _show(finished, out)
    if finished.exit_code:
        raise RuntimeError(f"{finished.end.message}; results: {finished.results}")
    summary = finished.summary.model_dump(mode="json")
    return {
        stage_key(arguments, index): {"metrics": stage, "summary": summary, "outputs_dir": str(folder)}
        for index, stage in enumerate(summary["stages"])
    }


def _show(finished: Finished, out: Any) -> None:
    if finished.summary.stages:
        show_summary(out, finished.summary)
    out.print(f"results: {finished.results}", soft_wrap=True)


def stage_key(arguments: Arguments, index: int) -> str:
    """EvalScope's name of a stage."""
    stage = arguments.stages()[index]
    kind = "rate" if arguments.open_loop else "parallel"
    load = stage.get("rate") if arguments.open_loop else stage.get("concurrency") or stage.get("maxConcurrency")
    return f"{kind}_{load}_number_{stage['requests']}"
