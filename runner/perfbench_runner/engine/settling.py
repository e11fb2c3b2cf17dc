"""Values of a latency that several runners have measured, so that the leader can tell how well the whole's quantile is known.

Each runner counts its values by the second in which their requests were due, in sketches. Of a second all values stand
together in any order: what depends on each other is told by batches of many seconds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random

from perfbench_runner.observe.sketch import Sketch, value_of
from perfbench_runner.observe.told import Settled

MOST_TOLD = 20_000
"""Buckets that are told at once: what is more is told the next time."""


class Settling:
    """Of one runner's part of a stage. Belongs to the control process's loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, float, float | None]] = []
        """Number, second and value of what has ended and is not settled; a request may have no such value."""
        self._seconds: dict[int, Sketch] = {}
        self._changed: dict[int, None] = {}
        """Seconds that were not told since they changed."""
        self._until_s, self._values = 0.0, 0

    def add(self, seq: int, due_s: float, value: float | None) -> None:
        """A request of the stage has ended; `due_s` is since its load began."""
        self._waiting.append((seq, max(0.0, due_s), value))

    def settle(self, oldest: int | None, elapsed_s: float) -> None:
        """Settle what was sent before the oldest request under way, or all where there is none."""
        settled = [one for one in self._waiting if oldest is None or one[0] < oldest]
        self._waiting = [one for one in self._waiting if oldest is not None and one[0] >= oldest]
        for _, due_s, value in settled:
            if value is not None:
                second = int(due_s)
                self._seconds.setdefault(second, Sketch()).add((value,))
                self._changed[second] = None
                self._values += 1
        latest_s = elapsed_s if oldest is None else max((due_s for _, due_s, _ in settled), default=0.0)
        self._until_s = max(self._until_s, latest_s)

    def told(self) -> Settled:
        """What is to be told now: seconds that have changed since, as many as fit."""
        seconds: dict[int, dict[int, int]] = {}
        room = MOST_TOLD
        for second in sorted(self._changed):
            counts = self._seconds[second].counts()
            if seconds and len(counts) > room:
                break
            seconds[second], room = counts, room - len(counts)
        for second in seconds:
            del self._changed[second]
        until_s = min((self._until_s, *map(float, self._changed)))
        return Settled(values=self._values, until_s=until_s, seconds=seconds)

    def whole(self) -> Settled:
        """All that is settled."""
        seconds = {second: sketch.counts() for second, sketch in self._seconds.items()}
        return Settled.model_construct(values=self._values, until_s=self._until_s, seconds=seconds)


def with_more(before: Settled, more: Settled) -> Settled:
    """What a runner has told by now."""
    return Settled.model_construct(values=more.values, until_s=more.until_s, seconds={**before.seconds, **more.seconds})


def in_order(parts: Sequence[Settled]) -> list[float]:
    """The values of all runners by the second in which they were due, up to the one that is not settled everywhere."""
    until_s = min((part.until_s for part in parts), default=0.0)
    by_second: dict[int, Counter[int]] = {}
    for second, counts in _all_seconds(parts):
        if second + 1 <= until_s:
            by_second.setdefault(second, Counter()).update(counts)
    found: list[float] = []
    for second, whole in sorted(by_second.items()):
        values = [value for bucket, count in whole.items() for value in [value_of(bucket)] * count]
        Random(second).shuffle(values)  # in order of size they would look as if they depended on each other
        found += values
    return found


def _all_seconds(parts: Iterable[Settled]) -> Iterable[tuple[int, Mapping[int, int]]]:
    for part in parts:
        yield from part.seconds.items()
