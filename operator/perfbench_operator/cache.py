"""What the watches have reported: benchmarks, their Jobs and their pods. Pure; belongs to the event loop's thread.

It may be behind the cluster. So what it has may be relied on, but what it lacks is read again before anything ends for it.
Pods that are gone are kept until their benchmark is over: their termination messages may be all that a run has left.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from perfbench_operator.cluster import Source
from perfbench_operator.kube import Data, NamespacedName, Resource, namespaced_name
from perfbench_operator.objects.identity import NAME_LABEL, UID_LABEL
from perfbench_operator.status.pods import GONE


@dataclass(frozen=True, eq=False)
class Listing:
    """A list that is under way. What the watch reports meanwhile is newer than what it will say."""

    source: Source
    before: dict[NamespacedName, Resource]
    """What was known when it began."""
    deleted: set[str] = field(default_factory=set)
    """Uids of what has been deleted since."""


@dataclass
class Cache:
    """The newest state of every object: by kind, then by namespace and name."""

    objects: defaultdict[str, dict[NamespacedName, Resource]] = field(default_factory=lambda: defaultdict(dict))
    gone: dict[str, dict[str, Resource]] = field(default_factory=dict)
    """Pods that are gone, as they were last seen: by the uid of their benchmark, then by their own."""
    listed_sources: set[Source] = field(default_factory=set)
    """Collections that have been listed since they are watched."""
    _listings: list[Listing] = field(default_factory=list)

    @contextmanager
    def listing(self, source: Source) -> Iterator[Listing]:
        """A list begins; give what it has said to `listed`."""
        known = self.objects[source.kind].items()
        listing = Listing(source, {name: item for name, item in known if source.namespace in (None, name[0])})
        self._listings.append(listing)
        try:
            yield listing
        finally:
            self._listings.remove(listing)

    def listed(self, listing: Listing, items: Sequence[Resource]) -> set[NamespacedName]:
        """A list was read; return the benchmarks that it concerns."""
        source, before = listing.source, listing.before
        known, names = self.objects[source.kind], {namespaced_name(item) for item in items}
        lost = [item for name, item in before.items() if name not in names and known.get(name) is item]
        concerned = {name for item in lost for name in self._remove(item, source.kind)}
        there = [item for item in items if uid(item) not in listing.deleted]
        return concerned.union(*(self.put(source.kind, item) for item in there))

    def changed(self, kind: str, event: str, item: Resource) -> set[NamespacedName]:
        """The watch reported a change; return the benchmarks that it concerns."""
        return self._remove(item, kind) if event == "DELETED" else self.put(kind, item)

    def put(self, kind: str, item: Resource) -> set[NamespacedName]:
        """Keep an object unless a newer state of it is known; return the benchmarks that it concerns."""
        objects, name = self.objects[kind], namespaced_name(item)
        known = objects.get(name)
        if known is not None and uid(known) == uid(item) and version(known) >= version(item):
            return set()
        replaced = self._remove(known, kind) if known is not None and uid(known) != uid(item) else set()
        objects[name] = item
        return replaced | _concerned(kind, item)

    def _remove(self, item: Resource, kind: str) -> set[NamespacedName]:
        objects, name = self.objects[kind], namespaced_name(item)
        known = objects.get(name)
        if known is not None and uid(known) == uid(item):
            del objects[name]
        for listing in self._listings:
            listing.deleted.add(uid(item))
        if kind == "Pod":
            owner = _label(item, UID_LABEL)
            if owner in self._uids(item["metadata"]["namespace"]):
                self.gone.setdefault(owner, {})[uid(item)] = {**item, GONE: True}
        if kind == "PerfBenchmark":
            self.gone.pop(uid(item), None)
        return _concerned(kind, item)

    def forget_pods(self, benchmark: Data) -> None:
        """The benchmark is over: nobody will ask for the pods that it had."""
        self.gone.pop(uid(benchmark), None)

    # Questions

    def benchmarks(self) -> Iterator[Resource]:
        """All benchmarks."""
        return iter(self.objects["PerfBenchmark"].values())

    def benchmark(self, name: NamespacedName) -> Resource | None:
        """A benchmark."""
        return self.objects["PerfBenchmark"].get(name)

    def job(self, namespace: str, name: str) -> Resource | None:
        """A Job."""
        return self.objects["Job"].get((namespace, name))

    def pods(self, benchmark: Data) -> list[Resource]:
        """The pods that are labelled as a benchmark's, gone ones included, the newest last."""
        namespace, owner = benchmark["metadata"]["namespace"], uid(benchmark)
        pods = self.objects["Pod"].items()
        mine = [pod for (where, _), pod in pods if where == namespace and _label(pod, UID_LABEL) == owner]
        return by_age([*self.gone.get(owner, {}).values(), *mine])

    def _uids(self, namespace: str) -> set[str]:
        return {uid(item) for item in self.benchmarks() if item["metadata"]["namespace"] == namespace}


def by_age(pods: Iterable[Resource]) -> list[Resource]:
    """Pods, the newest last."""
    return sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


def uid(item: Data) -> str:
    """An object's uid."""
    return str(item["metadata"].get("uid", ""))


def version(item: Data) -> int:
    """An object's version as a number, which grows with every change; 0 if it is none."""
    text = str(item["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def _label(item: Data, name: str) -> str:
    return str((item["metadata"].get("labels") or {}).get(name, ""))


def _concerned(kind: str, item: Data) -> set[NamespacedName]:
    namespace, name = namespaced_name(item)
    if kind != "PerfBenchmark":
        name = _label(item, NAME_LABEL)
    return {(namespace, name)} if name else set()
