"""Replies under way: what is due when, and what is to go wrong with it.

One heap holds the next deadline of every reply and one timer sleeps until the earliest. A deadline follows from the
one before it, never from when that was met: a late token does not delay the next. Deadlines are in seconds of work
(`mock.service`): without slots these are the clock's, and with them they do not move when the batch changes.
"""

import asyncio
import heapq
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

from perfbench_runner.mock.http import Request, ServerConnection, response_head
from perfbench_runner.mock.plan import Plan
from perfbench_runner.mock.service import Service
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.mock.stats import Stats
from perfbench_runner.timer import DeadlineTimer

_monotonic = time.monotonic

_CHUNK_SIZES = tuple(b"%x\r\n" % size for size in range(4096))


def _chunk(piece: bytes) -> bytes:
    size = len(piece)
    return (_CHUNK_SIZES[size] if size < 4096 else b"%x\r\n" % size) + piece + b"\r\n"


@dataclass(frozen=True)
class Fate:
    """What happens to one request, drawn from the seed and its number."""

    ttft_s: float
    error: bool = False
    stalled: bool = False
    broken: bool = False
    stream_error: bool = False
    truncated: bool = False
    jitter: random.Random | None = None


class Fates:
    """Draws them. Always in the same order, so that one rate does not change what another one chooses."""

    def __init__(self, settings: MockSettings) -> None:
        self._settings = settings
        self._constant = None if settings.random else Fate(settings.ttft_s)

    def draw(self, number: int) -> Fate:
        if self._constant is not None:
            return self._constant
        settings, rng = self._settings, random.Random(f"{self._settings.seed}:{number}")
        error, stalled, broken, stream_error, truncated, ttft = (rng.random() for _ in range(6))
        return Fate(
            ttft_s=settings.ttft_s + settings.ttft_jitter_s * (2 * ttft - 1),
            error=error < settings.error_rate,
            stalled=stalled < settings.stall_rate,
            broken=broken < settings.broken_rate,
            stream_error=stream_error < settings.stream_error_rate,
            truncated=truncated < settings.truncate_rate,
            jitter=rng if settings.itl_jitter_s else None,
        )


