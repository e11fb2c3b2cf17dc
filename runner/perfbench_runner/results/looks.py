"""When growing data are looked at, of a stage that ends as soon as a figure is known well enough (`until`). Numbers only.

Whoever looks again and again at an interval of 95 % finds it wrong sooner or later. Looks that are close to each other see
nearly the same data, so that it is doublings that count: of figures of such a stage each is judged at its level divided by
them, as if it had been judged at every one.
"""

from collections.abc import Mapping
from math import ceil, log2
from typing import Any

FEWEST = 200
TAIL = 10
"""Values beyond a quantile, in independent ones: with fewer no interval can be believed."""


def first_look(p: float) -> int:
    """How many values there must be before it is worth looking at a quantile."""
    return max(FEWEST, ceil(TAIL / min(p, 1 - p)))


def doublings(plan: Mapping[str, Any], requests: int) -> int:
    """How many looks a stage of so many requests counts as, by its plan; 1 where it did not end by precision."""
    until = plan.get("until")
    if until is None:
        return 1
    statistic = str(until.get("statistic", "p99"))
    is_of_requests = until.get("metric", "ttft") in OF_REQUESTS
    first = first_look(float(statistic.removeprefix("p").replace("_", ".")) / 100) if is_of_requests else FEWEST
    return 1 + max(0, ceil(log2(max(1, requests) / first)))


OF_REQUESTS = ("ttft", "tpot", "e2e_latency", "scheduled_latency")
"""Latencies that each request has one of."""
