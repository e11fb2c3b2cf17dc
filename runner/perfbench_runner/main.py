"""From Python: `run_perf_benchmark(Arguments(...))`, as EvalScope's users know it."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perfbench_plugins.arguments import Arguments
from perfbench_runner.run import secrets
from perfbench_runner.run.execute import execute
from perfbench_runner.run.folders import new_folder
from perfbench_runner.run.prepare import prepare


def run_perf_benchmark(args: Arguments | Mapping[str, Any] | Namespace) -> dict[str, Any]:
    """Run a benchmark; returns its summary for each stage, by `parallel_<P>_number_<N>` or `rate_<R>_number_<N>`.

    Each value has `metrics` (the stage's figures, keys of summary.json), `summary` (the run's) and `outputs_dir`.
    Raises SpecError, DatasetError, PluginError or TokenizerError before anything is sent, and RuntimeError when the
    run fails; its results are stored all the same.
    """
    arguments = (
        args if isinstance(args, Arguments) else Arguments.from_dict(args if isinstance(args, Mapping) else vars(args))
    )
    prepared = prepare(arguments.to_benchmark(), secrets.environment(), *credentials(arguments))
    folder = new_folder(Path(arguments.outputs_dir), prepared.benchmark.metadata.name, not arguments.no_timestamp)
    finished = execute(prepared, folder)
    if finished.exit_code:
        raise RuntimeError(f"{finished.end.message}; results: {finished.results}")
    summary = finished.summary.model_dump(mode="json")
    return {
        stage_key(arguments, index): {"metrics": stage, "summary": summary, "outputs_dir": str(folder)}
        for index, stage in enumerate(summary["stages"])
    }


def credentials(arguments: Arguments) -> tuple[str | None, dict[str, str]]:
    """The API key and the secret headers, which `to_benchmark` leaves out."""
    key = arguments.api_key.get_secret_value() if arguments.api_key else None
    return key, {name: value for name, value in arguments.headers.items() if secrets.is_secret(name)}


def stage_key(arguments: Arguments, index: int) -> str:
    """EvalScope's name of a stage."""
    stage = arguments.stages()[index]
    kind = "rate" if arguments.open_loop else "parallel"
    load = stage.get("rate") if arguments.open_loop else stage.get("concurrency") or stage.get("maxConcurrency")
    return f"{kind}_{load}_number_{stage['requests']}"
