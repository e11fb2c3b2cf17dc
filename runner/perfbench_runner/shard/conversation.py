"""Playing a conversation: each turn is sent after the answer before it, and after its think time.

A conversation holds its lane, or its place in an open loop, from its first turn to its last. It ends with a failure, or
when the stage is stopped between two turns.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_plugins.reading import read
from perfbench_plugins.registry import PluginError
from perfbench_runner.shard.messages import Assignment, Measurement
from perfbench_runner.shard.request import PreparedConversation, PreparedRequest, prepare_request

Send = Callable[[bytes, dict[str, str] | None], Awaitable[Exchange | BenchmarkData]]

NOTHING_MORE = BenchmarkData(failure=FailureKind.UNFINISHED, error="not sent")
"""Stands for the rest of a conversation that was stopped between two turns; it is no result."""


class ConversationPlayer:
    """Plays conversations of one shard. `stopped` is set when the stage sends no more requests."""

    def __init__(
        self,
        api: ApiPluginBase,
        send: Send,
        emit: Callable[[Measurement], None],
        stopped: asyncio.Event,
        clock: Callable[[], float],
    ) -> None:
        self._api, self._send, self._emit, self._stopped, self._clock = api, send, emit, stopped, clock

    async def play(self, assignment: Assignment, conversation: PreparedConversation, scheduled_s: float) -> None:
        """Send turn after turn; every one that was sent is emitted."""
        history: list[dict[str, Any]] = []
        for number, turn in enumerate(conversation.turns, start=1):
            if number > 1:
                think_s = turn.tool_call_latency or 0.0
                scheduled_s = self._clock() + think_s
                await self._think(think_s)
                if self._stopped.is_set():  # what was not sent is no result; the turn before was the last
                    self._emit(Measurement(assignment.seq, scheduled_s, NOTHING_MORE))
                    return
            history += turn.messages
            try:
                request = self._request(conversation, number, history)
            except PluginError as error:
                failed = _failed(FailureKind.PLUGIN, str(error), self._clock())
                self._emit(Measurement(assignment.seq, scheduled_s, failed, number))
                return
            body = _body(request)
            measured = await self._send(body, {**(assignment.headers or {}), **(request.headers or {})})
            reply = None if measured.failure else self._reply(measured)
            is_last = reply is None or number == len(conversation.turns)
            self._emit(Measurement(assignment.seq, scheduled_s, measured, number, is_last, body))
            if is_last:
                return
            history.append({"role": "assistant", "content": reply})

    def _request(
        self, conversation: PreparedConversation, number: int, history: list[dict[str, Any]]
    ) -> PreparedRequest:
        parameters, turn, name = conversation.parameters, conversation.turns[number - 1], conversation.turns[0].rid
        changes: dict[str, Any] = {} if turn.max_tokens is None else {"max_tokens": turn.max_tokens}
        if name:
            changes["extra_args"] = {"rid": f"{name}_t{number}", **(parameters.extra_args or {})}
        if changes:
            parameters = parameters.model_copy(update=changes)
        return prepare_request(self._api, list(history), parameters)

    def _reply(self, measured: Exchange | BenchmarkData) -> str | None:
        """The answer's text, without its reasoning; None when the answer is a failure after all."""
        if isinstance(measured, Exchange):
            measured = read(measured, "", self._api.read_message)  # type: ignore[attr-defined]  # a DefaultApiPlugin
        return measured.generated_text if measured.success else None

    async def _think(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopped.wait()


def _body(request: PreparedRequest) -> bytes:
    if isinstance(request.body, PreparedConversation):
        raise AssertionError("a turn's messages are no conversation")
    return request.body


def _failed(kind: str, error: str, at_s: float) -> BenchmarkData:
    return BenchmarkData(failure=kind, error=error, start_time=at_s, completed_time=at_s, query_latency=0.0)
