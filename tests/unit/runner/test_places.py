"""Places that processes share: never more are taken than there are, none is lost, whoever waits is woken."""

import asyncio
import multiprocessing
import os
from collections.abc import Iterator

import pytest

from perfbench_runner.shard import places as module
from perfbench_runner.shard.places import Places


@pytest.fixture(params=["eventfd", "pipe"])
def places(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    if request.param == "pipe":
        monkeypatch.setattr(module, "_EventPool", module._PipePool)
    made = Places()
    yield made
    made.close()


@pytest.mark.parametrize("count", [0, 1, 8, 10_000])
def test_there_are_as_many_as_were_set(places: Places, count: int) -> None:
    places.reset(5)
    places.reset(count)
    assert sum(places.take() for _ in range(count + 3)) == count


def test_one_that_is_given_back_can_be_taken_again(places: Places) -> None:
    places.reset(1)
    assert places.take()
    assert not places.take()
    assert places.freed_s == 0.0
    places.give_back(12.5)
    assert places.freed_s == 12.5
    assert places.take()


def test_a_pipe_holds_no_more_than_it_can() -> None:
    pool = module._PipePool()
    with pytest.raises(ValueError, match="no more than"):
        pool.give(1_000_000)
    pool.close()


async def test_who_waits_for_a_place_is_woken(places: Places) -> None:
    places.reset(0)
    woken = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(places.descriptor, woken.set)
    await asyncio.sleep(0.01)
    assert not woken.is_set()
    places.give_back(1.0)
    async with asyncio.timeout(5):
        await woken.wait()
    loop.remove_reader(places.descriptor)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_several_processes_never_hold_more_than_there_are(places: Places) -> None:
    """Five processes take and give back three places; a shared counter is what they hold at most."""
    context = multiprocessing.get_context("fork")
    held, most = context.Value("i", 0), context.Value("i", 0)
    places.reset(3)

    def work() -> None:
        done = 0
        while done < 300:
            if not places.take():
                continue
            with held.get_lock():
                held.value += 1
                most.value = max(most.value, held.value)
            with held.get_lock():
                held.value -= 1
            places.give_back(1.0)
            done += 1

    processes = [context.Process(target=work) for _ in range(5)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 5
    assert 1 <= most.value <= 3
    assert sum(places.take() for _ in range(5)) == 3
