"""Playing a conversation: each turn is sent after the answer before it, and after its think time.

In a closed loop a conversation holds its lane from its first turn to its last; in an open loop with a limit each turn
takes a place of its own. It ends with a failure, or when the stage is stopped between two turns.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange, FailureKind
from perfbench_plugins.registry import PluginError
from perfbench_runner.shard.messages import Assignment, Measurement, arrived_s
from perfbench_runner.shard.request import PreparedConversation, PreparedRequest, prepare_request
from perfbench_runner.shard.retrying import Send
from perfbench_runner.shard.waiting import comes


class ConversationPlayer:
    """Plays conversations of one shard's stage. `stopped` is set when the stage sends no more requests."""

    def __init__(
        self,
        apis: Sequence[ApiPluginBase],
        send: Send,
        emit: Callable[[Measurement], None],
        stopped: asyncio.Event,
        clock: Callable[[], float],
        take_place: Callable[[], Awaitable[bool]],
        give_place_back: Callable[[], None],
    ) -> None:
        """`apis`: one for each kind of requests.

        `take_place` waits until another request may be under way; false when it may not be sent any more.
        The first turn finds its place taken, and the last one's is given back by whoever took that.
        """
        self._apis, self._send, self._emit, self._stopped, self._clock = apis, send, emit, stopped, clock
        self._take_place, self._give_place_back = take_place, give_place_back

    async def play(self, assignment: Assignment, conversation: PreparedConversation, scheduled_s: float) -> float:
        """Send turn after turn; every one that was sent is emitted, and one that was due and not sent.

        Returns when the last answer had arrived, or it was given up.
        """
        history: list[dict[str, Any]] = []
        api, free_s = self._apis[assignment.kind], scheduled_s
        for number, turn in enumerate(conversation.turns, start=1):
            if number > 1:
                self._give_place_back()
                scheduled_s = free_s + (turn.tool_call_latency or 0.0)
                if not await self._may_send_at(scheduled_s):
                    self._emit(Measurement(assignment.seq, scheduled_s, None, number))
                    return self._clock()
            history += turn.messages
            try:
                request = _request(api, conversation, number, history)
            except PluginError as error:
                failed = _failed(FailureKind.PLUGIN, str(error), self._clock())
                self._emit(Measurement(assignment.seq, scheduled_s, failed, number))
                return self._clock()
            body = _body(request)
            measured = await self._send(
                body, {**(assignment.headers or {}), **(request.headers or {})}, assignment.kind
            )
            free_s = arrived_s(measured) or self._clock()
            is_end = bool(measured.failure) or number == len(conversation.turns)
            reply = None if is_end else await _reply(api, measured)
            is_last = is_end or reply is None
            self._emit(Measurement(assignment.seq, scheduled_s, measured, number, is_last, body))
            if is_last:
                break
            history.append({"role": "assistant", "content": reply})
        return free_s

    async def _may_send_at(self, scheduled_s: float) -> bool:
        """Wait for the turn's time, and for its place; false when the stage is stopped before."""
        return await comes(scheduled_s, self._stopped, self._clock) and await self._take_place()


def _request(
    api: ApiPluginBase, conversation: PreparedConversation, number: int, history: list[dict[str, Any]]
) -> PreparedRequest:
    parameters, turn, name = conversation.parameters, conversation.turns[number - 1], conversation.turns[0].rid
    changes: dict[str, Any] = {} if turn.max_tokens is None else {"max_tokens": turn.max_tokens}
    if name:
        changes["extra_args"] = {"rid": f"{name}_t{number}", **(parameters.extra_args or {})}
    if changes:
        parameters = parameters.model_copy(update=changes)
    rid = f"{name}_t{number}" if name else None
    return prepare_request(api, list(history), parameters, max_tokens=turn.max_tokens, rid=rid)


async def _reply(api: ApiPluginBase, measured: Exchange | BenchmarkData) -> str | None:
    """The answer's text, without its reasoning; None when the answer is a failure after all.

    A long answer is read in small steps: every other stream of this process waits for each of them.
    """
    if isinstance(measured, BenchmarkData):
        return measured.generated_text if measured.success else None
    steps = api.read_in_steps(measured, "")  # type: ignore[attr-defined]  # a DefaultApiPlugin
    while True:
        try:
            next(steps)
        except StopIteration as end:
            data: BenchmarkData = end.value
            return data.generated_text if data.success else None
        await asyncio.sleep(0)


def _body(request: PreparedRequest) -> bytes:
    if isinstance(request.body, PreparedConversation):
        raise AssertionError("a turn's messages are no conversation")
    return request.body


def _failed(kind: str, error: str, at_s: float) -> BenchmarkData:
    return BenchmarkData(failure=kind, error=error, start_time=at_s, completed_time=at_s, query_latency=0.0)
