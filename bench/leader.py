#!/usr/bin/env python3
"""What workers cost their leader: bench/leader.py [--workers 0 2 20 200] [--seconds 15] [--rows 1000].

A real leader (`perfbench run`, one lane of its own against a mock endpoint) and its workers, simulated: each speaks the whole
agreement over HTTP, with the code of real workers (report in, compare clocks, wait for the start, a beat a second, hand over a
file), but sends nothing and has no process of its own. CPU and memory are of the leader's control process alone: its shard, the
mock and the workers are other processes.
"""

import argparse
import asyncio
import os
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from secrets import token_urlsafe
from typing import NamedTuple

import yaml
from big_run import fill

from perfbench_api.resource import PerfBenchmark, Spec
from perfbench_runner.observe.counts import StageCounts
from perfbench_runner.observe.sketch import Sketch
from perfbench_runner.observe.told import RunnerFigures
from perfbench_runner.run.roles import LISTEN, TOKEN, Role
from perfbench_runner.runners.link import report_in
from perfbench_runner.runners.sending import hand_over
from perfbench_runner.runners.worker import Worker

TICKS = os.sysconf("SC_CLK_TCK")


def figures() -> RunnerFigures:
    """What a worker tells after some minutes: sketches whose values spread by a factor of ten."""
    random, ttft, itl = Random(1), Sketch(), Sketch()
    ttft.add(random.lognormvariate(-2, 0.4) for _ in range(20_000))
    itl.add(random.lognormvariate(-4, 0.6) for _ in range(200_000))
    return RunnerFigures(requests=1000, ttft=ttft.counts(), itl=itl.counts(), stage=StageCounts().told())


FIGURES = figures()


class Usage(NamedTuple):
    """What a process has used so far."""

    at_s: float
    cpu_s: float
    memory_mb: float


def usage(pid: int) -> Usage:
    """CPU time and peak of memory of one process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text()
    peak_kb = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    return Usage(time.perf_counter(), (int(fields[11]) + int(fields[12])) / TICKS, peak_kb / 1024)


def manifest(workers: int, seconds: float, mock: str) -> dict[str, object]:
    """A run of so many workers and their leader, each with one lane."""
    return {
        "apiVersion": "perfbench.io/v1alpha1",
        "kind": "PerfBenchmark",
        "metadata": {"name": "leader"},
        "spec": {
            "target": {"url": mock, "model": "mock"},
            "load": {"stages": [{"concurrency": workers + 1, "duration": f"{seconds:g}s"}], "gracePeriod": "2s"},
            "runner": {"replicas": workers + 1, "workers": 1, "startDeadline": "2m"},
            "results": {"messages": "none"},
        },
    }


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def work(role: Role, spec: Spec, seconds: float, file: Path, beats: list[float]) -> float:
    """One simulated worker: when its stage began, by its own clock."""
    welcome = await report_in(role.link(), role.hello(spec), 120.0)
    async with Worker(role.link(), welcome) as worker:
        worker.progress = lambda stage: FIGURES
        say, is_loaded = worker.link.say, False

        async def timed(name: str, what: object) -> bytes:
            asked_s = time.perf_counter()
            answer = await say(name, what)  # type: ignore[arg-type]
            if name == "beat" and is_loaded:
                beats.append(time.perf_counter() - asked_s)
            return answer

        worker.link.say = timed  # type: ignore[method-assign]
        worker.announced(0, spec.load.stages[0])
        begins_s = await worker.begins(0, 0.0)
        if begins_s is None:
            raise RuntimeError(f"the run was stopped: {worker.end}")
        await asyncio.sleep(begins_s - worker.clock() + 2.0)  # all have compared clocks
        is_loaded = True
        await asyncio.sleep(begins_s - worker.clock() + seconds - 1.0)
        is_loaded = False
        await hand_over(worker, file, 1, "", 300.0)
        return begins_s


class Measured(NamedTuple):
    """Usage of the leader at the beginning and at the end of the load, how long beats took, and the starts' spread."""

    first: Usage
    last: Usage
    beats: list[float]
    lags: list[float]
    """Of this process's event loop."""
    spread_s: float


