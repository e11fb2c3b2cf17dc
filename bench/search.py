"""How many requests does it take to find the load that a server carries, to 5 %: perfbench's search, EvalScope's, a sweep.

    nice -n 19 .venv/bin/python bench/search.py [--runs 20] [--first 0] [--model queue|batching|tail]
    nice -n 19 .venv/bin/python bench/search.py --only perfbench --runs 200 --first 1000    # what the interval covers
    nice -n 19 .venv/bin/python bench/search.py --only perfbench --early bracket|all        # if decided points ended at once

The server is the mock's own service model (mock/service.py) without sockets, under Poisson arrivals and exponential
lengths, for which the limit is known in closed form. EvalScope's `--sla-auto-tune` is done as it does it: doubling from
the lower bound, then bisection by whole numbers; each load three times, all of its requests counted, percentiles
averaged; `--sla-number-multiplier` is as small as still finds the limit to 5 % in nine of ten runs, and so is the
number of requests of each point of the plain sweep, whose loads are 5 % apart.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import ceil, log, sqrt
from random import Random
from statistics import NormalDist, median

from perfbench_runner.load.points import Answer, Budget, Next, Point, Range, measured
from perfbench_runner.load.search import propose
from perfbench_runner.mock.service import Service
from perfbench_runner.mock.simulation import Work, serve
from perfbench_runner.results.precision import design_effect

LOW, HIGH, PRECISION = 16.0, 128.0, 0.05


class Model:
    """Slots, a batch that slows, exponential lengths; TTFT is the wait, whose law is known."""

    def __init__(self, slots: int, slowdown: float, share: float, limit_rps: float, at_load: float) -> None:
        """The bound of TTFT is put where the true limit is `at_load` of what the server carries at most, at `limit_rps`."""
        self.slots, self.slowdown, self.share, self.limit_rps = slots, slowdown, share, limit_rps
        service = Service[int](slots, slowdown)
        self.work_s = at_load * service.most_rps(1.0) / limit_rps
        self.most_rps = service.most_rps(self.work_s)
        self.bound_s = log(self._waiting(limit_rps) / (1 - share)) / (self.most_rps - limit_rps)

    def _waiting(self, rate_rps: float) -> float:
        """Share of arrivals that find all slots taken, of a birth-death process."""
        service = Service[int](self.slots, self.slowdown)
        weights = [1.0]
        for running in range(1, self.slots + 1):
            weights.append(weights[-1] * rate_rps * self.work_s * service.factor(running) / running)
        full = weights[-1] / (1 - rate_rps / self.most_rps)
        return full / (sum(weights[:-1]) + full)

    def ttft_s(self, rate_rps: float, requests: int, random: Random) -> list[float]:
        """What a run of so many requests measures."""
        return self.measure(rate_rps, requests, random)[0]

    def measure(self, rate_rps: float, requests: int, random: Random) -> tuple[list[float], list[float]]:
        """The same, and when each request arrived."""
        arrivals = list(accumulate(random.expovariate(rate_rps) for _ in range(requests)))
        works = [Work(0.0, random.expovariate(1 / self.work_s)) for _ in range(requests)]
        return [each.ttft_s for each in serve(Service(self.slots, self.slowdown), arrivals, works)], arrivals


Found = tuple[float, int]
"""The load found, and the requests that it took."""


def decided(kept: Sequence[bool], bound: float) -> int:
    """After how many requests it is certain whether the share of all of them will reach a bound."""
    most_bad = len(kept) - ceil(bound * len(kept))
    bad = 0
    for number, is_kept in enumerate(kept, 1):
        bad += not is_kept
        if bad > most_bad or number - bad >= len(kept) - most_bad:
            return number
    return len(kept)


def clear(kept: Sequence[bool], bound: float) -> int:
    """After how many it is clear at 95 %: looks after a fifth, and each 15 % more, each at 5 % / their number."""
    looks = [int(len(kept) * 0.2 * 1.15**number) for number in range(12)]
    z = NormalDist().inv_cdf(1 - 0.05 / len(looks))
    for number in (look for look in looks if look >= 20):
        flags = kept[:number]
        noise = sqrt(max(design_effect(flags), 1.0) * bound * (1 - bound) / number)
        if abs(sum(flags) / number - bound) > z * noise:
            return number
    return len(kept)


def perfbench(model: Model, seed: int, early: str = "") -> tuple[Answer, int]:
    """Of each point a fifth as many requests settle before those that count.

    `early`: points of the bracket end as soon as they are decided (`bracket`), all others as soon as they are clear, too (`all`).
    """
    random, wanted = Random(f"perfbench/{seed}"), Range(LOW, HIGH, PRECISION, (model.share,))
    points: list[Point] = []
    used = 0
    while isinstance(following := propose(wanted, points, Budget(2_000_000 - used)), Next):
        ttft_s, arrived_s = model.measure(following.load, following.total, random)
        flags = [value <= model.bound_s for value in ttft_s[following.settling :]]
        if early and following.role == "bracket":
            del flags[decided(flags, model.share) :]
        elif early == "all":
            del flags[clear(flags, model.share) :]
        total = following.settling + len(flags)
        used += total
        took_s = arrived_s[total - 1] - arrived_s[following.settling]
        counts = [(int(flag), 1) for flag in flags]
        points.append(measured(following, [counts], (len(flags) - 1) / took_s))
    return following, used


def evalscope(model: Model, seed: int, multiplier: int) -> Found:
    """`--sla-auto-tune --sla-variable rate`, three runs of each load."""
    random, used = Random(f"evalscope/{seed}"), 0

    def check(rate: int) -> bool:
        nonlocal used
        used += 3 * rate * multiplier
        values = [percentile(model.ttft_s(rate, rate * multiplier, random), model.share) for _ in range(3)]
        return sum(values) / 3 <= model.bound_s

    lower, upper = int(LOW), int(LOW)
    while check(upper):
        lower, upper = upper, min(2 * upper, int(HIGH))
        if lower == upper:
            return float(lower), used
    while lower < upper - 1:
        middle = (lower + upper) // 2
        lower, upper = (middle, upper) if check(middle) else (lower, middle)
    return float(lower), used


def sweep(model: Model, seed: int, requests: int) -> Found:
    """Loads 5 % apart over the whole range; the last one before the first that breaks. What follows need not be simulated."""
    random, best, loads = Random(f"sweep/{seed}"), LOW, list(_loads())
    for load in loads:
        if percentile(model.ttft_s(load, requests, random), model.share) > model.bound_s:
            break
        best = load
    return best, requests * len(loads)


def _loads() -> Iterator[float]:
    load = LOW
    while load <= HIGH:
        yield load
        load *= 1 + PRECISION


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def cheapest(
    method: Callable[[Model, int, int], Found], model: Model, runs: int, sizes: list[int]
) -> tuple[int, list[Found]]:
    """The smallest size of those that is right in nine of ten runs, or the last one."""
    found: list[Found] = []
    for size in sizes:
        found = []
        for seed in range(runs):
            found.append(method(model, seed, size))
            if len(found) - hits(model, found) > runs // 10 and size != sizes[-1]:
                break  # it can no longer be right in nine of ten
        else:
            return size, found
    return sizes[-1], found


def hits(model: Model, found: list[Found]) -> int:
    return sum(abs(load / model.limit_rps - 1) <= PRECISION for load, _ in found)


def told(name: str, model: Model, found: list[Found]) -> str:
    errors = [100 * (load / model.limit_rps - 1) for load, _ in found]
    return (
        f"{name:44} {hits(model, found):2} of {len(found)} within 5 %; error {median(errors):+5.1f} %"
        f" ({min(errors):+.1f} to {max(errors):+.1f}, rms {sqrt(sum(e**2 for e in errors) / len(errors)):.1f});"
        f" requests {median(used for _, used in found):9,.0f}"
    )


MODELS = {
    "queue": lambda: Model(8, 0.0, 0.95, 61.7, 0.8),
    "batching": lambda: Model(16, 0.05, 0.9, 61.7, 0.85),
    "tail": lambda: Model(8, 0.0, 0.99, 61.7, 0.75),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first of perfbench's searches")
    parser.add_argument("--model", choices=MODELS, default="queue")
    parser.add_argument("--early", choices=("bracket", "all"), default="", help="end perfbench's points when decided")
    parser.add_argument("--only", choices=("perfbench", "evalscope", "sweep"))
    asked = parser.parse_args()
    model = MODELS[asked.model]()
    print(f"TTFT p{100 * model.share:g} <= {1e3 * model.bound_s:.0f} ms holds up to {model.limit_rps} requests/s")
    if asked.only in (None, "perfbench"):
        answers = [perfbench(model, seed, asked.early) for seed in range(asked.first, asked.first + asked.runs)]
        print(told("perfbench", model, [(answer.load or 0.0, used) for answer, used in answers]))
        covered = sum((answer.low or 0) <= model.limit_rps <= (answer.high or 0) for answer, _ in answers)
        below = sum((answer.low or 0) <= model.limit_rps for answer, _ in answers)
        confirmed = sum(answer.confirmed is True for answer, _ in answers)
        print(f"  interval holds the limit in {covered}, its lower end is below it in {below}; confirmed {confirmed}")
    if asked.only in (None, "evalscope"):
        size, found = cheapest(evalscope, model, asked.runs, [8, 16, 32, 64, 128])
        print(told(f"EvalScope --sla-auto-tune, multiplier {size}", model, found))
    if asked.only in (None, "sweep"):
        size, found = cheapest(sweep, model, asked.runs, [500, 1000, 2000, 4000, 8000])
        print(told(f"plain sweep of {len(list(_loads()))} loads, {size} requests each", model, found))


if __name__ == "__main__":
    main()
