"""The mock's service model without sockets or waiting: what a load would measure, computed in microseconds a request.

For tests and for bench/search.py: `serve` lets requests arrive in an open loop, `serve_closed` in a closed one. Both
run the mock's own `Service`, so that what is proven of the simulation is proven of the mock, lateness aside.
"""

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from perfbench_runner.mock.service import Service


class Work(NamedTuple):
    """What a request takes when it is served alone, seconds."""

    first_s: float
    """To the first token: ttft and prefill."""
    rest_s: float
    """From the first token to the last."""


class Served(NamedTuple):
    """What became of a request; times are seconds on the simulation's clock."""

    arrived_s: float
    began_s: float
    """When it got its slot."""
    first_s: float
    """First token."""
    ended_s: float

    @property
    def ttft_s(self) -> float:
        """From arrival to first token, the queue included."""
        return self.first_s - self.arrived_s


class _Simulation:
    """Requests by number; deadlines are kept in work, as the mock does."""

    def __init__(self, service: Service[int], works: Sequence[Work]) -> None:
        self._service, self._works = service, works
        self._due: list[tuple[float, int, bool]] = []
        """Work at which it is due, number, whether it is the request's first token."""
        self.arrived_s, self.began_s, self.first_s, self.ended_s = ([0.0] * len(works) for _ in range(4))

    def next_s(self) -> float:
        """When the next token is due that changes anything."""
        return self._service.pace.time_s(self._due[0][0]) if self._due else float("inf")

    def arrive(self, number: int, time_s: float) -> None:
        self.arrived_s[number] = time_s
        if self._service.enter(number, time_s):
            self._begin(number, time_s)

    def step(self) -> int | None:
        """Let the next deadline pass; returns who is done with it, if anybody is."""
        work_s, number, is_first = heapq.heappop(self._due)
        time_s = self._service.pace.time_s(work_s)
        if is_first:
            self.first_s[number] = time_s
            heapq.heappush(self._due, (work_s + self._works[number].rest_s, number, False))
            return None
        self.ended_s[number] = time_s
        following = self._service.leave(time_s)
        if following is not None:
            self._begin(following, time_s)
        return number

    def served(self) -> list[Served]:
        return list(map(Served, self.arrived_s, self.began_s, self.first_s, self.ended_s))

    def _begin(self, number: int, time_s: float) -> None:
        self.began_s[number] = time_s
        heapq.heappush(self._due, (self._service.pace.work_s(time_s) + self._works[number].first_s, number, True))


def serve(service: Service[int], arrivals_s: Iterable[float], works: Sequence[Work]) -> list[Served]:
    """Open loop: one request for each of `works`, at ascending times; in order of arrival."""
    simulation = _Simulation(service, works)
    for number, (arrived_s, _) in enumerate(zip(arrivals_s, works, strict=False)):
        while simulation.next_s() <= arrived_s:
            simulation.step()
        simulation.arrive(number, arrived_s)
    while simulation.next_s() < float("inf"):
        simulation.step()
    return simulation.served()


def serve_closed(service: Service[int], clients: int, works: Sequence[Work]) -> list[Served]:
    """Closed loop: each of `clients` sends its next request when its last one is done; in order of arrival."""
    simulation = _Simulation(service, works)
    arrived = min(clients, len(works))
    for number in range(arrived):
        simulation.arrive(number, 0.0)
    while (now_s := simulation.next_s()) < float("inf"):
        if simulation.step() is not None and arrived < len(works):
            simulation.arrive(arrived, now_s)
            arrived += 1
    return simulation.served()
