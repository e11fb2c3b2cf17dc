#!/usr/bin/env python3
"""How long the summary of a big run takes, and in how much memory: bench/big_run.py [--rows N] [--tokens N] [--folder DIR].

Rows are made by this script, not by load, with the encodings of the results file. The summary is made in a process of its
own, whose peak of memory is printed. A million rows of 500 tokens need 12 GB of disk with bodies.
"""

import argparse
import multiprocessing
import random
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import orjson

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.reading import Messages
from perfbench_runner.results.encoding import encode, encode_gaps, encode_messages
from perfbench_runner.results.figures import summarise
from perfbench_runner.results.reading import open_results, stored
from perfbench_runner.results.result import Result
from perfbench_runner.results.schema import NARROW
from perfbench_runner.results.store import Store, narrow_row

LANES, VARIANTS = 256, 97


def event(text: str) -> bytes:
    """One chunk of a chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return orjson.dumps(
        {
            "id": "chatcmpl-9f8e7d6c5b4a39281706f5e4d3c2b1a0",
            "object": "chat.completion.chunk",
            "created": 1764090000,
            "model": "meta-llama/Llama-3.1-8B-Instruct",
            "choices": [choice],
        }
    )


def fill(folder: Path, rows: int, tokens: int, bodies: bool) -> Path:
    """A results file of one closed loop of 256 lanes."""
    rng = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz "
    gaps_s = [[max(1e-4, rng.gauss(0.02, 0.005)) for _ in range(tokens - 1)] for _ in range(VARIANTS)]
    gap_texts = [encode_gaps(gaps) for gaps in gaps_s]
    prompt = " ".join("".join(rng.choices(letters, k=4)) for _ in range(500))
    answers = [
        encode_messages(Messages([event("".join(rng.choices(letters, k=rng.randint(2, 7)))) for _ in range(tokens)]))
        for _ in range(VARIANTS)
    ]
    request = encode({"model": "m", "messages": [{"role": "user", "content": prompt}], "stream": True})
    results = Store(folder, "all" if bodies else "none")
    results.set_run(name="big", workers="2")
    results.set_stage(0, f"c{LANES}", {"concurrency": LANES, "requests": rows})
    results.begin_stage(0, 0.0, None)
    results.commit()
    insert = f"INSERT INTO requests VALUES (?, {', '.join('?' * len(NARROW))})"
    free_s = [number * 1e-4 for number in range(LANES)]
    for first in range(0, rows, 10_000):
        numbers = range(first + 1, min(first + 10_000, rows) + 1)
        narrow = []
        for number in numbers:
            lane, start_s = number % LANES, free_s[number % LANES]
            ttft_s = 0.2 + rng.random() / 10
            end_s = start_s + ttft_s + sum(gaps_s[number % VARIANTS])
            free_s[lane] = end_s + 0.0005
            data = BenchmarkData(
                start_time=start_s,
                completed_time=end_s,
                success=True,
                is_stream=True,
                query_latency=end_s - start_s,
                first_chunk_latency=ttft_s,
                time_per_output_token=0.02,
                prompt_tokens=500,
                completion_tokens=tokens,
                token_source="usage",
                status_code=200,
            )
            result = Result(0, number, number % 2, start_s, data, entry=number, prompt_id=number % 5000)
            narrow.append((number, *narrow_row(result, tokens - 1)))
        results.db.execute("BEGIN")
        results.db.executemany(insert, narrow)
        results.db.executemany(
            "INSERT INTO gaps (id, gaps_us) VALUES (?, ?)", ((n, gap_texts[n % VARIANTS]) for n in numbers)
        )
        if bodies:
            values = ((n, request, answers[n % VARIANTS]) for n in numbers)
            results.db.executemany("INSERT INTO bodies VALUES (?, ?, ?)", values)
        results.db.execute("COMMIT")
    results.end_stage(0, max(free_s), 1.0)
    return results.close()


def measure(path: Path) -> None:
    """Summarise, and say what it took; in a process of its own."""
    began_s, began_cpu_s, told = time.perf_counter(), time.process_time(), 0

    def tell(done: int, total: int) -> None:
        nonlocal told
        if done * 10 // max(1, total) > told:
            told = done * 10 // total
            print(f"\r{told * 10} %", end="", file=sys.stderr, flush=True)

    db = open_results(path)
    (stage,) = summarise(db, tell=tell)
    db.close()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    taken_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    print("\r", end="", file=sys.stderr)
    print(f"summary: {taken_s:.1f} s, {cpu_s:.1f} s of CPU, peak {peak_mb:.0f} MB")
    print(
        f"  ITL p99 {stage.itl_s.p99:.6f} s of {stage.itl_s.count} gaps, {stage.request_throughput_rps:.2f} requests/s"
    )
    began_s = time.perf_counter()
    size = stored(path).bytes
    print(
        f"checksum: {time.perf_counter() - began_s:.1f} s; file {size / 1e9:.2f} GB, {size / stage.requests.total:.0f} B/request"
    )


def main() -> None:
    """Make the file, then summarise it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--no-bodies", action="store_true")
    parser.add_argument("--folder", type=Path, help="where there is room for the file; it is removed afterwards")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        began_s = time.perf_counter()
        path = fill(folder, arguments.rows, arguments.tokens, not arguments.no_bodies)
        print(
            f"{arguments.rows} rows of {arguments.tokens} tokens made in {time.perf_counter() - began_s:.0f} s",
            flush=True,
        )
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(path,))
        process.start()
        process.join()
        sys.exit(process.exitcode)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
