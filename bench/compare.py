#!/usr/bin/env python3
"""perfbench and EvalScope side by side on one machine: cost and error of the client, against the bundled mock.

    .venv/bin/python bench/compare.py                       # perfbench alone: seconds
    .venv/bin/python bench/compare.py --evalscope           # and EvalScope, installed from the package index (gigabytes)
    .venv/bin/python bench/compare.py -c 16 64 256 --scrape # with /metrics scraped every second
    .venv/bin/python bench/compare.py --delay --busy        # what a client's delay does: see docs/exactness.md

`--delay` adds perfbench with the program's clock instead of the kernel's stamps, and a client in C (needs cc); `--busy` pins
a busy loop to the client's core.
The mock runs on the first core and knows when each token left; each client is pinned to the second one and stores every
request. CPU per request is the difference of two runs, a long and a short one, over the difference of their requests, so
that start-up is left out. Client figures are computed here from the SQLite files of both, which have the same columns.
One measurement at a time, on an idle machine; needs Linux and two cores.
"""

import argparse
import json
import os
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.mock.words import WORDS

EVALSCOPE = "evalscope[perf]==1.14.1"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "perfbench-bench"
CORES = sorted(os.sched_getaffinity(0))


@dataclass
class Used:
    """What a command cost, its children included."""

    cpu_s: float
    wall_s: float
    rss_mb: float
    """Peak sum over all processes; shared pages count once for each."""


def spend(argv: list[str], stdout: Path, env: dict[str, str], port: int | None = None) -> Used:
    """Run a command on the second core and account for it and its children."""
    before, peak = os.times(), 0.0
    began = time.perf_counter()
    errors = stdout.with_suffix(".err")
    with stdout.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(
            argv,
            stdout=out,
            stderr=err,
            env=os.environ | env,
            preexec_fn=lambda: os.sched_setaffinity(0, {CORES[1]}),
        )
    if port:
        threading.Thread(target=scrape, args=(process, port), daemon=True).start()
    while process.poll() is None:
        peak = max(peak, tree_rss_mb(process.pid))
        time.sleep(0.1)
    if process.returncode:
        sys.exit(f"{argv[0]} ended with {process.returncode}: {errors.read_text()[-500:]}")
    after = os.times()
    cpu_s = after.children_user - before.children_user + after.children_system - before.children_system
    return Used(cpu_s, time.perf_counter() - began, peak)


def scrape(process: subprocess.Popen, port: int) -> None:
    """Read /metrics once a second, as Prometheus would."""
    while process.poll() is None:
        time.sleep(1)
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2).read()
        except OSError:
            continue


def tree_rss_mb(pid: int) -> float:
    """Resident memory of a process and all below it."""
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for task in Path(f"/proc/{one}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return total / 2**20


@contextmanager
def busy_loop(is_wanted: bool) -> Iterator[None]:
    """Something else that wants the client's core, all of it."""
    if not is_wanted:
        yield
        return
    loop = subprocess.Popen(
        [sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, {CORES[1]})
    )
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def perfbench(url: str, prompts: Path, n: int, c: int, out: Path, port: int | None) -> tuple[list[str], str]:
    """The command, and where its database will be."""
    command = (
        f"run --url {url} --model mock --dataset line_by_line --dataset-path {prompts} --parallel {c} --number {n}"
    )
    command += f" --max-tokens 64 --workers 1 --no-test-connection --results-dir {out} -q"
    if port:
        command += f" --listen 127.0.0.1:{port}"
    return [str(Path(sys.executable).parent / "perfbench"), *command.split()], "results.sqlite"


def evalscope(url: str, prompts: Path, n: int, c: int, out: Path, port: int | None) -> tuple[list[str], str]:
    """The command, and where its database will be."""
    program = CACHE / "evalscope-venv/bin/evalscope"
    command = (
        f"perf --url {url} --api openai --model mock --dataset line_by_line --dataset-path {prompts} --parallel {c}"
    )
    command += f" --number {n} --max-tokens 64 --stream --no-test-connection --outputs-dir {out}"
    return [str(program), *command.split()], "**/benchmark_data.db"


def c_client(url: str, prompts: Path, n: int, c: int, out: Path, port: int | None) -> tuple[list[str], str]:
    """The command; it prints its figures."""
    return [str(CACHE / "c_client"), str(urlsplit(url).port), str(c), str(n), "64"], ""


def build_c_client() -> None:
    """Compile it, anew each time: it takes a moment."""
    CACHE.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("c_client.c")
    subprocess.run(["cc", "-O2", "-o", str(CACHE / "c_client"), str(source)], check=True)


def install_evalscope() -> None:
    """Put EvalScope into an environment of its own, once."""
    venv = CACHE / "evalscope-venv"
    if not (venv / "bin/evalscope").exists():
        print(f"installing {EVALSCOPE} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin/pip"), "install", "-q", EVALSCOPE], check=True)


