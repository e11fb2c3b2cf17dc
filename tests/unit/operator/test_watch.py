"""Watching with kopf, against an API server in memory: real kopf operators, in threads of their own."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from bodies import body
from fake_api import FakeApi, served
from kubernetes.aio import client

from perfbench_operator import follower
from perfbench_operator.api import Api
from perfbench_operator.cluster import Cluster, Source
from perfbench_operator.controller import Controller
from perfbench_operator.follower import Follower
from perfbench_operator.handlers import KopfOperator
from perfbench_operator.settings import Settings

Data = dict[str, Any]
ALL = Source("PerfBenchmark")


async def until(check: Callable[[], object], timeout_s: float = 30) -> None:
    async with asyncio.timeout(timeout_s):
        while not check():  # noqa: ASYNC110 - what is waited for is in another thread
            await asyncio.sleep(0.02)


@dataclass
class Watched:
    """Followers of some namespaces and the controller that they tell, which does not work."""

    api: FakeApi
    controller: Controller
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def known(self, kind: str = "PerfBenchmark") -> set[tuple[str, str]]:
        return set(self.controller.cache.objects[kind])

    def value(self, name: str) -> float | None:
        return self.controller.metrics.registry.get_sample_value(name)

    def has_listed(self, *sources: Source) -> bool:
        return set(sources or self.controller.watching.sources) <= self.controller.cache.listed_sources


@asynccontextmanager
async def watched(api: FakeApi, *namespaces: str, token: str = "") -> AsyncIterator[Watched]:
    async def sleep(delay_s: float) -> None:
        await asyncio.sleep(min(delay_s, 0.1))

    async with served(api) as url:
        config = client.Configuration(host=url)
        if token:
            config.api_key["BearerToken"] = f"Bearer {token}"
        cluster = Cluster(Api(client.ApiClient(config)))
        asked: Any = None
        controller = Controller(Settings(namespaces=namespaces), cluster, asked)
        found = Watched(api, controller)
        for one in controller.watching.followers:
            one.sleep = sleep
            found.tasks.append(asyncio.create_task(one.follow()))
        try:
            yield found
        finally:
            for task in found.tasks:
                task.cancel()
            await asyncio.gather(*found.tasks, return_exceptions=True)
            await cluster.close()
            # kopf's tasks that failed say so when they are collected, which another test's ast.parse does not bear
            # (CPython 3.11: "AST constructor recursion depth mismatch").
            gc.collect()


def benchmark(name: str, namespace: str = "models") -> Data:
    return body(name=name, namespace=namespace)


@pytest.mark.parametrize("count", [0, 1, 3, 16])
@pytest.mark.parametrize("namespaces", [("models",), ()])
async def test_what_is_there_and_what_changes_is_known(count: int, namespaces: tuple[str, ...]) -> None:
    api = FakeApi()
    for number in range(count):
        api.make("perfbenchmarks", benchmark(f"b{number}"))
    names = {("models", f"b{number}") for number in range(count)}
    async with watched(api, *namespaces) as found:
        await until(found.has_listed)
        assert found.known() == names
        assert (found.value("perfbench_operator_last_list_timestamp_seconds") or 0) > 0
        made = api.make("perfbenchmarks", benchmark("late"))
        await until(lambda: found.known() == names | {("models", "late")})
        api.put("perfbenchmarks", {**made, "status": {"phase": "Running"}}, "MODIFIED")
        await until(lambda: "status" in found.controller.cache.objects["PerfBenchmark"]["models", "late"])
        api.drop("perfbenchmarks", "models", "late")
        await until(lambda: found.known() == names)
    assert not [kind for kind in api.kinds if kind.split()[0] not in ("GET", "watch")], "kopf writes nothing"


async def test_what_has_gone_while_nobody_watched_is_not_known_any_more() -> None:
    """kopf does not tell: its next list is shorter, that is all."""
    api = FakeApi()
    for plural in ("perfbenchmarks", "jobs"):
        api.make(plural, benchmark("a"))
        api.make(plural, benchmark("b"))
    async with watched(api, "models") as found:
        await until(found.has_listed)
        for plural in ("perfbenchmarks", "jobs"):
            del api.objects[plural, "models", "a"]  # and no event of it
            api.lose_place(plural)
        await until(lambda: found.known() == found.known("Job") == {("models", "b")})
        api.make("jobs", benchmark("c"))
        await until(lambda: ("models", "c") in found.known("Job"))


async def test_a_namespace_that_is_gone_does_not_stop_the_others_and_may_come_back() -> None:
    api = FakeApi()
    api.forbidden.add("gone")
    for namespace in ("here", "gone"):
        api.make("perfbenchmarks", benchmark("a", namespace))
    async with watched(api, "here", "gone") as found:
        controller = found.controller
        await until(lambda: found.known() == {("here", "a")} and len(controller.watching.unreadable) == 3)
        assert "no role in gone" in controller.watching.unreadable[Source("Pod", "gone")]
        assert found.value("perfbench_operator_unreadable_collections") == 3
        api.forbidden.clear()
        await until(lambda: found.known() == {("here", "a"), ("gone", "a")} and not controller.watching.unreadable)


async def test_a_namespace_that_is_lost_while_it_is_watched_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = FakeApi()
    async with watched(api, "here", "lost") as found:
        await until(found.has_listed)
        asked = len(api.kinds)
        api.forbidden.add("lost")
        for plural in ("perfbenchmarks", "jobs", "pods"):
            api.lose_place(plural)
        await until(lambda: Source("Job", "lost") in found.controller.watching.unreadable)
        api.make("perfbenchmarks", benchmark("a", "here"))
        await until(lambda: ("here", "a") in found.known())
        api.forbidden.clear()
        api.make("perfbenchmarks", benchmark("b", "lost"))
        await until(lambda: ("lost", "b") in found.known() and not found.controller.watching.unreadable)
        assert len(api.kinds) - asked < 150


async def test_a_definition_that_is_installed_late_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf looks once which resources there are. Here it is even there before the API server tells of it."""
    monkeypatch.setattr(follower, "OPENING_S", 2.0)
    api = FakeApi()
    api.has_crd = False
    async with watched(api) as found:
        await until(lambda: found.controller.watching.unreadable.get(ALL))
        assert "not found" in found.controller.watching.unreadable[ALL]
        api.has_crd = True
        api.make("perfbenchmarks", benchmark("a"))
        await until(lambda: found.known() == {("models", "a")} and not found.controller.watching.unreadable)


