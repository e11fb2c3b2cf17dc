"""How many requests of each kind were given to which shard in a closed loop's stage, and how many of them were sent."""

from collections import Counter


class Given:
    """Of one stage."""

    def __init__(self) -> None:
        self._given = Counter[tuple[int, int]]()
        """By shard and kind."""
        self._not_sent = Counter[int]()
        """By kind: those among them that were not sent before the stage was over."""

    def add(self, shard: int, kind: int) -> None:
        """A shard was given a request of this kind."""
        self._given[shard, kind] += 1

    def of(self, kind: int, shard: int) -> int:
        """How many of this kind a shard was given."""
        return self._given[shard, kind]

    def not_sent(self, kind: int) -> None:
        """One of this kind was not sent before the stage was over."""
        self._not_sent[kind] += 1

    def sent(self) -> Counter[int]:
        """How many of each kind were sent."""
        found = Counter[int]()
        for (_, kind), count in self._given.items():
            found[kind] += count
        found.subtract(self._not_sent)
        return found
