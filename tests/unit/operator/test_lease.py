"""Whose turn it is: decisions as a table, and two operators at one Lease."""

import asyncio
import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from perfbench_operator.api import ConflictError, NotFoundError, RefusedError
from perfbench_operator.lease import DURATION_S, NAME, SETTLE_S, Lease, Sight, Step, Turns, next_step

Data = dict[str, Any]


def held_by(holder: str) -> Data:
    return {"spec": {"holderIdentity": holder}}


@pytest.mark.parametrize(
    ("lease", "seen_s", "step"),
    [
        (None, None, "create"),
        (held_by("me"), 0.0, "renew"),
        (held_by("other"), None, "wait"),
        (held_by("other"), 1.0, "wait"),
        (held_by("other"), DURATION_S + 1, "take"),
        (held_by(""), 0.0, "take"),
        ({}, 0.0, "take"),
    ],
)
def test_next_step(lease: Data | None, seen_s: float | None, step: Step) -> None:
    sight = None if seen_s is None else Sight("7", 100.0 - seen_s)
    assert next_step(lease, "me", sight, 100.0) == step


class Store:
    """Leases in memory."""

    def __init__(self) -> None:
        self.leases: dict[tuple[str, str], Data] = {}
        self.is_away = False

    def now(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC)

    async def lease(self, namespace: str, name: str) -> Data:
        if self.is_away:
            raise NotFoundError
        if (namespace, name) not in self.leases:
            raise NotFoundError
        return copy.deepcopy(self.leases[namespace, name])

    async def create_lease(self, lease: Data) -> Data:
        key = (lease["metadata"]["namespace"], lease["metadata"]["name"])
        if key in self.leases:
            raise ConflictError
        self.leases[key] = {**lease, "metadata": {**lease["metadata"], "resourceVersion": "1", "uid": "u"}}
        return copy.deepcopy(self.leases[key])

    async def patch_lease(self, lease: Data, spec: Data) -> Data:
        known = self.leases[lease["metadata"]["namespace"], lease["metadata"]["name"]]
        if known["metadata"]["resourceVersion"] != lease["metadata"]["resourceVersion"]:
            raise ConflictError
        known["spec"] = {**known["spec"], **spec}
        known["metadata"]["resourceVersion"] = str(int(known["metadata"]["resourceVersion"]) + 1)
        return copy.deepcopy(known)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def two(store: Store, clock: Clock) -> list[Lease]:
    return [Lease(store, "models", NAME, name, clock=clock) for name in ("a", "b")]


async def turn(lease: Lease) -> None:
    try:
        await lease.turn()
    except (ConflictError, NotFoundError):
        return


async def test_of_two_operators_one_works_and_the_other_follows_when_it_is_dead() -> None:
    store, clock = Store(), Clock()
    first, second = two(store, clock)
    overlaps = 0
    took_over_s = 0.0
    for step in range(60):
        if step < 20:
            await turn(first)
        await turn(second)
        overlaps += first.is_held and second.is_held
        if second.is_held and not took_over_s:
            took_over_s = clock.now_s
        clock.now_s += 1
    assert overlaps == 0
    assert 1019 + DURATION_S < took_over_s < 1019 + DURATION_S + SETTLE_S + 3
    assert not first.is_held
    assert second.is_held


async def test_one_that_waits_says_for_whom_and_says_it_once(caplog: pytest.LogCaptureFixture) -> None:
    store, clock = Store(), Clock()
    first, second = two(store, clock)
    caplog.set_level("INFO")
    await turn(first)
    for _ in range(3):
        await turn(second)
    assert [record.message for record in caplog.records if record.name == "perfbench_operator.lease"] == [
        "lease models/perfbench-operator: held by a; waiting for it to end"
    ]


async def test_a_released_lease_is_taken_at_once() -> None:
    store, clock = Store(), Clock()
    first, second = two(store, clock)
    await turn(first)
    clock.now_s += SETTLE_S
    assert first.is_held
    await first.release()
    assert not first.is_held
    await turn(second)
    clock.now_s += SETTLE_S
    assert second.is_held


