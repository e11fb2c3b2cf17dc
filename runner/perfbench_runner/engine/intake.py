"""Results in: what shards measured is read (`plugin.read`), and handed to the sinks. Bounded in time and memory."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable

import orjson

from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.engine.dispatch import Dispatcher
from perfbench_runner.engine.redacting import legible, redact, redactor_for
from perfbench_runner.engine.state import WARMUP
from perfbench_runner.engine.supervisor import ShardProcess, Supervisor
from perfbench_runner.event_loop import Soon
from perfbench_runner.load.requests import Requests
from perfbench_runner.results.result import Result
from perfbench_runner.shard.messages import Measurement
from perfbench_runner.shard.request import PreparedRequest
from perfbench_runner.stamps import Stamps

SLICE_S = 0.01
"""Longest time spent on results before the generation of requests gets its turn."""
CHECKED = 64
"""Prompts of a stage that are counted here, too, to compare with what the server reports."""
PROMPT_S = 0.0005
"""What is read so soon after it arrived has the right time for any purpose, whatever came with it."""
UNREAD_BYTES = 32 * 2**20
"""Results waiting to be read beyond this: shards are not listened to until it is less."""


class Intake:
    """Turns measurements into results. Belongs to the control process's loop."""

    def __init__(
        self,
        feed: Requests,
        supervisor: Supervisor,
        dispatcher: Dispatcher,
        take: Callable[[Result], None],
        unsent: Callable[[int, int, float, int], None],
        clock: Callable[[], float],
    ) -> None:
        """`take` gets every result, those of the connection test and the warm-up included.

        `unsent` gets stage, number, due time (seconds) and kind of a conversation's turn that was not sent.
        """
        self._kinds, self._supervisor, self._dispatcher = feed.kinds, supervisor, dispatcher
        self._take, self._tell_unsent, self._clock = take, unsent, clock
        self._unread: deque[tuple[ShardProcess, Measurement, float]] = deque()
        """Who measured what, and about how many bytes it takes."""
        self.unread_bytes = 0.0
        self._read_soon = Soon(self._read)
        self.stage = 0
        """Number of the stage whose results come in."""
        self.ended: Counter[int] = Counter()
        """By shard: requests of the stage that ended."""
        self.by_program: Counter[int] = Counter()
        """By shard: those of them whose times of arrival are by the program's clock."""
        self._checked = 0

    def begin(self, stage: int) -> None:
        """Results are of this stage from now on."""
        self.stage = stage
        self._checked = 0
        self.ended.clear()
        self.by_program.clear()

    @property
    def is_empty(self) -> bool:
        """Whether all that was handed over has been read."""
        return not self._unread

    def add(self, process: ShardProcess, measurements: list[Measurement], size: int) -> None:
        """A shard hands over what it measured: so many bytes."""
        self._dispatcher.ended(process, [measurement.seq for measurement in measurements if measurement.is_last])
        each = size / max(1, len(measurements))
        self._unread.extend((process, measurement, each) for measurement in measurements)
        self.unread_bytes += size
        if self.unread_bytes > UNREAD_BYTES:
            self._supervisor.set_reading(False)
        self._dispatcher.refill()
        self._read_soon()

    async def drain(self) -> None:
        """Read all that is left."""
        while self._unread:
            await asyncio.sleep(0)
            self._read()

    def _read(self) -> None:
        """Read results, for a while."""
        until_s = self._clock() + SLICE_S
        while self._unread:
            process, measurement, size = self._unread.popleft()
            self.unread_bytes -= size
            self._read_one(process, measurement)
            if self._clock() > until_s:
                break
        if self._unread:
            self._read_soon()
        else:
            self._supervisor.notify()
        if self.unread_bytes < UNREAD_BYTES // 2:
            self._supervisor.set_reading(True)
        self._dispatcher.refill()

    def _read_one(self, process: ShardProcess, measurement: Measurement) -> None:
        all_pending = self._dispatcher.pending
        get = all_pending.pop if measurement.is_last else all_pending.get
        pending = get(measurement.seq, None)
        if measurement.exchange is None:
            kind = pending.request.kind if pending else 0
            self._tell_unsent(self.stage, measurement.seq, measurement.scheduled_s, kind)
            return
        result = self._result(process, measurement, measurement.exchange, pending.request if pending else None)
        self.ended[process.number] += 1
        self.by_program[process.number] += result.stamps == "program"
        self._take(result)

    def _result(
        self,
        process: ShardProcess,
        measurement: Measurement,
        what: Exchange | BenchmarkData,
        prepared: PreparedRequest | None,
    ) -> Result:
        body = measurement.body
        if not body and prepared is not None and isinstance(prepared.body, bytes):
            body = prepared.body
        redactor = redactor_for(prepared.headers if prepared else None)
        api, workload, target = self._kinds[prepared.kind if prepared else 0]
        if isinstance(what, BenchmarkData):
            data, wire = what, Exchange()
            data.tidy()
            _finalize(api, data)
        else:
            wire = what
            data = api.read(legible(what, redactor), body.decode())  # type: ignore[attr-defined]  # a DefaultApiPlugin
            if wire.gave_up:
                data.error = f"{data.error or ''} ({wire.gave_up})".strip()
        redact(data, api, redactor)
        data.tidy()
        if data.success and self._checked < CHECKED:
            self._checked += 1
            data.asked_tokens = _asked_tokens(api, body)
        data.request_id = data.request_id or (prepared.request_id if prepared else None)
        if measurement.turn:
            data.trace_id, data.input_num_turns = str(measurement.seq), measurement.turn
            data.is_first_turn, data.is_last_turn = measurement.turn == 1, measurement.is_last
        first_byte_s = wire.first_byte_s - wire.sent_s if wire.first_byte_s else None
        return Result(
            stage=WARMUP if prepared is not None and prepared.is_warmup else self.stage,
            seq=measurement.seq,
            shard=process.number,
            scheduled_s=measurement.scheduled_s,
            data=data,
            connect_s=wire.connect_s,
            tls_s=wire.tls_s,
            send_s=wire.body_sent_s - wire.sent_s if wire.body_sent_s else None,
            first_byte_s=first_byte_s,
            response_bytes=len(wire.body),
            entry=prepared.entry if prepared else None,
            # Later turns repeat no prompt.
            prompt_id=prepared.prompt_id if prepared and measurement.turn <= 1 else None,
            stamps=_stamps(what),
            merged_segments=merged_segments(wire, data.inter_chunk_latency or ()),
            resends=wire.resends,
            retries=wire.retries,
            refusals=wire.refusals,
            retry_s=wire.retry_s,
            workload=workload,
            target=target,
        )


