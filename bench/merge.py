#!/usr/bin/env python3
"""How long it takes to merge the files of several runners, and in how much memory: bench/merge.py [--rows N] [--runners N].

Rows are made by `big_run.fill`, not by load: equal parts of --rows for each runner. The merge is in a process of its own,
whose peak of memory is printed. A million rows of 64 tokens need 2 GB of disk without bodies, 6 GB with them.
"""

import argparse
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

from big_run import fill

from perfbench_runner.results.merge import RunnerFacts, add_leader, merge
from perfbench_runner.results.store import Store
from perfbench_runner.runners.clocks import ClockLine


def facts(runner: int) -> RunnerFacts:
    """A runner whose clock is 100 s behind."""
    return RunnerFacts(runner, f"pod-{runner}", "node", "merged", "", 2, ClockLine(offset_s=100.0, drift=1e-5))


def merge_all(folder: Path, paths: list[Path]) -> None:
    """Put all into one file, and print how long it took."""
    folder.mkdir()
    store = Store(folder)
    began_s = time.monotonic()
    add_leader(store.db, facts(0))
    for runner, path in enumerate(paths, 1):
        merge(store.db, path, facts(runner))
    path = store.close()
    took_s = time.monotonic() - began_s
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"merged {len(paths)} files into {path.stat().st_size / 1e6:,.0f} MB in {took_s:.1f} s, peak {peak:.0f} MB")


def main() -> int:
    """Make files and merge them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runners", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--bodies", action="store_true")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        paths = []
        for runner in range(given.runners):
            (folder / f"{runner}").mkdir()
            paths.append(fill(folder / f"{runner}", given.rows // given.runners, given.tokens, given.bodies))
        process = multiprocessing.get_context("spawn").Process(target=merge_all, args=(folder / "merged", paths))
        process.start()
        process.join()
        return process.exitcode or 0
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(main())