class Reply:
    """One paced reply."""

    __slots__ = (
        "_chunk", "_connection", "_content", "_end", "_fate", "_half", "_last_s", "_on_end", "_request", "_settings",
        "_stats", "arrived_s", "cancelled", "is_served", "plan", "sent",
    )  # fmt: skip

    def __init__(
        self,
        connection: ServerConnection,
        request: Request,
        plan: Plan,
        fate: Fate,
        settings: MockSettings,
        stats: Stats,
        on_end: "Callable[[Reply], None]",
    ) -> None:
        self._connection, self._request, self.plan, self._fate = connection, request, plan, fate
        self._settings, self._stats, self._on_end = settings, stats, on_end
        self._content: Iterator[bytes] = iter(plan.content)
        self._chunk: Callable[[bytes], bytes] = _chunk if request.chunked else bytes
        self._end = b"0\r\n\r\n" if request.chunked else b""
        self._half = plan.tokens // 2
        self._last_s = self.arrived_s = request.arrived_s
        self.sent = 0  # tokens
        self.is_served = False  # or it waits for a slot
        self.cancelled = False
        connection.on_lost = self._lost
        if fate.stalled:
            stats.injected["stalled"] += 1

    def first_work_s(self) -> float:
        """Work until the first thing is to be written: the first token, or the whole of what is not streamed."""
        speed = self._settings.prefill_speed
        work_s = self._fate.ttft_s + self._stall_s(0) + (self.plan.prompt_tokens / speed if speed else 0.0)
        if self.plan.streamed:
            return work_s
        return work_s + sum(self._gap_s(token) for token in range(1, self.plan.tokens))

    def step(self, due_s: float) -> float | None:
        """Write what was due then, by the clock. Returns the work until the next is due, None when there is no more."""
        if self.cancelled:
            return None
        if not self.plan.streamed:
            self._whole(due_s)
            return None
        fate, token = self._fate, self.sent
        if token == self._half and (fate.broken or fate.stream_error):
            self._spoil()
            return None
        data = self._chunk(next(self._content))
        if token == 0:
            data = self._opening() + data
        self.sent = token + 1
        last = self.sent == self.plan.tokens
        if last:
            data += self._closing()
        now_s = self._connection.send(data)
        stats = self._stats
        stats.lateness.add(now_s - due_s)
        (stats.itl if token else stats.ttft).add(now_s - self._last_s)
        stats.output_tokens += 1
        self._last_s = now_s
        if last:
            self._finish(now_s)
            return None
        return self._gap_s(self.sent)

    # ------------------------------------------------------------ pieces

    def _opening(self) -> bytes:
        head = response_head(self._request, 200, self.plan.content_type, None)
        return head + b"".join(map(self._chunk, self.plan.head))

    def _closing(self) -> bytes:
        return (b"" if self._fate.truncated else b"".join(map(self._chunk, self.plan.tail))) + self._end

    def _whole(self, due_s: float) -> None:
        plan = self.plan
        data = response_head(self._request, 200, plan.content_type, len(plan.body)) + plan.body
        if self._fate.broken:
            self._connection.send(data[: -len(plan.body) // 2])
            self._ended_badly("broken")
            self._connection.close()
            return
        now_s = self._connection.send(data)
        self._stats.lateness.add(now_s - due_s)
        self._stats.output_tokens += plan.tokens
        self._finish(now_s)

    def _spoil(self) -> None:
        """Half-way: cut the connection, or fail under HTTP 200."""
        opening = b"" if self.sent else self._opening()
        if self._fate.broken:
            self._connection.send(opening)
            self._ended_badly("broken")
            self._connection.close()
        else:
            self._connection.send(opening + self._chunk(self.plan.error) + self._end)
            self._ended_badly("stream_error")
            self._connection.finish(self._request)

    def _gap_s(self, token: int) -> float:
        """Time between the token before this one and this one."""
        settings, jitter = self._settings, self._fate.jitter
        gap_s = settings.itl_s + self._stall_s(token)
        return gap_s if jitter is None else gap_s + settings.itl_jitter_s * (2 * jitter.random() - 1)

    def _stall_s(self, token: int) -> float:
        return self._settings.stall_s if self._fate.stalled and token == self._half else 0.0

    # ------------------------------------------------------------ ends

    def _finish(self, now_s: float) -> None:
        self._stats.last_s = now_s
        if self._fate.truncated and self.plan.streamed:
            self._ended_badly("truncated")
        else:
            self._stats.done += 1
            self._on_end(self)
        self._connection.finish(self._request)

    def _ended_badly(self, how: str) -> None:
        self._stats.injected[how] += 1
        self._stats.failed += 1
        self._on_end(self)

    def _lost(self) -> None:
        self.cancelled = True
        self._stats.aborted += 1
        self._on_end(self)


class Schedule:
    """All replies' next deadlines, and who waits for a slot."""

    def __init__(self, loop: asyncio.AbstractEventLoop, service: "Service[Reply] | None" = None) -> None:
        self._service: Service[Reply] = service or Service(None)
        self._heap: list[tuple[float, int, Reply]] = []
        """By the work at which something is due."""
        self._order = count()  # equal deadlines take turns
        self._timer = DeadlineTimer(loop, self._fire)
        self._firing_s: float | None = None
        """The deadline that is being met."""

    @property
    def waiting(self) -> int:
        """Replies that wait for a slot."""
        return len(self._service.waiting)

    def add(self, reply: Reply) -> None:
        """A request has come."""
        if self._service.enter(reply, reply.arrived_s):
            self._begin(reply, reply.arrived_s)

    def ended(self, reply: Reply) -> None:
        """A reply is over, whole or not: the next in the queue has its slot from the time at which its last was due."""
        if not reply.is_served:
            self._service.abandon(reply)
            return
        now_s = _monotonic() if self._firing_s is None else self._firing_s
        following = self._service.leave(now_s)
        if following is not None:
            self._begin(following, max(now_s, following.arrived_s))
        self._arm()  # the others may go faster now

    def close(self) -> None:
        """Forget all of them."""
        self._timer.close()
        self._heap.clear()
        self._service.waiting.clear()

    def _begin(self, reply: Reply, now_s: float) -> None:
        reply.is_served = True
        work_s = self._service.pace.work_s(now_s) + reply.first_work_s()
        heapq.heappush(self._heap, (work_s, next(self._order), reply))
        self._arm()

    def _arm(self) -> None:
        if self._heap and self._firing_s is None:
            self._timer.arm(self._service.pace.time_s(self._heap[0][0]))

    def _fire(self) -> None:
        """Everything that is due by now, and no more: the loop must get to read in between, however late we are."""
        heap, pace, now_s = self._heap, self._service.pace, _monotonic()
        try:
            while heap and (due_s := pace.time_s(heap[0][0])) <= now_s:
                work_s, _, reply = heapq.heappop(heap)  # first: a step may end one reply and begin another
                self._firing_s = due_s
                more_s = reply.step(due_s)
                if more_s is not None:
                    heapq.heappush(heap, (work_s + more_s, next(self._order), reply))
        finally:
            self._firing_s = None
            self._arm()
