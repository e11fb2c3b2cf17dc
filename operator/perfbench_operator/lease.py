"""One operator at a time: a Lease in Kubernetes says whose turn it is.

An operator for some namespaces has a Lease in each of them; one for all namespaces has a single one, in a namespace that every
cluster has, and leaves alone the namespaces that another operator holds. So two replicas, or two releases, never work on the
same namespaces. A holder renews its Lease; one that has died is followed by whoever sees that it was not renewed. Who has no
Lease does not even watch.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Literal, Protocol

from perfbench_operator.api import ApiError, ConflictError, NotFoundError, RefusedError
from perfbench_operator.kube import Data, Resource
from perfbench_operator.objects.identity import MANAGED_BY, MANAGED_LABEL

logger = logging.getLogger(__name__)
NAME, NAME_FOR_ALL = "perfbench-operator", "perfbench-operator-all"
DURATION_S, RENEW_S = 15.0, 5.0
"""How long a Lease holds without a renewal, and how often it is renewed."""
SETTLE_S = 2.0
"""After taking a Lease: how long the operator for all namespaces, if there is one, has to see that."""
Step = Literal["create", "take", "renew", "wait"]
FAILURES = (ApiError, NotFoundError, ConflictError, RefusedError)


@dataclass(frozen=True)
class Sight:
    """A state of a Lease, and since when it has been seen, by the local monotonic clock: other clocks are not trusted."""

    version: str
    since_s: float


def next_step(lease: Data | None, me: str, sight: Sight | None, now_s: float) -> Step:
    """What to do about a Lease."""
    if lease is None:
        return "create"
    holder = lease.get("spec", {}).get("holderIdentity") or ""
    if holder == me:
        return "renew"
    has_expired = sight is not None and now_s - sight.since_s > DURATION_S
    return "take" if not holder or has_expired else "wait"


class LeaseStore(Protocol):
    """Where Leases are."""

    def now(self) -> datetime:
        """The API server's time."""

    async def lease(self, namespace: str, name: str) -> Resource:
        """Read one; raises NotFoundError."""

    async def create_lease(self, lease: Resource) -> Resource:
        """Create one; raises ConflictError."""

    async def patch_lease(self, lease: Data, spec: Data) -> Resource:
        """Change one if it is as it was read; raises ConflictError."""