class Unreadable(Store):
    """The API server answers, and refuses."""

    async def lease(self, namespace: str, name: str) -> Data:
        raise RefusedError("no role in models", is_invalid=False)


async def test_a_lease_that_cannot_be_read_is_told_once_and_the_api_server_has_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("perfbench_operator.lease.RENEW_S", 0.0)
    clock = Clock()
    turns = Turns.of(Unreadable(), ("models",), "default", "me", lambda: None)
    [lease] = turns.leases
    lease.clock, tried = clock, asyncio.Queue[None]()

    def turned() -> None:
        turns.turned()
        tried.put_nowait(None)

    lease.on_turn = turned
    task = asyncio.create_task(lease.keep())
    for _ in range(3):
        await asyncio.wait_for(tried.get(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    own = [record.message for record in caplog.records if record.name == "perfbench_operator.lease"]
    assert own == ["lease models/perfbench-operator: no role in models"]
    assert turns.answered_s == clock.now_s
    assert (turns.taken.is_set(), turns.lost.is_set()) == (False, True)


@pytest.mark.parametrize(
    ("later_s", "is_taken", "is_held"), [(0, True, False), (SETTLE_S, True, True), (DURATION_S - 0.5, False, False)]
)
async def test_who_has_a_lease_may_watch_at_once_and_work_when_it_has_settled(
    later_s: float, is_taken: bool, is_held: bool
) -> None:
    clock = Clock()
    turns = Turns.of(Store(), ("a", "b"), "default", "me", lambda: None)
    for lease in turns.leases:
        lease.clock = clock
    await turn(turns.leases[1])
    clock.now_s += later_s
    turns.turned()
    assert (turns.taken.is_set(), turns.lost.is_set()) == (is_taken, not is_taken)
    assert [turns.may_work(namespace) for namespace in "ab"] == [False, is_held]


async def test_a_holder_that_cannot_renew_stops_before_others_may_take_over() -> None:
    store, clock = Store(), Clock()
    lease = Lease(store, "models", NAME, "a", clock=clock)
    await turn(lease)
    clock.now_s += SETTLE_S
    assert lease.is_held
    clock.now_s += DURATION_S - SETTLE_S - 0.5
    assert not lease.is_held


async def test_the_same_operator_goes_on_at_once_after_a_restart() -> None:
    store, clock = Store(), Clock()
    await turn(Lease(store, "models", NAME, "a", clock=clock))
    again = Lease(store, "models", NAME, "a", clock=clock)
    await turn(again)
    assert again.is_held


def lease_of(namespace: str, version: str, holder: str = "other", name: str = NAME) -> Data:
    return {
        "metadata": {"namespace": namespace, "name": name, "resourceVersion": version},
        "spec": {"holderIdentity": holder},
    }


async def test_an_operator_for_all_leaves_alone_what_another_one_holds() -> None:
    clock = Clock()
    turns = Turns.of(Store(), (), "default", "me", lambda: None)
    turns.clock = turns.leases[0].clock = clock
    await turn(turns.leases[0])
    clock.now_s += SETTLE_S
    assert turns.may_work("a")
    turns.saw(lease_of("a", "1"))
    turns.saw(lease_of("b", "1", name="something else"))
    assert [turns.may_work(namespace) for namespace in "ab"] == [False, True]
    clock.now_s += DURATION_S / 2
    await turn(turns.leases[0])
    turns.saw(lease_of("a", "1"))  # not renewed
    clock.now_s += DURATION_S / 2 + 1
    await turn(turns.leases[0])
    assert turns.may_work("a")
    turns.saw(lease_of("a", "2"))
    assert not turns.may_work("a")
    turns.saw(lease_of("a", "3", holder=""))
    assert turns.may_work("a")


async def test_an_operator_for_some_namespaces_works_where_it_has_the_lease() -> None:
    clock = Clock()
    turns = Turns.of(Store(), ("a", "b"), "default", "me", lambda: None)
    for lease in turns.leases:
        lease.clock = clock
    await turn(turns.leases[0])
    clock.now_s += SETTLE_S
    assert [turns.may_work(namespace) for namespace in "abc"] == [True, False, False]
