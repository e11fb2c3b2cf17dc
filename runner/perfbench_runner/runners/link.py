"""The way to the leader: questions over HTTP, with the run's token. What a worker does with the answers: `worker`."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Self

import aiohttp
from pydantic import ValidationError

from perfbench_runner.runners.clocks import ClockLine, Exchange, clock_line
from perfbench_runner.runners.messages import VERSION, ClockAnswer, Hello, Message, Welcome

RETRY_S = 0.25
ANSWER_S = 15.0
"""Longer than the leader lets anybody wait for news."""
EXCHANGES = 32
"""Comparisons of clocks before and after the load; one more with each beat."""
REASONS = {401: "TokenRefused", 410: "GivenUp", 422: "FileBroken", 507: "CannotStore"}
"""What a status of the leader's means; any other refusal is just that."""
UNREACHABLE = (aiohttp.ClientError, TimeoutError, OSError, ValidationError, asyncio.IncompleteReadError)


class LeaderError(Exception):
    """The leader wants nothing of this worker, or is gone: a reason for the outcome, and a text."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Link:
    """Questions to the leader. `instance` names this process."""

    def __init__(self, url: str, token: str, runner: int, instance: str) -> None:
        self.runner, self.instance = runner, instance
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Perfbench-Instance": instance}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, what: Message | bytes | None = None, **headers: str) -> bytes:
        """The answer; raises LeaderError where it is a refusal, and what aiohttp raises where there is none."""
        if self._session is None:
            raise LeaderError("LeaderLost", "the link to the leader is not open")
        data = what.model_dump_json().encode() if isinstance(what, Message) else what
        async with self._session.request(method, self._url + path, data=data, headers=headers) as response:
            body = await response.read()
            if response.status >= 500 and response.status not in REASONS:
                response.raise_for_status()
            if response.status >= 400:
                reason = REASONS.get(response.status, "LeaderRefused")
                raise LeaderError(reason, f"the leader refuses: {body[:500].decode(errors='replace').strip()}")
            return body

    async def say(self, name: str, what: Message) -> bytes:
        """Something of this runner's own."""
        return await self.ask("POST", f"/runners/{self.runner}/{name}", what)


async def report_in(link: Link, hello: Hello, deadline_s: float, clock: Callable[[], float] = perf_counter) -> Welcome:
    """Report in, as soon as the leader is there; raises LeaderError when it refuses, or is not there in time."""
    until_s, why = clock() + deadline_s, ""
    async with link:
        while clock() < until_s:
            try:
                welcome = Welcome.model_validate_json(await link.ask("POST", "/hello", hello))
            except UNREACHABLE as error:
                why = str(error) or type(error).__name__
                await asyncio.sleep(RETRY_S)
                continue
            if welcome.version != VERSION:
                raise LeaderError("LeaderRefused", "the leader speaks another version: give all runners one image")
            return welcome
    raise LeaderError("LeaderMissing", f"the leader could not be reached within {deadline_s:g} s: {why}")


class Clocks:
    """The leader's clock, compared with this runner's own."""

    def __init__(self, link: Link, clock: Callable[[], float]) -> None:
        self._link, self._clock = link, clock
        self.exchanges: list[Exchange] = []

    @property
    def line(self) -> ClockLine:
        """The leader's clock as far as it is known; raises ValueError where it is not."""
        return clock_line(self.exchanges)

    async def compare(self, times: int = EXCHANGES, is_over: Callable[[], bool] = lambda: False) -> None:
        """Compare them so often, unless it is over meanwhile; some may fail."""
        for _ in range(times):
            if is_over():
                return
            try:
                asked_s = self._clock()
                answer = await self._link.ask("GET", "/clock")
                got_s = self._clock()
                said = ClockAnswer.model_validate_json(answer)
            except UNREACHABLE:
                await asyncio.sleep(RETRY_S)
                continue
            self.exchanges.append(Exchange(asked_s, said.received_s, said.answered_s, got_s))
