"""Which of several kinds a request is of: exact shares, no clumps, fixed by a seed. Pure.

Of any n requests in a row from the beginning, a kind of weight w has n * w / sum of weights to within one. So the shares
are right at every moment, and not only in the end; a draw for each request would be off by the square root of n.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from math import gcd
from random import Random
from typing import NamedTuple


class Mix:
    """The endless order of kinds, by their positions in it. It comes in blocks, each of which has every share exactly."""

    def __init__(self, weights: Sequence[int], seed: str, runner: int = 0, runners: int = 1) -> None:
        """`weights`: whole numbers above 0, one for each kind. `runners`: only every n-th block, from the `runner`-th on."""
        common = gcd(*weights)
        self._weights, self._seed = [weight // common for weight in weights], seed
        self._runner, self._runners = runner, runners
        self._length = sum(self._weights)
        self._block: tuple[int, list[int]] = (-1, [])
        """The one that was asked for last, and its number."""

    @property
    def kinds(self) -> int:
        """How many there are."""
        return len(self._weights)

    @property
    def shares(self) -> list[float]:
        """The share of each."""
        return [weight / self._length for weight in self._weights]

    def of_runner(self, number: int, runners: int) -> "Mix":
        """An order of its own for one of several runners; together they have the blocks of this one."""
        return Mix(self._weights, self._seed, number, runners)

    def at(self, position: int) -> int:
        """The kind of the request at a position."""
        number, place = divmod(position, self._length)
        return self._kinds(number)[place]

    def before(self, position: int) -> list[int]:
        """How many requests of each kind come before a position."""
        number, place = divmod(position, self._length)
        counts = [number * weight for weight in self._weights]
        for kind in self._kinds(number)[:place] if place else ():
            counts[kind] += 1
        return counts

    def most(self, count: int) -> list[int]:
        """How many of each kind there are at most among so many in a row, wherever they begin."""
        return [min(count, -(-count * weight // self._length) + 1) for weight in self._weights]

    def _kinds(self, number: int) -> list[int]:
        if self._block[0] != number:
            self._block = number, self._drawn(Random(f"{self._seed}/{number * self._runners + self._runner}"))
        return self._block[1]

    def _drawn(self, random: Random) -> list[int]:
        """Earliest deadline first among those that may come, which keeps all deadlines; of equal ones any may be first.

        The n-th of a kind may come when its share has reached n - 1, and must before it reaches n (Tijdeman 1980).
        """
        counts, kinds, windows = [0] * len(self._weights), [], self._windows
        for place in range(self._length):
            open_ = [
                (windows[kind][count][1], random.random(), kind)
                for kind, count in enumerate(counts)
                if count < self._weights[kind] and windows[kind][count][0] <= place
            ]
            kind = min(open_)[2]
            counts[kind] += 1
            kinds.append(kind)
        return kinds

    @cached_property
    def _windows(self) -> list[list[tuple[int, int]]]:
        """Of each request of each kind: the first place in a block that it may have, and the first that is too late."""
        length = self._length
        return [[(n * length // w, -(-(n + 1) * length // w)) for n in range(w)] for w in self._weights]


class MixOfMixes:
    """The order of kinds where each is a target and a workload: first the target's turn, then its own next workload.

    The kinds of a target come one after the other. All targets have their workloads in the same order, so that the n-th
    request of each is the same.
    """

    def __init__(self, targets: Mix, workloads: Sequence[Mix]) -> None:
        """`workloads`: one mix for each target; they are alike, and each remembers where its own target is."""
        self._targets, self._workloads = targets, workloads

    @property
    def shares(self) -> list[float]:
        """The share of each kind."""
        return [
            of_target * share
            for own, of_target in zip(self._workloads, self._targets.shares, strict=True)
            for share in own.shares
        ]

    def of_runner(self, number: int, runners: int) -> "MixOfMixes":
        """An order of its own for one of several runners, of which each target's part is balanced, too."""
        return MixOfMixes(
            self._targets.of_runner(number, runners), [own.of_runner(number, runners) for own in self._workloads]
        )

    def of_each_target(self) -> Sequence[Mix]:
        """The order of each target's own kinds."""
        return self._workloads

    def at(self, position: int) -> int:
        """The kind of the request at a position."""
        target = self._targets.at(position)
        own, before = self._workloads[target], self._targets.before(position)[target]
        return target * own.kinds + own.at(before)

    def before(self, position: int) -> list[int]:
        """How many requests of each kind come before a position."""
        counts = self._targets.before(position)
        return [count for own, before in zip(self._workloads, counts, strict=True) for count in own.before(before)]

    def most(self, count: int) -> list[int]:
        """How many of each kind there are at most among so many in a row, wherever they begin."""
        counts = self._targets.most(count)
        return [most for own, of_target in zip(self._workloads, counts, strict=True) for most in own.most(of_target)]


class Order(NamedTuple):
    """Whose turn it is, of kinds whose numbers in the run are `first_kind` and those that follow it."""

    mix: Mix | MixOfMixes
    first_kind: int = 0

    def at(self, position: int) -> int:
        """The kind of the request at a position, by its number in the run."""
        return self.first_kind + self.mix.at(position)

    def between(self, position: int, end: int) -> Counter[int]:
        """How many requests of each kind there are from a position to another one, by its number in the run."""
        counts = zip(self.mix.before(position), self.mix.before(end), strict=True)
        return Counter({kind: after - before for kind, (before, after) in enumerate(counts, self.first_kind)})

    @property
    def shares(self) -> dict[int, float]:
        """The share of each kind, by its number in the run."""
        return dict(enumerate(self.mix.shares, self.first_kind))
