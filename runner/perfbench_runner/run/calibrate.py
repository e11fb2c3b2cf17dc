"""Calibration: this client's own error on this machine, measured against an endpoint whose truth is known.

The run's own load shape is sent to the bundled mock, in another process, which knows when each request arrived and each
token left, by the kernel's stamps where there are any. What the client reports minus what the mock knows is the client's
error. The mock's own lateness is reported beside it.

The client's ceiling is measured in two ways, and the lower one counts. Once the mock answers as fast as it can, which shows
what the machine carries; but an answer that comes in one piece is cheap to read. So once more its tokens come one by one,
under half of that load: what the processes of the client use of their CPUs then says how many such requests fill one.
"""

import json
from contextlib import closing
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from perfbench_api.described import Described
from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Load, MockTarget, Request, Results, Stage, Target, Warmup
from perfbench_runner.results.measured import Distribution
from perfbench_runner.results.reading import open_results
from perfbench_runner.results.summary import StageSummary
from perfbench_runner.run.conclude import Finished
from perfbench_runner.run.execute import execute
from perfbench_runner.run.prepare import PreparedRun, prepare
from perfbench_runner.signals import Interrupted, kept

FILE = "calibration.json"
ANSWER_S = 0.5
"""A paced answer's first token takes no longer than this, and so do all others, so that many end within seconds."""
SHARE = 0.5
"""The paced load, of what was carried of instant answers: on the same CPUs the mock has more to do, too."""
BODIES = 1000
"""So many are enough to know how long they are on average."""
FIGURES = ("mean", "p50", "p99")
MOCK_BUSY = 0.9
"""Above this share of a CPU the mock itself is the limit, and a ceiling is only a lower bound."""


class Error(BaseModel):
    """The client's figure minus the mock's, milliseconds; null where the two cannot be compared."""

    mean: float | None
    p50: float | None
    p99: float | None


class StageError(BaseModel):
    """The client's error under one of the run's load levels."""

    name: str
    truth_stamps: str = "program"
    """Whose clock the mock's truth is by: with `kernel` it does not contain the mock's own delay in reading requests."""
    requests: int
    ttft_ms: Error
    itl_ms: Error
    unknown: dict[str, str] = {}
    """Why an error is null, by its name."""
    client: str
    """The judgement of the client: the worse of its latencies and its load."""
    stamps: str | None = None
    """Who took the client's times of arrival."""
    mock_lateness_ms: dict[str, float]
    """How late the mock wrote its own tokens: the limit of what can be said here."""


class Paced(BaseModel):
    """What requests whose tokens come one by one ask of the client's processes."""

    requests_per_s: float
    """Under so many it was measured."""
    itl_ms: float
    """The time between two tokens then."""
    shard_ms: float
    """CPU time of the busiest shard for each request of the whole run, milliseconds."""
    control_ms: float
    """CPU time of the control process for each."""
    wait_share: float = 0.0
    """Of its time the busiest shard was ready to run and had no CPU: then the machine was busy, or too small for the mock."""

    @property
    def ceiling_rps(self) -> float:
        """Requests/s that fill a CPU of the process that needs the most."""
        return 1000.0 / max(self.shard_ms, self.control_ms)


class Ceiling(BaseModel):
    """The most this client carries on this machine."""

    requests_per_s: float
    """The lower one of what was seen with instant answers, and of what paced ones would fill a CPU with."""
    events_per_s: float
    streams: float
    """Streams at the calibrated inter-token latency."""
    is_lower_bound: bool
    """The mock, not the client, was the limit."""
    instant_rps: float | None = None
    """Requests/s with answers that come as fast as the mock can; null in files until 2026-11-26."""
    paced: Paced | None = None
    """Null where nothing was answered, and in files until 2026-11-26."""
    body_bytes: float | None = None
    """Mean length of the bodies that were sent; null where there were none, and in files until 2026-11-26."""


class Calibration(Described):
    """calibration.json."""

    ttft_ms: float
    """The truth: the mock's time to first token."""
    itl_ms: float
    output_tokens: int
    stages: list[StageError]
    ceiling: Ceiling


def calibrate(benchmark: PerfBenchmark, mock: MockTarget, seconds: float, workers: int | None) -> Calibration:
    """Measure this client under the benchmark's load levels, each for `seconds`, then its ceiling."""
    stages = [_measure(benchmark, stage, mock, seconds, workers) for stage in benchmark.spec.load.stages]
    return Calibration(
        ttft_ms=mock.ttft * 1e3,
        itl_ms=mock.itl * 1e3,
        output_tokens=mock.output_tokens,
        stages=stages,
        ceiling=ceiling(benchmark, mock, min(seconds, 5.0), workers),
    )


def _measure(
    benchmark: PerfBenchmark, stage: Stage, mock: MockTarget, seconds: float, workers: int | None
) -> StageError:
    level = stage.model_copy(update={"duration": seconds, "requests": None, "ramp_up": None, "ramp_down": None})
    finished, truth = _run(benchmark, level, mock, workers)
    figures = finished.summary.stages[0]
    compared = {
        "ttft_ms": compare(figures.ttft_s, truth["ttft_ms"], "first token"),
        "itl_ms": compare(figures.itl_s, truth["itl_ms"], "second token"),
    }
    return StageError(
        name=stage.title,
        truth_stamps=truth["stamps"],
        requests=figures.requests.total,
        ttft_ms=compared["ttft_ms"][0],
        itl_ms=compared["itl_ms"][0],
        unknown={name: reason for name, (_, reason) in compared.items() if reason},
        client=finished.summary.client.state,
        stamps=finished.summary.client.stamps,
        mock_lateness_ms={name: truth["lateness_ms"][name] for name in ("mean", "p50", "p99", "max")},
    )