async def measure(pid: int, roles: list[Role], spec: Spec, seconds: float, file: Path) -> Measured:
    """One run of the workers."""
    beats: list[float] = []
    tasks = [asyncio.create_task(work(role, spec, seconds, file, beats)) for role in roles]
    marks: list[Usage] = []

    async def watch() -> None:
        while roles and len(beats) < len(roles):  # noqa: ASYNC110  # many workers, and nobody to tell
            await asyncio.sleep(0.2)
        await asyncio.sleep(1.0 if roles else 6.0)
        marks.append(usage(pid))
        await asyncio.sleep(seconds * 0.5)
        marks.append(usage(pid))

    lags: list[float] = []

    async def probe() -> None:
        """How late this process is itself: the workers' side of a beat is in its answer, too."""
        while True:
            due_s = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            if len(beats) > len(roles) // 2:
                lags.append(time.perf_counter() - due_s)

    watching, probing = asyncio.create_task(watch()), asyncio.create_task(probe())
    starts = await asyncio.gather(*tasks)
    await watching
    probing.cancel()
    return Measured(marks[0], marks[1], beats, lags, max(starts) - min(starts) if starts else 0.0)


def run(workers: int, seconds: float, file: Path, folder: Path, mock: str) -> None:
    """One run; print what its leader used."""
    port, token = free_port(), token_urlsafe(16)
    data = manifest(workers, seconds, mock)
    (folder / "manifest.yaml").write_text(yaml.safe_dump(data))
    spec = PerfBenchmark.read(data).spec
    env = {**os.environ, TOKEN: token, LISTEN: f"127.0.0.1:{port}"}
    command = [str(Path(sys.executable).with_name("perfbench")), "run", str(folder / "manifest.yaml"), "--no-fail"]
    with (folder / "log").open("wb") as log:
        leader = subprocess.Popen(
            [*command, "--results-dir", str(folder / "results")], env=env, stdout=log, stderr=subprocess.STDOUT
        )
    roles = [Role(number, f"http://127.0.0.1:{port}", token, "node") for number in range(1, workers + 1)]
    try:
        first, last, beats, lags, spread_s = asyncio.run(measure(leader.pid, roles, spec, seconds, file))
        over_s, peak_mb = time.perf_counter(), last.memory_mb
        while leader.poll() is None:
            with suppress(OSError, StopIteration):  # it may end just now
                peak_mb = max(peak_mb, usage(leader.pid).memory_mb)
            time.sleep(0.05)
    finally:
        if leader.poll() is None:
            leader.send_signal(signal.SIGINT)
            leader.wait()
    if leader.returncode:
        raise SystemExit(f"the leader ended with {leader.returncode}:\n{(folder / 'log').read_text()[-2000:]}")
    share = (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)
    slow_ms, lag_ms = (1000 * statistics.quantiles(each, n=100)[98] if len(each) > 1 else 0.0 for each in (beats, lags))
    print(
        f"{workers:4} workers: CPU {100 * share:5.1f} % of one, memory {last.memory_mb:.0f} MB under load and {peak_mb:.0f} MB at"
        f" most; a beat's answer p99 {slow_ms:.1f} ms"
        f" (this process is late itself by p99 {lag_ms:.1f} ms); starts within {1000 * spread_s:.2f} ms;"
        f" after the last file {time.perf_counter() - over_s:.1f} s",
        flush=True,
    )


def main() -> int:
    """Run leaders of more and more workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 20, 200])
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    port = free_port()
    mock = subprocess.Popen(
        [Path(sys.executable).with_name("perfbench"), "mock", "--port", str(port), "--ttft", "40ms", "--itl", "1ms"],
        stdout=subprocess.DEVNULL,
    )
    try:
        (folder / "file").mkdir()
        file = fill(folder / "file", given.rows, 64, bodies=False)
        for workers in given.workers:
            (folder / f"{workers}").mkdir()
            run(workers, given.seconds, file, folder / f"{workers}", f"http://127.0.0.1:{port}/v1/chat/completions")
        return 0
    finally:
        mock.terminate()
        mock.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
