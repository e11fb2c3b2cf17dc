"""Does a search as a run find the limit of a real server? `perfbench run` against the mock's service model, at full precision.

    .venv/bin/python bench/search_run.py [--load 0.85] [--precision 5%] [--slower 1]

bench/search.py searches without sockets, hundreds of times; this one does it once, with processes, connections and a clock.
That takes two minutes on an idle machine; where others use it, too, a mock that gets no CPU carries less, and everything must be
made `--slower`, so many times as long. Requests are alike, so that the limit has no closed form: the bound is put where a
simulation of the mock's own queue, of a million requests, has the p90 of the TTFT at `--load` of what the server carries at
most. The exit status is 1 where the interval does not hold that load.
"""

import argparse
import json
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import yaml

from perfbench_runner.mock.service import Service
from perfbench_runner.mock.simulation import Work, serve

SLOTS, SLOWDOWN = 16, 0.02
TTFT_S, ITL_S, TOKENS = 0.03, 0.0016, 20
SIMULATED, SETTLING = 1_000_000, 20_000


def work(slower: float) -> Work:
    """What each request takes when it is served alone."""
    return Work(TTFT_S * slower, ITL_S * (TOKENS - 1) * slower)


def p90_s(rate_rps: float, each: Work) -> float:
    """The true p90 of the TTFT at a rate."""
    random = Random("truth")
    arrivals = accumulate(random.expovariate(rate_rps) for _ in range(SIMULATED))
    served = serve(Service(SLOTS, SLOWDOWN), list(arrivals), [each] * SIMULATED)
    ttft_s = sorted(one.ttft_s for one in served[SETTLING:])
    return ttft_s[int(0.9 * len(ttft_s))]


def spec(most_rps: float, bound_s: float, precision: str, slower: float) -> dict[str, Any]:
    """The search, from a third of what it carries to more than that."""
    pace = {"ttft": TTFT_S * slower, "itl": ITL_S * slower, "outputTokens": TOKENS}
    mock = {"slots": SLOTS, "batchSlowdown": SLOWDOWN, **pace}
    search = {"rate": {"from": round(most_rps / 3), "to": round(1.2 * most_rps)}, "precision": precision}
    return {
        "target": {"mock": mock, "model": "mock"},
        "request": {"maxTokens": TOKENS},
        "load": {"search": search, "gracePeriod": "2s"},
        "objectives": [{"metric": "ttft", "statistic": "p90", "max": bound_s}],
        "results": {"messages": "none"},
    }


def searched(asked: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run has found, and its client."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "search.yaml"
        file.write_text(yaml.safe_dump({"kind": "PerfBenchmark", "metadata": {"name": "search"}, "spec": asked}))
        command = [
            Path(sys.executable).parent / "perfbench",
            "run",
            file,
            "--results-dir",
            f"{folder}/out",
            "--no-fail",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((Path(folder) / "out" / "summary.json").read_text())
    return summary["search"], summary["client"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--load", type=float, default=0.85, help="where the limit is, of what the server carries at most"
    )
    parser.add_argument("--precision", default="5%")
    parser.add_argument("--slower", type=float, default=1.0, help="make everything take so many times as long")
    given = parser.parse_args()
    each = work(given.slower)
    most_rps = Service[int](SLOTS, SLOWDOWN).most_rps(each.first_s + each.rest_s)
    limit_rps = given.load * most_rps
    bound_s = p90_s(limit_rps, each)
    print(
        f"carries {most_rps:.1f}/s at most; TTFT p90 <= {1e3 * bound_s:.1f} ms holds up to {limit_rps:.1f}/s",
        flush=True,
    )
    began_s = monotonic()
    found, client = searched(spec(most_rps, bound_s, given.precision, given.slower))
    low, load, high = (found[name] or float("nan") for name in ("low", "load", "high"))
    print(
        f"found {load:.1f} ({low:.1f} to {high:.1f}), {100 * (load / limit_rps - 1):+.1f} %, confirmed: {found['confirmed']};"
        f" {found['requests']:,} requests, {len(found['points'])} points, {monotonic() - began_s:.0f} s; client {client['state']}"
    )
    print(found["reason"])
    return int(not low <= limit_rps <= high)


if __name__ == "__main__":
    sys.exit(main())