@dataclass
class Lease:
    """One Lease that this operator holds or waits for. Belongs to one event loop."""

    store: LeaseStore
    namespace: str
    name: str
    me: str
    on_held: Callable[[], None] = lambda: None
    on_turn: Callable[[], None] = lambda: None
    """Called after each attempt to get or renew it."""
    clock: Callable[[], float] = monotonic
    sight: Sight | None = None
    held_from_s: float = float("inf")
    """From when on it may be relied on, while it is held."""
    renewed_s: float = float("-inf")
    last: Resource | None = None
    answered_s: float = float("-inf")
    """When the API server last answered a question about it."""
    waits_for: str = ""
    problem: str = ""
    """What the last attempt failed for."""

    @property
    def is_taken(self) -> bool:
        """Whether this operator has it. A holder that cannot renew stops before others may take over."""
        return self.held_from_s < float("inf") and self.clock() < self.renewed_s + DURATION_S - 1

    @property
    def is_held(self) -> bool:
        """Whether it is this operator's turn: it has the Lease, and had the time to settle."""
        return self.is_taken and self.held_from_s <= self.clock()

    async def keep(self) -> None:
        """Get and renew it until cancelled."""
        while True:
            was_held = self.is_held
            problem = ""
            try:
                await self.turn()
            except FAILURES as error:
                problem = str(error) or type(error).__name__
                if not isinstance(error, ApiError):
                    self.answered_s = self.clock()
            if problem and problem != self.problem:
                logger.warning("lease %s/%s: %s", self.namespace, self.name, problem)
            self.problem = problem
            self.on_turn()
            if not was_held and await self._settled():
                logger.info("lease %s/%s: held", self.namespace, self.name)
                self.on_held()
            await asyncio.sleep(RENEW_S)

    async def _settled(self) -> bool:
        """Whether it is held, now or after the time that it takes to settle."""
        wait_s = self.held_from_s - self.clock()
        if 0 < wait_s <= SETTLE_S:
            await asyncio.sleep(wait_s)
        return self.is_held

    async def turn(self) -> None:
        """One attempt to get or renew it."""
        try:
            lease = await self.store.lease(self.namespace, self.name)
        except NotFoundError:
            lease = None
        self.last = lease
        self.answered_s = asked_s = self.clock()
        version = str(lease["metadata"].get("resourceVersion")) if lease else ""
        if self.sight is None or self.sight.version != version:
            self.sight = Sight(version, asked_s)
        step = next_step(lease, self.me, self.sight, asked_s)
        if step == "wait":
            self.held_from_s = float("inf")
            self._tell_of_holder(str((lease or {}).get("spec", {}).get("holderIdentity")))
            return
        now = _micro(self.store.now())
        spec = {"holderIdentity": self.me, "leaseDurationSeconds": int(DURATION_S), "renewTime": now}
        if step == "create" or lease is None:
            self.last = await self.store.create_lease(self._new(spec | {"acquireTime": now}))
        else:
            self.last = await self.store.patch_lease(lease, spec | ({"acquireTime": now} if step == "take" else {}))
        self.sight = Sight(str(self.last["metadata"].get("resourceVersion")), asked_s)
        self.renewed_s = asked_s
        self.held_from_s = min(self.held_from_s, asked_s) if step == "renew" else asked_s + SETTLE_S

    def _tell_of_holder(self, holder: str) -> None:
        """Say once for each holder why this operator does nothing."""
        if holder != self.waits_for:
            logger.info("lease %s/%s: held by %s; waiting for it to end", self.namespace, self.name, holder)
        self.waits_for = holder

    async def release(self) -> None:
        """Let the next one have it at once."""
        was_taken, self.held_from_s = self.is_taken, float("inf")
        if was_taken and self.last is not None:
            with contextlib.suppress(*FAILURES):
                await self.store.patch_lease(self.last, {"holderIdentity": "", "leaseDurationSeconds": 1})

    def _new(self, spec: Data) -> Resource:
        labels = {MANAGED_LABEL: MANAGED_BY}
        meta = {"name": self.name, "namespace": self.namespace, "labels": labels}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": dict(spec)}


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Turns:
    """Whose turn it is in which namespace."""

    leases: Sequence[Lease]
    is_for_all: bool = False
    clock: Callable[[], float] = monotonic
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while this operator has any of its Leases: then it has to know what is going on in all of its namespaces."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while it has none."""
    _others: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Namespaces that other operators hold: version of their Lease, and when it was first seen."""

    @classmethod
    def of(
        cls, store: LeaseStore, namespaces: Sequence[str], home: str, me: str, on_held: Callable[[], None]
    ) -> "Turns":
        """The Leases for these namespaces; for all of them, whose Lease is in `home`, if there are none."""
        names = [(namespace, NAME) for namespace in namespaces] or [(home, NAME_FOR_ALL)]
        leases = [Lease(store, namespace, name, me, on_held) for namespace, name in names]
        turns = cls(leases, is_for_all=not namespaces)
        for lease in leases:
            lease.on_turn = turns.turned
        return turns

    def turned(self) -> None:
        """A Lease was taken, renewed or lost."""
        if any(lease.is_taken for lease in self.leases):
            self.taken.set()
            self.lost.clear()
        else:
            self.taken.clear()
            self.lost.set()

    @property
    def answered_s(self) -> float:
        """When the API server last answered a question about a Lease."""
        return max(lease.answered_s for lease in self.leases)

    def may_work(self, namespace: str) -> bool:
        """Whether this operator works on a namespace now."""
        if self.is_for_all:
            return self.leases[0].is_held and not self._is_anothers(namespace)
        return any(lease.is_held for lease in self.leases if lease.namespace == namespace)

    def saw(self, lease: Data, is_gone: bool = False) -> None:
        """The watch reported a Lease of an operator for some namespaces."""
        meta = lease["metadata"]
        if meta["name"] != NAME:
            return
        namespace, version = meta["namespace"], str(meta.get("resourceVersion"))
        if is_gone or not lease.get("spec", {}).get("holderIdentity"):
            self._others.pop(namespace, None)
        elif self._others.get(namespace, ("", 0.0))[0] != version:
            self._others[namespace] = (version, self.clock())

    def _is_anothers(self, namespace: str) -> bool:
        _, since_s = self._others.get(namespace, ("", float("-inf")))
        return self.clock() - since_s <= DURATION_S
