"""Looks for keys in everything a cluster holds and says, while it happens: what is gone when a test ends was seen, too.

It watches every kind of object that can be watched, follows the log of every container from its start to its end, and on
`search` lists everything once more, reads pages of metrics, and looks into the files on claims. Of what it could not
read it keeps count.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from needles import Marks, forms, found_in, found_in_folder

DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
DISCOVERY_S = 2.0
"""A kind that a chart brings is watched so soon."""


@dataclass(frozen=True)
class Finding:
    """A key, or a part of one, where it must not be."""

    where: str
    form: str


@dataclass(frozen=True)
class Kind:
    """A kind of object and where all of its objects are listed."""

    path: str
    plural: str
    can_be_watched: bool


@dataclass(frozen=True)
class Log:
    """One life of one container."""

    path: str
    container: str
    identity: str
    previous: bool = False


@dataclass
class Recorder:
    """Belongs to the thread that it runs in; tests call `plant`, `look_into` and `search`."""

    url: str
    """Of a proxy to the API server that may do everything."""
    search_claims: Callable[[], list[Finding]] | None = None
    """Where claims are no folders of this machine."""
    folders: list[tuple[Path, str]] = field(default_factory=list)
    """And the pattern of what is searched in each."""
    missed: Counter[str] = field(default_factory=Counter)
    """What could not be read, by reason."""
    read: Counter[str] = field(default_factory=Counter)
    """Objects, and bytes of logs and of pages, that were looked at."""
    took_s: list[float] = field(default_factory=list)

    _wanted: dict[str, bytes] = field(default_factory=dict)
    _found: list[Finding] = field(default_factory=list)
    _told: set[Finding] = field(default_factory=set)
    _watched: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _logs: dict[Log, asyncio.Task[None]] = field(default_factory=dict)
    _files: dict[str, Marks] = field(default_factory=dict)
    _searched_s: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Held by the test that searches: several may want to at a time."""

    # What tests do

    def plant(self, secret: str, key: str) -> None:
        """From now on this key must be nowhere but in Secrets of this name."""
        self._wanted |= {f"{form} of {secret}": text for form, text in forms(key).items()}

    def look_into(self, folder: Path, pattern: str = "") -> None:
        """Search the files below a folder, or below those in it that a pattern names, too."""
        self.folders.append((folder, pattern))

    def search(self) -> list[Finding]:
        """What was found since the last search, each finding once, and what is there now."""
        with self._lock:
            began_s = time.monotonic()
            found = asyncio.run_coroutine_threadsafe(self._search(), self._loop).result(120)
            found += self.search_claims() if self.search_claims else []
            self.took_s.append(time.monotonic() - began_s)
            return found

    def assert_nothing_is_found(self) -> None:
        found = self.search()
        assert not found, "a planted key is where it must not be:\n" + "\n".join(map(str, found))

    def summary(self) -> str:
        """What was looked at, what could not be, and how long that took."""
        read = ", ".join(f"{count} {what}" for what, count in self.read.items())
        missed = ", ".join(f"{count} x {why}" for why, count in self.missed.items() if count) or "nothing"
        took = f"{len(self.took_s)} searches took {sum(self.took_s):.1f} s, at most {max(self.took_s, default=0):.1f} s"
        return f"planted keys: looked at {read}; missed {missed}; {took}"

    @contextmanager
    def running(self) -> Iterator[Recorder]:
        """Record in a thread of its own."""
        self._loop = asyncio.new_event_loop()
        ready, stopped = threading.Event(), asyncio.Event()
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(ready, stopped),))
        thread.start()
        assert ready.wait(30), "the recorder watches"
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(stopped.set)
            thread.join(30)
            self._loop.close()

    # While tests run

    async def _run(self, ready: threading.Event, stopped: asyncio.Event) -> None:
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(self.url, connector=connector, timeout=timeout) as self._session:
            await self._watch_all()
            ready.set()
            while not stopped.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), DISCOVERY_S)
                await self._watch_all()
            tasks = [*self._watched.values(), *self._logs.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_all(self) -> list[Kind]:
        """Watch each kind that is not watched; a stream may have ended."""
        kinds = await self._kinds()
        for kind in kinds:
            task = self._watched.get(kind.path)
            if kind.can_be_watched and (task is None or task.done()):
                self._watched[kind.path] = asyncio.create_task(self._watch(kind))
        return kinds

    async def _kinds(self) -> list[Kind]:
        found: list[Kind] = []
        for root in ("/api", "/apis"):
            status, data = await self._get(root, {"Accept": DISCOVERY})
            groups = json.loads(data)["items"] if status == 200 else []
            found += [kind for group in groups for kind in _kinds_of(group)]
        return found

    async def _watch(self, kind: Kind) -> None:
        with suppress(aiohttp.ClientError):
            async with self._session.get(f"{kind.path}?watch=true") as answer:
                rest = b""
                async for part in answer.content.iter_any():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        self._look_at_event(kind, line)

    def _look_at_event(self, kind: Kind, line: bytes) -> None:
        self.read["objects"] += 1
        if kind.plural in ("pods", "secrets") or found_in(line, self._wanted):
            item = json.loads(line)["object"]
            if kind.plural == "pods":
                self._follow_all(item)
            if kind.plural == "secrets":
                self._learn(item)
            self._look_at(kind, item)

    def _learn(self, item: Mapping[str, Any]) -> None:
        """The token of a run is a key, too."""
        metadata = item["metadata"]
        if (metadata.get("labels") or {}).get("app.kubernetes.io/managed-by") == "perfbench-operator":
            for value in (item.get("data") or {}).values():
                self.plant(metadata["name"], b64decode(value).decode())

    def _look_at(self, kind: Kind, item: Mapping[str, Any]) -> None:
        metadata = item.get("metadata") or {}
        where = "/".join(filter(None, (metadata.get("namespace"), kind.plural, metadata.get("name"))))
        home = str(metadata.get("name")) if kind.plural == "secrets" else ""
        self._look(json.dumps(item, ensure_ascii=False).encode(), where, home)

    def _look(self, text: bytes, where: str, home: str = "") -> None:
        for form in found_in(text, self._wanted):
            finding = Finding(where, form)
            if finding not in self._told and not (home and form.endswith(f" of {home}")):
                self._told.add(finding)
                self._found.append(finding)

    # Logs

    def _follow_all(self, pod: Mapping[str, Any]) -> None:
        for log in _logs_of(pod):
            if log not in self._logs and while_it_lasted(log) not in self._logs:
                self._logs[log] = asyncio.create_task(self._follow(log))

    async def _follow(self, log: Log) -> None:
        """Read a container's log as it is written; a kubelet may not have it yet."""
        reason = ""
        for _ in range(10):
            try:
                how = "previous=true" if log.previous else "follow=true"
                async with self._session.get(f"{log.path}/log?container={log.container}&{how}") as answer:
                    if answer.status == 200:
                        await self._look_at_stream(answer, f"log of {log.path} {log.container}")
                        return
                    reason = f"log: HTTP {answer.status}"
            except aiohttp.ClientError as error:
                reason = f"log: {type(error).__name__}"
            await asyncio.sleep(0.3)
        self.missed[reason] += 1

    async def _look_at_stream(self, answer: aiohttp.ClientResponse, where: str) -> None:
        rest = b""
        async for part in answer.content.iter_any():
            self.read["bytes of logs"] += len(part)
            text = rest + part
            self._look(text, where)
            rest = text[-max(map(len, self._wanted.values()), default=0) :]

    # When a test has ended

    async def _search(self) -> list[Finding]:
        since_s, self._searched_s = self._searched_s, time.monotonic()
        kinds = await self._watch_all()
        files = asyncio.to_thread(self._search_files)
        await asyncio.gather(files, *(self._search_kind(kind, since_s) for kind in kinds))
        found, self._found = self._found, []
        return found

    async def _search_kind(self, kind: Kind, since_s: float) -> None:
        status, data = await self._get(kind.path)
        self.read["bytes of lists"] += len(data)
        if status != 200:
            self.missed[f"{kind.plural}: HTTP {status}"] += status != 404  # the kind has gone with its chart
            return
        items = json.loads(data)["items"] if kind.plural in ("pods", "services") or found_in(data, self._wanted) else []
        for item in items:
            self._look_at(kind, item)
        if kind.plural == "pods":
            await asyncio.gather(*(self._read_log(log, since_s) for pod in items for log in self._follow_and_list(pod)))
            await asyncio.gather(*(self._read_page(page) for pod in items for page in _pages_of(pod)))
        if kind.plural == "services":
            await asyncio.gather(*(self._read_page(page) for item in items for page in _pages_of_service(item)))

    def _follow_and_list(self, pod: Mapping[str, Any]) -> list[Log]:
        self._follow_all(pod)
        return list(_logs_of(pod))

    async def _read_log(self, log: Log, since_s: float) -> None:
        """The end of a log: of a container that runs by a request of its own, for one that follows may be behind."""
        if log.previous:
            return
        task = self._logs.get(log)
        if task is not None and not task.done():
            seconds = int(time.monotonic() - since_s) + 2
            _, data = await self._get(f"{log.path}/log?container={log.container}&sinceSeconds={seconds}")
            self._look(data, f"log of {log.path} {log.container}")

    async def _read_page(self, path: str) -> None:
        status, data = await self._get(path)
        self.read["pages"] += status == 200
        self._look(data, f"page {path}")

    def _search_files(self) -> None:
        for root, pattern in self.folders:
            for folder in root.glob(pattern) if pattern else [root]:
                self._search_folder(folder)

    def _search_folder(self, folder: Path) -> None:
        for path, names in found_in_folder(folder, dict(self._wanted), self._files).items():
            for name in names:
                self._loop.call_soon_threadsafe(self._look, self._wanted[name], f"file {path}")

    async def _get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body; status 0 where there is no answer."""
        try:
            async with self._session.get(path, headers=headers, timeout=aiohttp.ClientTimeout(total=10)) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError):
            return 0, b""


def _kinds_of(group: Mapping[str, Any]) -> Iterator[Kind]:
    """What can be listed of a group, in its preferred version."""
    name = (group.get("metadata") or {}).get("name", "")
    if name == "events.k8s.io":  # the same Events as those of the core group
        return
    version = group["versions"][0]
    root = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
    for resource in version.get("resources") or []:
        if "list" in resource["verbs"]:
            yield Kind(f"{root}/{resource['resource']}", resource["resource"], "watch" in resource["verbs"])


def _logs_of(pod: Mapping[str, Any]) -> Iterator[Log]:
    """Each life of a pod's containers that has begun."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    for kind in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(kind) or []:
            for key, previous in (("state", False), ("lastState", True)):
                state = container.get(key) or {}
                life = state.get("running") or state.get("terminated")
                identity = (state.get("terminated") or {}).get("containerID") or container.get("containerID")
                if life is not None and identity:
                    yield Log(path, container["name"], identity, previous)


def _pages_of(pod: Mapping[str, Any]) -> Iterator[str]:
    """What a runner tells while it runs."""
    metadata = pod["metadata"]
    component = (metadata.get("labels") or {}).get("app.kubernetes.io/component")
    if component in ("runner", "worker") and (pod.get("status") or {}).get("phase") == "Running":
        ports = [port for container in pod["spec"]["containers"] for port in container.get("ports") or []]
        for port in (port["containerPort"] for port in ports if port.get("name") == "metrics"):
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}:{port}/proxy"
            yield from (f"{path}/metrics", f"{path}/progress")


def _pages_of_service(service: Mapping[str, Any]) -> Iterator[str]:
    """An operator's metrics."""
    metadata, ports = service["metadata"], service["spec"].get("ports") or []
    labels = metadata.get("labels") or {}
    if labels.get("app.kubernetes.io/name") == "perfbench" and any(port.get("name") == "metrics" for port in ports):
        yield f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}:metrics/proxy/metrics"


def while_it_lasted(log: Log) -> Log:
    """The same life while it lasted."""
    return Log(log.path, log.container, log.identity)