def figures(database: Path) -> dict[str, float]:
    """What the client reports, milliseconds: from the columns that both tools have."""
    db = sqlite3.connect(database)
    rows = db.execute("SELECT first_chunk_latency, inter_token_latencies FROM result WHERE success = 1").fetchall()
    ttfts = sorted(1e3 * row[0] for row in rows)
    gaps = sorted(1e3 * gap for row in rows for gap in json.loads(row[1]))
    return {
        "n": len(rows),
        "ttft": statistics.fmean(ttfts),
        "ttft_p50": at(ttfts, 0.5),
        "ttft_p99": at(ttfts, 0.99),
        "itl_p99": at(gaps, 0.99),
    }


def printed_figures(stdout: Path) -> dict[str, float]:
    """The same from what the client in C prints."""
    found = json.loads(stdout.read_text())
    ttft, itl = found["ttft_ms"], found["itl_ms"]
    return {
        "n": found["n"],
        "ttft": ttft["mean"],
        "ttft_p50": ttft["p50"],
        "ttft_p99": ttft["p99"],
        "itl_p99": itl["p99"],
    }


def at(ordered: list[float], q: float) -> float:
    return ordered[int(q * (len(ordered) - 1))]


def measure(name: str, make, c: int, work: Path, port: int | None, env: dict[str, str], is_busy: bool) -> dict:
    """One row: a short run and a long one against a fresh mock."""
    cpu, n_of = {}, {"short": 2 * c, "long": 20 * c}
    for kind, n in n_of.items():
        prompts, out = work / "prompts.txt", work / f"{re.sub(r'[^a-z]+', '-', name)}-{c}-{kind}"
        rng = random.Random(7)
        prompts.write_text("".join(" ".join(rng.choices(WORDS, k=128)) + "\n" for _ in range(n)))
        shutil.rmtree(out, ignore_errors=True)
        with MockProcess(MockSettings(ttft_s=0.05, itl_s=0.01)) as mock:
            os.sched_setaffinity(mock.pid, {CORES[0]})
            argv, pattern = make(f"{mock.base_url}/v1/chat/completions", prompts, n, c, out, port)
            with busy_loop(is_busy):
                used = spend(argv, work / "stdout", env, port)
            truth = mock.stats()
        cpu[kind] = used.cpu_s
    found = figures(next(out.glob(pattern))) if pattern else printed_figures(work / "stdout")
    return {
        "client": name,
        "C": c,
        "done": f"{found['n']}/{n}",
        "CPU ms/req": 1e3 * (cpu["long"] - cpu["short"]) / (n_of["long"] - n_of["short"]),
        "TTFT +mean": found["ttft"] - truth["ttft_ms"]["mean"],
        "+p50": found["ttft_p50"] - truth["ttft_ms"]["p50"],
        "+p99": found["ttft_p99"] - truth["ttft_ms"]["p99"],
        "ITL +p99": found["itl_p99"] - truth["itl_ms"]["p99"],
        "RSS MB": used.rss_mb,
        "mock": truth["cpu_s"] / truth["window_s"],
    }


def main() -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-c", type=int, nargs="+", default=[16, 64, 256], help="streams")
    parser.add_argument("--evalscope", action="store_true", help=f"measure {EVALSCOPE} too")
    parser.add_argument("--scrape", action="store_true", help="scrape perfbench's /metrics every second")
    parser.add_argument("--delay", action="store_true", help="measure the program's clock and a client in C too")
    parser.add_argument("--busy", action="store_true", help="with a busy loop on the client's core")
    parser.add_argument("--rounds", type=int, default=1, help="how often to measure each, taking turns")
    options = parser.parse_args()
    if len(CORES) < 2:
        parser.error("needs two cores: one for the mock, one for the client")
    clients: dict[str, tuple] = {"perfbench": (perfbench, {})}
    if options.delay:
        build_c_client()
        clients["perfbench, program's clock"] = perfbench, {"PERFBENCH_STAMPS": "program"}
        clients["C, program's clock"] = c_client, {}
    if options.evalscope:
        install_evalscope()
        clients["evalscope"] = evalscope, {}
    os.sched_setaffinity(0, {CORES[0]})
    work = Path(TemporaryDirectory(prefix="perfbench-bench-").name)
    work.mkdir()
    is_first = True
    for c in [c for c in options.c for _ in range(options.rounds)]:
        for name, (make, env) in clients.items():
            port = 9470 if options.scrape and name == "perfbench" else None
            row = measure(name, make, c, work, port, env, options.busy)
            if is_first:
                print("| " + " | ".join(row) + " |\n|" + " --- |" * len(row))
                is_first = False
            print(
                "| " + " | ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()) + " |",
                flush=True,
            )
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