class Blind(KopfOperator):
    """It opens no watch."""

    def start(self) -> None:
        return

    def stop(self) -> None:
        self.on_end(None)
        self._loop.close()


async def test_a_kopf_that_opens_no_watch_is_begun_anew_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "OPENING_S", 0.05)
    begun = asyncio.Queue[None]()

    class Sink:
        problems: list[str] = []

        async def check(self, source: Source) -> None:
            begun.put_nowait(None)

        async def list(self, source: Source) -> None:
            raise AssertionError

        def changed(self, source: Source, kind: str, item: Data) -> None:
            raise AssertionError

        def failed(self, source: Source, problem: str) -> None:
            self.problems.append(problem)

    unused: Any = None
    own = Follower([ALL], Sink(), partial(Blind, unused), sleep=lambda _: asyncio.sleep(0))
    task = asyncio.create_task(own.follow())
    for _ in range(3):
        await asyncio.wait_for(begun.get(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert set(Sink.problems) == {"kopf does not watch PerfBenchmark: is the CustomResourceDefinition installed?"}


async def test_a_token_that_is_renewed_is_taken() -> None:
    api = FakeApi()
    api.token = "old"
    async with watched(api, "models", token="old") as found:
        await until(found.has_listed)
        config = found.controller.cluster._api._connection.configuration
        config.api_key["BearerToken"] = "Bearer new"  # as the library does with the one that the kubelet has renewed
        api.token = "new"
        for plural in ("perfbenchmarks", "jobs", "pods"):
            api.lose_place(plural)
        api.make("perfbenchmarks", benchmark("a"))
        await until(lambda: found.known() == {("models", "a")})


async def test_watching_costs_a_few_requests_and_then_none() -> None:
    """Of each collection a look whether it can be read, kopf's list and watch, and the list after it; and what kopf looks up."""
    api = FakeApi()
    for number in range(30):
        api.make("perfbenchmarks", benchmark(f"b{number}"))
    async with watched(api, "models") as found:
        await until(found.has_listed)
        for _ in range(3):
            for item in api.all("perfbenchmarks"):
                api.put("perfbenchmarks", item, "MODIFIED")
            await asyncio.sleep(0.3)
    kinds = ("perfbenchmarks", "jobs", "pods")
    assert sorted(kind for kind in api.kinds if kind.endswith(kinds)) == sorted(
        f"{verb} {kind}" for kind in kinds for verb in ("GET", "GET", "GET", "watch")
    )
    assert len(api.kinds) <= 4 * len(kinds) + 8


def operator(url: str, identity: str, **settings: Any) -> Controller:
    """A whole operator, but for its workers' runners."""
    asked: Any = Idle()
    config = client.Configuration(host=url)
    given = Settings(namespaces=("models",), identity=identity, relist_interval_s=0.5, **settings)
    return Controller(given, Cluster(Api(client.ApiClient(config))), asked)


class Idle:
    """There are no runners."""

    async def close(self) -> None:
        return


async def test_only_the_operator_that_has_the_lease_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfbench_operator.lease.RENEW_S", 0.1)
    api = FakeApi()
    api.make("perfbenchmarks", {**benchmark("a"), "status": {"phase": "Succeeded"}})

    def is_watching(one: Controller) -> bool:
        return set(one.watching.sources) <= one.cache.listed_sources

    async with served(api) as url:
        first, second = operator(url, "first"), operator(url, "second")
        first.start()
        await until(lambda: is_watching(first))
        second.start()
        await until(lambda: second.watching.health.last_list_s)
        assert not second.cache.objects["PerfBenchmark"]
        assert len(api.watchers) == 3
        assert second.watching.health.problem(second.watching.health.started_s + 10) is None, "who waits is healthy"
        assert len(first.metrics.benchmarks.known) == 1
        await first.stop()
        await until(lambda: is_watching(second))
        assert (len(first.metrics.benchmarks.known), len(second.metrics.benchmarks.known)) == (0, 1)
        await second.stop()
        await until(lambda: not api.watchers)


async def test_an_operator_that_loses_its_lease_watches_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfbench_operator.lease.RENEW_S", 0.1)
    monkeypatch.setattr("perfbench_operator.lease.DURATION_S", 3.0)
    api = FakeApi()
    async with served(api) as url:
        own = operator(url, "own")
        own.start()
        await until(lambda: set(own.watching.sources) <= own.cache.listed_sources)
        [lease] = api.all("leases")
        lease["spec"]["holderIdentity"] = "other"
        api.put("leases", lease, "MODIFIED")
        await until(lambda: not own.cache.listed_sources and not api.watchers)
        lease["spec"]["holderIdentity"] = ""
        api.put("leases", lease, "MODIFIED")
        await until(lambda: set(own.watching.sources) <= own.cache.listed_sources)
        await own.stop()
