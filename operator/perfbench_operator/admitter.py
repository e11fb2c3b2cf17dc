"""Lets benchmarks start: remembers whom it has admitted until the cluster shows it, and asks `admission` for the rest."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from perfbench_api.sections import OneTarget, Target
from perfbench_operator.admission import Candidate, Limits, Place, places
from perfbench_operator.cache import Cache, uid
from perfbench_operator.kube import Data, namespaced_name
from perfbench_operator.objects.address import address
from perfbench_operator.objects.identity import STARTED, Identity
from perfbench_operator.status.draft import is_final


@dataclass
class Admitter:
    """Belongs to the event loop's thread: two benchmarks are never admitted at the same time."""

    cache: Cache
    limits: Limits
    admitted: set[str] = field(default_factory=set)
    """Uids of those that were admitted and whose mark or Job may not be in the cache yet."""
    _targets: dict[str, frozenset[str]] = field(default_factory=dict)
    """Addresses of targets by uid: they cannot change."""

    def place(self, body: Data) -> Place | None:
        """A benchmark's place in the queue; None, and it is admitted."""
        running = [self._candidate(one) for one in self._open() if self.holds(one)]
        waiting = [self._candidate(one) for one in self._open() if not self.holds(one) and _may_start(one)]
        place = places(waiting, running, self.limits).get(uid(body))
        if place is None:
            self.admitted.add(uid(body))
        return place

    def holds(self, body: Data) -> bool:
        """Whether a benchmark has its target and one of the places: it has been admitted, and is not over."""
        if is_final(body):
            return False
        started = (body["metadata"].get("annotations") or {}).get(STARTED) == uid(body)
        status = body.get("status")
        has_start = isinstance(status, dict) and bool(status.get("startTime"))
        return started or has_start or uid(body) in self.admitted or self._has_job(body)

    def waiting(self) -> Iterator[Data]:
        """Those that may start as soon as somebody else is over."""
        return (body for body in self._open() if not self.holds(body))

    def forget(self, gone: str) -> None:
        """A benchmark is over, or gone."""
        self.admitted.discard(gone)
        self._targets.pop(gone, None)

    def _has_job(self, body: Data) -> bool:
        identity = Identity.of(body)
        job = self.cache.job(identity.namespace, identity.child)
        return job is not None and identity.owns(job)

    def _open(self) -> Iterator[Data]:
        return (body for body in self.cache.benchmarks() if not is_final(body))

    def _candidate(self, body: Data) -> Candidate:
        spec = body["spec"]
        target = spec.get("target") if isinstance(spec.get("target"), dict) else {}
        return Candidate(
            uid=uid(body),
            name=namespaced_name(body),
            created=str(body["metadata"].get("creationTimestamp", "")),
            priority=spec.get("priority") or 0,
            targets=self._addresses(body),
            is_exclusive=target.get("exclusive", True),
        )

    def _addresses(self, body: Data) -> frozenset[str]:
        if uid(body) not in self._targets:
            try:
                found = [address(target, body["metadata"]["namespace"]) for target in _targets(body["spec"])]
            except ValueError:
                found = []  # it fails before it loads anything
            self._targets[uid(body)] = frozenset(filter(None, found))
        return self._targets[uid(body)]


def _targets(spec: Data) -> list[Target]:
    """All that it loads; raises ValueError where that cannot be read."""
    common = Target.model_validate(spec.get("target") or {})
    several = spec.get("targets")
    if not several:
        return [common]
    return [OneTarget.model_validate(one).over(common) for one in (several if isinstance(several, list) else [several])]


def _may_start(body: Data) -> bool:
    """Whether nothing but the queue holds a benchmark back."""
    meta, spec = body["metadata"], body["spec"]
    is_copy = (meta.get("annotations") or {}).get(STARTED) not in (None, uid(body))
    return not (meta.get("deletionTimestamp") or spec.get("cancel") or spec.get("suspend") or is_copy)