def _asked_tokens(api: ApiPluginBase, body: bytes) -> int | None:
    try:
        count: int | None = api.asked_tokens(orjson.loads(body))  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001  # a plugin's own code and body, or a tokenizer's: then there is nothing to compare
        return None
    return count


def _finalize(api: ApiPluginBase, data: BenchmarkData) -> None:
    try:
        data.finalize(api)
    except Exception as error:  # noqa: BLE001  # a plugin's own code: whatever it raised is this request's failure
        data.success, data.failure = False, "plugin"
        data.error = f"{type(api).__name__}.parse_responses: {type(error).__name__}: {error}"


def _stamps(what: Exchange | BenchmarkData) -> Stamps | None:
    """Who took the times of arrival. A plugin that sends by itself has the program's."""
    if isinstance(what, BenchmarkData):
        return "program"
    return what.stamps_by if what.first_byte_s else None


def merged_segments(wire: Exchange, gaps_s: Iterable[float]) -> int | None:
    """Segments that got the time of a later one, with content in both, of a response that was read late; None: not known.

    A head and what follows the last content are often read together, and do no harm. A gap of nothing is one between two
    chunks of one read: of one segment, or of several. Where every read was prompt, these came together.
    """
    if wire.merged_segments is None:
        return None
    is_prompt = wire.stamps_by == "kernel" and wire.read_delay_s < PROMPT_S
    return 0 if is_prompt else min(wire.merged_segments, sum(gap_s == 0.0 for gap_s in gaps_s))
