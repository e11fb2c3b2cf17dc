"""The feed of a run of several workloads or targets: each request is the next one of the kind whose turn it is.

Each kind, a workload sent to a target, has a feed of its own and goes through its dataset by itself; `Mix` says whose turn
it is. A position in the run thus fixes the request, however many shards and runners there are. Where a stage begins there
are two: one in the datasets, by what is set aside for the stages before it, and one in the order of kinds, which goes on
with what these have sent. So the prompts of a stage do not depend on the endpoint, and shares are kept from stage to stage.
The feeds of one workload for several targets have one seed, so that all targets get the same prompts in the same order.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from perfbench_api.resource import SpecError
from perfbench_runner.load.feed import REFUSALS, Feed
from perfbench_runner.load.mix import Mix, MixOfMixes, Order
from perfbench_runner.load.requests import Kind
from perfbench_runner.shard.request import PreparedRequest


class MixedFeed:
    """What `Feed` is for one kind, for several: `load.requests.Requests`."""

    has_schedule = False
    offset = 0
    """Each kind leaves out its own."""
    dataset_entries: int | None = None
    """There is no one dataset."""

    def __init__(self, feeds: Sequence[Feed], mix: Mix | MixOfMixes, together: int = 1, first_kind: int = 0) -> None:
        """`feeds`: one for each kind of the mix. `together`: so many come in a round, one to each target.

        `first_kind`: number of the first kind in the run, where these are only some of them.
        """
        self.together = together
        self._feeds, self._mix, self._position, self._first_kind = feeds, mix, 0, first_kind
        self._number = self._first_turn = 0
        """Where the stage under way begins: in the datasets, counted in requests of all kinds, and in the order of kinds."""
        self._entries = [0] * len(feeds)
        """The first entry of each kind in it, after those that are left out."""
        self._is_as_reserved = True
        """The stages so far have sent just what was set aside for them."""
        self.kinds: Sequence[Kind] = [feed.kinds[0] for feed in feeds]

    def first(self) -> PreparedRequest:
        """Look at the first request of each kind; the run's first one."""
        found = [self._first_of(feed) for feed in self._feeds]
        return found[self._mix.at(0)]

    def _first_of(self, feed: Feed) -> PreparedRequest:
        with told_of(feed.kinds[0].whose):
            prepared = feed.first()
            if feed.has_schedule:
                name = feed.arguments.dataset
                raise SpecError(
                    [
                        f"dataset {name!r} has recorded times, which cannot be mixed with others' arrivals; measure it"
                        " in a run of its own"
                    ]
                )
        return prepared

    def first_bodies(self) -> list[bytes]:
        """The body of the first request of each kind."""
        return [body for feed in self._feeds for body in feed.first_bodies()]

    def test_requests(self) -> list[PreparedRequest]:
        """One of each kind: a model that is not served is told before any load."""
        return [feed.test_requests()[0]._replace(kind=kind) for kind, feed in enumerate(self._feeds)]

    def start_at(self, number: int, stage: int | None = None, turn: int | None = None) -> None:
        """Go on at this position in the datasets, and with the arguments of this stage; raises REFUSALS.

        `turn`: the position in the order of kinds, the same if not given.
        """
        number, turn = (-(-at // self.together) * self.together for at in (number, number if turn is None else turn))
        self._entries = self._entries_at(number, turn)
        self._number, self._first_turn = number, turn
        self._position = turn  # a stage begins with a whole round
        for feed, entry in zip(self._feeds, self._entries, strict=True):
            with told_of(feed.kinds[0].whose):
                feed.start_at(feed.offset + entry, stage)

    def _entries_at(self, number: int, turn: int) -> list[int]:
        """The first entry of each kind, of a stage that begins there: none before it can have come so far."""
        reserved = number - self._number
        if reserved < 0:  # begun again
            self._is_as_reserved = True
            return self._mix.before(number)
        self._is_as_reserved = self._is_as_reserved and turn in (0, self._first_turn + reserved)
        if self._is_as_reserved:
            before, after = self._mix.before(self._first_turn), self._mix.before(self._first_turn + reserved)
            own = [end - begin for begin, end in zip(before, after, strict=True)]
        else:
            own = self._mix.most(reserved) if reserved else [0] * len(self._feeds)
        return [entry + most for entry, most in zip(self._entries, own, strict=True)]

    def __next__(self) -> PreparedRequest:
        """The next request; raises REFUSALS."""
        kind = self._turn()
        with told_of(self.kinds[kind].whose):
            return next(self._feeds[kind])._replace(kind=self._first_kind + kind)

    def skip(self, count: int) -> None:
        """Leave out so many requests, which other runners send; raises REFUSALS."""
        for _ in range(count):
            kind = self._turn()
            with told_of(self.kinds[kind].whose):
                self._feeds[kind].skip(1)

    def by_kind(self) -> "Sequence[MixedFeed]":
        """The requests of each kind by themselves, from here on."""
        self._is_as_reserved = False  # how many are sent nobody knows: what follows must not depend on it
        return [MixedFeed([feed], Mix([1], ""), first_kind=kind) for kind, feed in enumerate(self._feeds)]

    def orders(self, runner: int, runners: int) -> Sequence[Order]:
        """Whose turn it is among one of several runners' requests; those to each target by themselves, where side by side."""
        mix = self._mix.of_runner(runner, runners)
        if self.together == 1 or not isinstance(mix, MixOfMixes):
            return [Order(mix)]
        of_each = len(self._feeds) // self.together
        return [Order(own, target * of_each) for target, own in enumerate(mix.of_each_target())]

    def pass_over(self, skipped: int) -> int:
        """The kind of a request that is never drawn, after so many that other runners would have sent."""
        self._position += skipped
        return self._turn()

    def put_back(self, prepared: PreparedRequest) -> None:
        """Give back the request that was drawn last: it is the next one again."""
        self._feeds[prepared.kind - self._first_kind].put_back(prepared)
        self._position -= 1

    def _turn(self) -> int:
        kind = self._mix.at(self._position)
        self._position += 1
        return kind


@contextmanager
def told_of(whose: str) -> Iterator[None]:
    """Let what datasets and plugins refuse say whose they are, where there are several kinds (`Kind.whose`)."""
    try:
        yield
    except REFUSALS as error:
        if not whose:
            raise
        if isinstance(error, SpecError):
            raise SpecError([f"{whose}: {problem}" for problem in error.problems]) from error
        raise type(error)(f"{whose}: {error}") from error