def ceiling(benchmark: PerfBenchmark, mock: MockTarget, seconds: float, workers: int | None) -> Ceiling:
    """The most that this client carries on this machine, of answers as long as the mock's. Takes twice `seconds`."""
    instant = mock.model_copy(update={"ttft": 0.0, "itl": 0.0, "ttft_jitter": 0.0, "itl_jitter": 0.0})
    streams = max(stage.concurrency or 0 for stage in benchmark.spec.load.stages) or 64
    stage = Stage(concurrency=max(16, min(streams, 256)), duration=seconds)
    finished, truth = _run(benchmark, stage, instant, workers)
    instant_rps = finished.summary.stages[0].request_throughput_rps or 0.0
    pace = {"ttft": min(mock.ttft, ANSWER_S), "itl": min(mock.itl, ANSWER_S / mock.output_tokens)}
    slow = instant.model_copy(update=pace)
    lanes = ceil(SHARE * instant_rps * (slow.ttft + slow.itl * (mock.output_tokens - 1)))
    found = None
    if lanes:
        paced_run, _ = _run(benchmark, Stage(concurrency=lanes, duration=seconds), slow, workers)
        found = paced(paced_run.summary.stages[0], slow.itl)
    requests_per_s = min([instant_rps, *([found.ceiling_rps] if found else [])])
    events_per_s = requests_per_s * mock.output_tokens
    return Ceiling(
        requests_per_s=requests_per_s,
        events_per_s=events_per_s,
        streams=events_per_s * mock.itl,
        is_lower_bound=requests_per_s == instant_rps and truth["cpu_s"] > MOCK_BUSY * truth["window_s"],
        instant_rps=instant_rps,
        paced=found,
        body_bytes=truth["body_bytes"],
    )


def paced(stage: StageSummary, itl_s: float) -> Paced | None:
    """What each request of a stage asked of the client's processes; None where nothing is known."""
    requests = stage.requests.succeeded
    shares = [stage.client.figures.get(name, 0.0) for name in ("cpu_share", "control_cpu_share")]
    if not requests or not stage.duration_s or not max(shares):
        return None
    shard_ms, control_ms = (1000.0 * share * stage.duration_s / requests for share in shares)
    return Paced(
        requests_per_s=requests / stage.duration_s,
        itl_ms=1000.0 * itl_s,
        shard_ms=shard_ms,
        control_ms=control_ms,
        wait_share=stage.client.figures.get("wait_share", 0.0),
    )


def _run(
    benchmark: PerfBenchmark, stage: Stage, mock: MockTarget, workers: int | None
) -> tuple[Finished, dict[str, Any]]:
    """One stage against a mock of its own; the run and what the mock knows of it."""
    with TemporaryDirectory(prefix="perfbench-calibrate-") as folder:
        prepared = prepare(shaped(benchmark, stage, mock, workers), {})
        truth: dict[str, Any] = {}
        prepared.cleanup.callback(lambda: truth.update(_stats(prepared)))
        with kept() as interrupts:
            finished = execute(prepared, Path(folder), interrupts=interrupts)
        if interrupts.names:
            raise Interrupted(interrupts.names[0])
        if finished.end.state != "complete":
            raise RuntimeError(f"calibration failed: {finished.end.message}")
        return finished, {**truth, "body_bytes": _body_bytes(finished.results)}


def _body_bytes(results: Path) -> float | None:
    """Mean length of the bodies that were sent, of some."""
    with closing(open_results(results)) as db:
        (stored,) = db.execute(
            "SELECT avg(length(request)) FROM (SELECT request FROM bodies LIMIT ?)", (BODIES,)
        ).fetchone()
    return None if stored is None else stored * 3 / 4  # of base64


def _stats(prepared: PreparedRun) -> dict[str, Any]:
    return prepared.mocks[0].stats() if prepared.mocks else {}


def shaped(benchmark: PerfBenchmark, stage: Stage, mock: MockTarget, workers: int | None) -> PerfBenchmark:
    """The benchmark's prompts and one load level, against the mock, with answers of the mock's length."""
    spec = benchmark.spec
    request = Request(max_tokens=mock.output_tokens, stream=True)
    changes = {
        "targets": [],
        "target": Target(mock=mock, model="mock", connection_test=False),
        "request": request,
        "workloads": [
            each.model_copy(update={"request": None, "model": None, "api_args": None}) for each in spec.workloads
        ],
        "load": Load(stages=[stage], warmup=Warmup(), random_seed=spec.load.random_seed, grace_period=30.0),
        "objectives": [],
        "results": Results(messages="all"),
        "runner": spec.runner.model_copy(update={"workers": workers or spec.runner.workers, "replicas": 1}),
    }
    return benchmark.model_copy(update={"spec": spec.model_copy(update=changes)})


def compare(ours: Distribution, truth: dict[str, float], awaited: str) -> tuple[Error, str]:
    """The client's error, and why it is not known. `truth` is in ms, of what the mock has sent: it has no bounds."""
    if ours.censored:
        reason = f"{ours.censored} of {ours.count + ours.censored} requests were cut off before their {awaited}"
    elif not ours.count or not truth["n"]:
        reason = f"no request had a {awaited}"
    else:
        reason = ""
    found = dict.fromkeys(FIGURES) if reason else {name: getattr(ours, name) * 1e3 - truth[name] for name in FIGURES}
    return Error(**found), reason


def store(calibration: Calibration, folder: Path) -> Path:
    """Write calibration.json."""
    path = folder / FILE
    path.write_text(json.dumps(calibration.model_dump(), indent=2) + "\n")
    return path
