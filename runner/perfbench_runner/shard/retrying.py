"""Requests that the target refuses for now, 429 and 503, are sent again: only if asked (`load.retry`).

Such a request is one request: it begins when it was sent first, so that its latencies have what a user would have waited.
How often it was sent again, and how much later it was sent last, is told beside. While it waits it has neither a connection
nor, in an open loop with a limit, a place.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from math import isfinite
from time import time
from typing import TYPE_CHECKING, NamedTuple

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_runner.shard.waiting import comes

if TYPE_CHECKING:
    from perfbench_api.sections.retry import Retry

REFUSALS = tuple(map(FailureKind.http, (429, 503)))
Send = Callable[[bytes, dict[str, str] | None, int], Awaitable[Exchange | BenchmarkData]]
"""Sends a body, with headers of its own, of a kind of requests."""


class RetryRule(NamedTuple):
    """How often a request is sent again, and when. Seconds."""

    times: int
    wait_s: float
    """Before the first time, where the answer does not say how long; twice as long before each further one."""
    max_wait_s: float
    """Longest wait."""

    @classmethod
    def of(cls, asked: "Retry | None") -> "RetryRule | None":
        """What a manifest asks for (`load.retry`)."""
        return None if asked is None else cls(asked.times, asked.wait, asked.max_wait)

    def wait_after(self, refused: Exchange, retries: int, epoch_s: float) -> float | None:
        """How long to wait before it is sent again, having been so often; None: not any more. `epoch_s`: the time of day."""
        if retries >= self.times:
            return None
        asked_s = asked_wait(refused.retry_after, epoch_s)
        if asked_s is None:
            return min(self.wait_s * 2.0**retries, self.max_wait_s)
        return asked_s if asked_s <= self.max_wait_s else None


def asked_wait(retry_after: str, epoch_s: float) -> float | None:
    """Seconds that a Retry-After asks for, a number or a date (RFC 9110, 10.2.3); None where it says nothing of sense."""
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - epoch_s
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if isfinite(seconds) else None


class Retrying:
    """Sends requests of one shard's stage, again where that is due. `stopped` is set when the stage sends no more."""

    def __init__(
        self,
        send: Send,
        rule: RetryRule,
        stopped: asyncio.Event,
        clock: Callable[[], float],
        take_place: Callable[[], Awaitable[bool]],
        give_place_back: Callable[[], None],
        time_of_day: Callable[[], float] = time,
    ) -> None:
        """`take_place` and `give_place_back` are as for turns of conversations."""
        self._send, self._rule, self._stopped, self._clock = send, rule, stopped, clock
        self._take_place, self._give_place_back, self._time_of_day = take_place, give_place_back, time_of_day

    async def send(self, body: bytes, headers: dict[str, str] | None, kind: int) -> Exchange | BenchmarkData:
        """Send one request; what comes in the end, with the times of the first sending."""
        first = measured = await self._send(body, headers, kind)
        refusals = list[str]()
        while isinstance(measured, Exchange) and measured.failure in REFUSALS:
            wait_s = self._rule.wait_after(measured, len(refusals), self._time_of_day())
            if wait_s is None:
                measured.gave_up = self._why_not(measured, len(refusals))
                break
            self._give_place_back()
            may_send = await comes(measured.end_s + wait_s, self._stopped, self._clock) and await self._take_place()
            if not may_send:
                measured = _cut_off(measured, self._clock())
                break
            refusals.append(measured.failure)
            measured = await self._send(body, headers, kind)
        if isinstance(measured, Exchange) and isinstance(first, Exchange) and measured is not first:
            _begin_with(first, measured, refusals)
        return measured

    def _why_not(self, refused: Exchange, retries: int) -> str:
        """What the answer does not say: that it asked for more than was allowed."""
        asked_s = asked_wait(refused.retry_after, self._time_of_day())
        if asked_s is None or retries >= self._rule.times:
            return ""
        return f"given up: it asks to wait {asked_s:.4g} s, and load.retry.maxWait is {self._rule.max_wait_s:g} s"


def _cut_off(refused: Exchange, at_s: float) -> Exchange:
    """A request that waited to be sent again when the stage was over: nobody knows how long it would have taken."""
    text = f"refused with {refused.failure.removeprefix('http_')}, and the stage was over before it was sent again"
    cut = Exchange(sent_s=refused.sent_s, end_s=at_s, failure=FailureKind.UNFINISHED, error=text)
    cut.resends = refused.resends
    return cut


def _begin_with(first: Exchange, last: Exchange, refusals: Sequence[str]) -> None:
    last.retries, last.refusals, last.retry_s = len(refusals), tuple(refusals), last.sent_s - first.sent_s
    last.sent_s, last.body_sent_s = first.sent_s, first.body_sent_s
    last.connected_s, last.connect_s, last.tls_s = first.connected_s, first.connect_s, first.tls_s
