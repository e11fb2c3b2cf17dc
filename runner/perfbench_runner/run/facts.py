"""What the results file says of a run beside its results: manifest, versions, machine."""

import os
import platform
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter, time
from typing import Any

from perfbench_api.redaction import KNOWN
from perfbench_runner.run.prepare import PreparedRun
from perfbench_runner.stamps import trial


def facts(prepared: PreparedRun, manifest: str, started: datetime) -> dict[str, Any]:
    """What the results file says of the run, beside its results."""
    return {
        "name": prepared.benchmark.metadata.name,
        "manifest": manifest,
        "started_at": started.isoformat(timespec="milliseconds"),
        "epoch_time": repr(time()),
        "monotonic_time": repr(perf_counter()),
        "random_seed": str(prepared.benchmark.spec.load.random_seed),
        "url": KNOWN.text(", ".join(dict.fromkeys(each.url for each in prepared.wiring.all))),
        "workers": str(prepared.workers),
        "stamps": trial()._asdict(),
        "state": "running",
        **({} if prepared.repeats is None else {"repeats": prepared.repeats._asdict()}),
        "versions": {"perfbench": own_version(), "python": platform.python_version()},
        "machine": {
            "host": platform.node(),
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
        },
    }


def own_version() -> str:
    """The version of perfbench."""
    try:
        return version("perfbench-operator")
    except PackageNotFoundError:
        return "0+unknown"
