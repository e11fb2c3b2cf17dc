"""Which benchmarks may start: a run has its target to itself, and so many run at most. Pure.

Nothing is locked: what runs follows from the benchmarks themselves, so a restart loses nothing and leaves nothing behind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfbench_operator.kube import NamespacedName


@dataclass(frozen=True)
class Candidate:
    """A benchmark that waits to start, or that has started and is not over."""

    uid: str
    name: NamespacedName
    created: str
    """Its creation timestamp: the oldest first."""
    priority: int = 0
    """The highest first."""
    targets: frozenset[str] = frozenset()
    """What it loads, as `objects.address` names it; none for mocks of its own, which nobody shares."""
    is_exclusive: bool = True
    """It needs its targets to itself."""


@dataclass(frozen=True)
class Limits:
    """How many benchmarks may run at the same time; 0 for any number."""

    everywhere: int = 0
    in_namespace: int = 0


@dataclass(frozen=True)
class Place:
    """A place in the queue."""

    position: int
    """From 1."""
    count: int
    """How many wait."""
    blockers: tuple[NamespacedName, ...] = ()
    """Benchmarks that have the target, or will have it before; empty where only a limit is reached."""
    limit: str = ""
    """The limit that is reached, such as maxConcurrent: 4."""

    @property
    def message(self) -> str:
        """The place, and whom it waits for."""
        names = [f"{namespace}/{name}" for namespace, name in self.blockers[:3]]
        more = f" and {len(self.blockers) - 3} more" if len(self.blockers) > 3 else ""
        why = f"{', '.join(names)}{more}, which has the same target" if names else f"a free place ({self.limit})"
        return f"place {self.position} of {self.count} in the queue; waits for {why}"


def places(
    waiting: Iterable[Candidate], running: Sequence[Candidate], limits: Limits = Limits()
) -> dict[str, Place | None]:
    """By uid of those who wait: their place in the queue; None for those who may start now.

    Nobody overtakes another one who waits for the same target; who waits for another target may be overtaken.
    """
    queue = sorted(waiting, key=lambda one: (-one.priority, one.created, one.name))
    started = list(running)
    held: list[Candidate] = []
    found: dict[str, tuple[tuple[NamespacedName, ...], str]] = {}
    for one in queue:
        blockers = tuple(other.name for other in (*started, *held) if _conflict(one, other))
        limit = "" if blockers else _reached(one, started, limits)
        if blockers or limit:
            held.append(one)
            found[one.uid] = (blockers, limit)
        else:
            started.append(one)
    places = {one.uid: Place(number, len(held), *found[one.uid]) for number, one in enumerate(held, 1)}
    return {one.uid: places.get(one.uid) for one in queue}


def _conflict(one: Candidate, other: Candidate) -> bool:
    """Whether two benchmarks must not run at the same time."""
    return not one.targets.isdisjoint(other.targets) and (one.is_exclusive or other.is_exclusive)


def _reached(one: Candidate, running: Sequence[Candidate], limits: Limits) -> str:
    if limits.everywhere and len(running) >= limits.everywhere:
        return f"maxConcurrent: {limits.everywhere}"
    here = sum(other.name[0] == one.name[0] for other in running)
    if limits.in_namespace and here >= limits.in_namespace:
        return f"maxConcurrentPerNamespace: {limits.in_namespace}"
    return ""
