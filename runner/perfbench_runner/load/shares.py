"""Which part of one load each of several runners makes. Pure: all of them compute the same from the same manifest.

Open loop: there is one schedule of one seed, and request i of it is sent by runner i mod n, whatever the law of its gaps:
parts that were drawn one by one would add up to another law. Closed loop: each runner has its part of the lanes. One that
ends by count leases its requests (`leases`), since nobody knows how fast each runner will be; one that ends by time takes
one of every n. Either way the requests, and so the prompts, are together those of one runner.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice
from random import Random
from typing import TypeVar

from perfbench_api.resource import SpecError
from perfbench_api.sections import Load, Stage
from perfbench_api.sections.runner import AUTO
from perfbench_runner.results.looks import OF_REQUESTS

T = TypeVar("T")


def part_of(total: int, parts: int, part: int) -> int:
    """Part `part` of a whole number split as evenly as it goes: the first ones get the remainder, all add up exactly."""
    return total // parts + (part < total % parts)


def lanes_of(stage: Stage) -> int | None:
    """Lanes of a closed loop; None: an open loop."""
    return stage.lanes


@dataclass(frozen=True)
class Share:
    """One runner's part of a run: number 0 is the leader's."""

    number: int = 0
    runners: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether there is no other runner."""
        return self.runners == 1

    def of_number(self, total: int) -> int:
        """This runner's part of a whole number."""
        return part_of(total, self.runners, self.number)

    def of_stage(self, stage: Stage) -> Stage:
        """The stage as this runner makes it: its lanes, its limit and, of an open loop, how many requests are its own.

        `concurrency` is 0 where a closed loop (the warm-up; others are refused) has fewer lanes than there are runners.
        """
        lanes = lanes_of(stage)
        if self.is_whole:
            return stage
        if lanes is not None:
            return stage.model_copy(update={"concurrency": self.of_number(lanes)})
        own = {
            name: self.of_number(whole) for name in ("requests", "max_concurrency") if (whole := getattr(stage, name))
        }
        return stage.model_copy(update=own)

    def of_schedule(self, arrivals: Iterator[T]) -> Iterator[T]:
        """This runner's arrivals of a schedule."""
        return islice(arrivals, self.number, None, self.runners)

    def every(self) -> Iterator[int]:
        """Numbers of this runner's requests where every n-th one is its own, without end."""
        return count(self.number, self.runners)

    def one_of_every(self) -> Iterator[int]:
        """The same where each is anyone's, as in a closed loop: of each n one that is drawn, by all runners alike.

        Every n-th one could be of the same workload time and again, and a runner whose requests are all short makes more.
        """
        n = self.runners
        if n == 1:
            return count()
        return (block * n + (self.number + Random(block).randrange(n)) % n for block in count())

    def first(self, lanes: int) -> range:
        """Numbers of the requests that a closed loop of so many lanes begins with here: one for each lane, no lease needed."""
        begin = sum(part_of(lanes, self.runners, other) for other in range(self.number))
        return range(begin, begin + self.of_number(lanes))


class Numbers:
    """Numbers of the requests of a stage that are this runner's, in rising order; more of them may come."""

    def __init__(self, numbers: Iterable[int] | None = None) -> None:
        """Every number, if none are given."""
        self._waiting: deque[Iterator[int]] = deque([iter(count() if numbers is None else numbers)])
        self._passed = 0

    def add(self, numbers: Iterable[int]) -> None:
        """More of them, all larger than those before."""
        self._waiting.append(iter(numbers))

    def skipped(self) -> int:
        """Take the next number: how many there are between it and the one taken before. Raises StopIteration."""
        number = next(chain.from_iterable(self._taken()))
        between, self._passed = number - self._passed, number + 1
        return between

    def _taken(self) -> Iterator[Iterator[int]]:
        while self._waiting:
            yield self._waiting[0]
            self._waiting.popleft()


def refuse_idle_runners(load: Load, runners: int) -> None:
    """Raise SpecError where a stage has fewer lanes than there are runners: some would have nothing to do.

    A search may go where only some of them have a lane, but not in all of its range.
    """
    if runners == AUTO:
        raise SpecError(["spec.runner.replicas: auto is for `perfbench run` and the operator; give a number here"])
    problems = []
    if load.search is not None and load.search.concurrency is not None:
        if load.search.concurrency.to < runners:
            raise SpecError(
                [
                    f"spec.load.search.concurrency.to: {load.search.concurrency.to} lanes at most for {runners} runners:"
                    " some would have nothing to do; set runner.replicas to at most that, or raise it"
                ]
            )
        return
    for index, stage in enumerate(load.stages):
        for name, lanes in (("concurrency", lanes_of(stage)), ("maxConcurrency", stage.max_concurrency)):
            if lanes is not None and lanes < runners:
                problems.append(
                    f"spec.runner.replicas: {runners} runners for the {lanes} lanes of stage {stage.title}"
                    f" (spec.load.stages[{index}].{name}): some would have nothing to do; set runner.replicas to at most"
                    f" {lanes}, or raise {name}"
                )
    if problems:
        raise SpecError(problems)


def refuse_what_needs_one(load: Load, has_schedule: bool, runners: int, loses: bool = False) -> None:
    """Raise SpecError for what several runners cannot do together. `loses`: the run goes on without one that was lost.

    Where one stage of a dataset's recorded times stops, the next one goes on, and each runner knows only its own part.
    """
    if runners == 1:
        return
    problems = []
    if load.search is not None and loses:
        problems.append(
            f"spec.load.search: {runners} runners, of which one may be lost (runner.onLoss: continue): the loads that it"
            " tries would not be what it says they are; set runner.onLoss to fail"
        )
    problems += [
        f"spec.load.stages[{index}].until.metric: several runners can tell each other a latency that each request has one of,"
        f" and not {stage.until.metric}; set runner.replicas to 1, or take {', '.join(OF_REQUESTS)}"
        for index, stage in enumerate(load.stages)
        if stage.until is not None and stage.until.metric not in OF_REQUESTS
    ]
    if has_schedule and len(load.stages) > 1:
        problems.append(
            f"spec.runner.replicas: {runners} runners can play a dataset's recorded times in one stage only, and"
            f" there are {len(load.stages)}; set runner.replicas to 1, or keep one stage"
        )
    if problems:
        raise SpecError(problems)


def lanes_by_runner(stage: Stage, runners: int) -> Sequence[int]:
    """How many lanes of a closed loop each runner has."""
    lanes = lanes_of(stage) or 0
    return [part_of(lanes, runners, number) for number in range(runners)]
