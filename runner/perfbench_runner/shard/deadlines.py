"""When to look at which connection again: a look costs by what is due, not by how many connections there are."""

from typing import Generic, Protocol, TypeVar


class Dated(Protocol):
    """What has a deadline. It keeps its own place among the deadlines, so that it is found at once."""

    deadline: int


T = TypeVar("T", bound=Dated)


class Deadlines(Generic[T]):
    """Deadlines in buckets of `tick_s`. Setting one twice moves it; none is due early, none later than a tick."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._buckets: dict[int, dict[T, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def set(self, item: T, at_s: float) -> None:
        """Look at it when this time has come."""
        self.discard(item)
        item.deadline = int(at_s / self._tick_s) + 1
        self._buckets.setdefault(item.deadline, {})[item] = None

    def discard(self, item: T) -> None:
        """Do not look at it."""
        bucket = self._buckets.get(item.deadline)
        if bucket is not None:
            bucket.pop(item, None)
            if not bucket:
                del self._buckets[item.deadline]

    def take_due(self, now_s: float) -> list[T]:
        """All whose time has come; they have no deadline any more."""
        now = int(now_s / self._tick_s)
        due = [key for key in self._buckets if key <= now]
        return [item for key in sorted(due) for item in self._buckets.pop(key)]
