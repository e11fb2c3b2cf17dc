"""Requests that the target refuses for now: when they are sent again, and what becomes of their times."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from time import perf_counter
from typing import Any

import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.retrying import Retrying, RetryRule, asked_wait

NOON = datetime(2026, 11, 26, 12, 0, 0, tzinfo=UTC)


def refused(retry_after: str = "", failure: str = "http_429") -> Exchange:
    return Exchange(failure=failure, retry_after=retry_after)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None),
        ("7", 7.0),
        ("0", 0.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        (format_datetime(NOON.replace(second=5), usegmt=True), 5.0),
        (format_datetime(NOON.replace(hour=11), usegmt=True), 0.0),
        ("Thu, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    assert asked_wait(text, NOON.timestamp()) == seconds


@pytest.mark.parametrize(
    ("retry_after", "retries", "wait_s"),
    [
        ("", 0, 1.0),
        ("", 1, 2.0),
        ("", 3, 8.0),
        ("", 4, 10.0),  # the longest
        ("", 5, None),  # too often
        ("3", 4, 3.0),
        ("3", 5, None),
        ("10", 0, 10.0),
        ("11", 0, None),  # longer than anyone waits
    ],
)
def test_waits_are_as_asked_or_double_and_are_bounded_in_number_and_length(
    retry_after: str, retries: int, wait_s: float | None
) -> None:
    rule = RetryRule(5, 1.0, 10.0)
    assert rule.wait_after(refused(retry_after), retries, NOON.timestamp()) == wait_s


class Target:
    """Refuses so many times, then answers; each answer takes a moment."""

    def __init__(self, refusals: int, **refusal: Any) -> None:
        self.left, self.refusal = refusals, refusal
        self.places: list[str] = []
        self.may_take = True
        self.stopped = asyncio.Event()

    async def send(self, body: bytes, headers: dict[str, str] | None, kind: int) -> Exchange:
        sent_s = perf_counter()
        await asyncio.sleep(0.001)
        self.left -= 1
        failed = refused(**self.refusal) if self.left >= 0 else Exchange(first_byte_s=perf_counter())
        failed.sent_s, failed.body_sent_s, failed.end_s, failed.connect_s = sent_s, sent_s, perf_counter(), 0.5
        return failed

    async def take_place(self) -> bool:
        self.places.append("taken")
        return self.may_take

    def sender(self, times: int = 3, wait_s: float = 0.01) -> Callable[..., Any]:
        def give_back() -> None:
            self.places.append("given back")

        rule = RetryRule(times, wait_s, 10.0)
        return Retrying(self.send, rule, self.stopped, perf_counter, self.take_place, give_back).send


@pytest.mark.parametrize(("refusals", "retries", "failure"), [(0, 0, ""), (1, 1, ""), (3, 3, ""), (5, 3, "http_429")])
async def test_a_refused_request_is_one_request_from_its_first_sending(
    refusals: int, retries: int, failure: str
) -> None:
    target, began_s = Target(refusals), perf_counter()
    found = await target.sender()(b"", None, 0)
    assert (found.retries, found.failure) == (retries, failure)
    assert found.refusals == ("http_429",) * retries
    assert began_s <= found.sent_s < began_s + 0.01
    assert target.places == ["given back", "taken"] * retries
    least_s = sum(0.01 * 2**number for number in range(retries))
    assert found.retry_s >= least_s
    assert found.end_s - found.sent_s >= least_s


@pytest.mark.parametrize(
    ("failure", "retries"), [("http_503", 1), ("http_500", 0), ("timeout", 0), ("disconnected", 0)]
)
async def test_only_what_is_refused_for_now_is_sent_again(failure: str, retries: int) -> None:
    found = await Target(1, failure=failure).sender()(b"", None, 0)
    assert found.retries == retries


async def test_a_longer_wait_than_allowed_is_given_up_at_once() -> None:
    target = Target(1, retry_after="11")
    found = await asyncio.wait_for(target.sender()(b"", None, 0), 1.0)
    assert (found.failure, found.retries, target.places) == ("http_429", 0, [])
    assert found.gave_up == "given up: it asks to wait 11 s, and load.retry.maxWait is 10 s"
    often = await Target(9, retry_after="0").sender()(b"", None, 0)
    assert (often.retries, often.gave_up) == (3, ""), "that it was sent so often is told already"


@pytest.mark.parametrize("refusals", [1, 3])
async def test_what_waits_when_the_stage_is_over_is_unfinished(refusals: int) -> None:
    target = Target(refusals)
    sending = asyncio.create_task(target.sender(wait_s=0.005 if refusals > 1 else 5.0)(b"", None, 0))
    if refusals > 1:
        target.may_take = False  # no place any more
    else:
        await asyncio.sleep(0.05)
        target.stopped.set()
    found = await asyncio.wait_for(sending, 1.0)
    assert found.failure == "unfinished"
    assert "refused with 429" in found.error
    assert 0 < found.sent_s < found.end_s
    assert (found.first_byte_s, found.connect_s) == (0.0, 0.5)


async def test_a_plugin_that_sends_by_itself_is_left_alone() -> None:
    async def send(body: bytes, headers: dict[str, str] | None, kind: int) -> BenchmarkData:
        return BenchmarkData(failure="http_429")

    target = Target(0)
    rule = RetryRule(3, 0.0, 1.0)
    found = await Retrying(send, rule, target.stopped, perf_counter, target.take_place, lambda: None).send(b"", None, 0)
    assert isinstance(found, BenchmarkData)
    assert target.places == []
