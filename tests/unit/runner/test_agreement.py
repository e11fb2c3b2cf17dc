"""What runners agree on, over real HTTP on loopback: who may join, starts, leases, news, losses, files."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import pytest

from perfbench_api.redaction import KNOWN
from perfbench_api.resource import SpecError
from perfbench_api.sections import Stage
from perfbench_runner.engine.state import End
from perfbench_runner.listening import server_socket
from perfbench_runner.observe.told import RunnerFigures, Settled, Tally
from perfbench_runner.results.stage_rows import COLUMNS, Cell, StageRows
from perfbench_runner.run.roles import Role
from perfbench_runner.run.working import leave
from perfbench_runner.runners import leader as leader_module
from perfbench_runner.runners import sending as sending_module
from perfbench_runner.runners import service as service_module
from perfbench_runner.runners.handover import Inbox
from perfbench_runner.runners.leader import Leader
from perfbench_runner.runners.link import LeaderError, Link, report_in
from perfbench_runner.runners.messages import BODY_BYTES, VERSION, Hello, Welcome
from perfbench_runner.runners.sending import hand_over
from perfbench_runner.runners.service import Service
from perfbench_runner.runners.worker import Worker, rows_in_parts

TOKEN = "a-token-of-this-run"
BEHIND_S = 1000.0


class Run:
    """A leader that serves, and its workers."""

    def __init__(self, folder: Path, runners: int, loses: bool, silence_s: float, start_deadline_s: float) -> None:
        self.folder, self.runners = folder, runners
        self.leader = Leader(runners, 7, "load", "1.0", loses, silence_s, start_deadline_s)
        self.stops: list[End] = []
        self.ended: list[tuple[int, float, str]] = []
        self.leader.listen(self._stop, lambda *ended: self.ended.append(ended))
        self._sock = server_socket("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}"
        self.service = Service(self.leader, Inbox(folder), TOKEN, self._sock)

    def _stop(self, end: End) -> None:
        """As the engine does."""
        self.stops.append(end)
        self.leader.stopped(end)

    def link(self, runner: int, instance: str = "", token: str = TOKEN) -> Link:
        return Link(self.url, token, runner, instance or f"instance-{runner}")

    def hello(self, number: int, **more: Any) -> Hello:
        said = {"version": VERSION, "program": "1.0", "runner": number, "instance": f"instance-{number}"}
        return Hello.model_validate({**said, "name": f"pod-{number}", "node": "node", "load": "load", **more})

    async def worker(self, runner: int, **more: Any) -> Worker:
        """One that has reported in; its clock is behind the leader's."""
        welcome = await report_in(self.link(runner), self.hello(runner, **more), 5.0)
        return Worker(self.link(runner), welcome, lambda: perf_counter() - BEHIND_S)


async def until(condition: Callable[[], Any], timeout_s: float = 30.0) -> None:
    """Wait for something."""
    until_s = perf_counter() + timeout_s
    while not condition():
        assert perf_counter() < until_s
        await asyncio.sleep(0.02)


Start = Callable[..., Awaitable[Run]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def make(runners: int = 3, loses: bool = False, silence_s: float = 60.0, start_s: float = 60.0) -> Run:
            run = Run(tmp_path, runners, loses, silence_s, start_s)
            await run.service.open()
            stack.push_async_callback(run.service.close)
            watching = asyncio.get_running_loop().create_task(run.leader.watch())
            stack.callback(watching.cancel)
            return run

        yield make


async def beats(run: Run, number: int) -> None:
    """A worker tells that it is prepared."""
    said = {"instance": f"instance-{number}", "number": 1, "stage": -2}
    assert (await raw(run, "POST", f"/runners/{number}/beat", json.dumps(said).encode()))[0] == 204


async def raw(
    run: Run, method: str, path: str, body: bytes = b"", token: str | None = TOKEN, **headers: str
) -> tuple[int, str]:
    """Status and text of an answer."""
    sent = {"Authorization": f"Bearer {token}", **headers} if token is not None else headers
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, run.url + path, data=body, headers=sent) as response,
    ):
        return response.status, await response.text()


@pytest.mark.parametrize("token", [None, "", "another", TOKEN + "x", TOKEN[:-1], "ü"])
async def test_without_the_runs_token_nothing_is_answered(start: Start, token: str | None) -> None:
    run = await start()
    for method, path in (
        ("GET", "/clock"), ("GET", "/news?first=0"), ("POST", "/hello"), ("POST", "/runners/1/lease"),
        ("PUT", "/runners/1/file"), ("GET", "/nothing"),
    ):  # fmt: skip
        status, text = await raw(run, method, path, token=token)
        assert status == 401
        assert "run's token" in text
    with pytest.raises(LeaderError, match="needs the run's token") as caught:
        await report_in(run.link(1, token="wrong"), run.hello(1), 5.0)
    assert caught.value.reason == "TokenRefused"


def test_a_leader_without_a_token_does_not_serve(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="token"):
        Service(None, Inbox(tmp_path), "", None)  # type: ignore[arg-type]  # it looks at neither


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"program": "0.9"}, "give all runners one image"),
        ({"load": "other"}, "another load"),
        ({"runner": 3}, "there is no runner 3"),
        ({"runner": 1, "instance": "second"}, "has reported in before"),
    ],
)
async def test_who_does_not_belong_to_the_run_is_refused_in_words(start: Start, change: Any, words: str) -> None:
    run = await start()
    await run.worker(1)
    hello = run.hello(2, **change)
    with pytest.raises(LeaderError, match=words):
        await report_in(run.link(hello.runner, hello.instance), hello, 5.0)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/hello", b"\x80\x04]\x94.", 400),
        ("/hello", b'{"version": 1, "runner": -5}', 400),
        (
            "/runners/1/beat",
            b'{"instance": "instance-1", "number": 1, "stage": 0, "figures": {"requests_rps": 1e999}}',
            400,
        ),
        ("/runners/1/beat", b'{"instance": "instance-1", "number": 1, "stage": 0, "figures": {"ttft": {"3": 1}}}', 400),
        ("/runners/1/beat", b'{"instance": "instance-1", "number": 1, "stage": 0, "surprise": 1}', 400),
        ("/runners/1/beat", b'{"instance": "another", "number": 1, "stage": 0}', 409),
        ("/runners/2/ready", b'{"instance": "", "stage": 0}', 400),
        ("/runners/2/ready", b'{"instance": "any", "stage": 0}', 409),
        ("/runners/9999/ready", b'{"instance": "any", "stage": 0}', 409),
        ("/runners/1/lease", b'{"instance": "instance-1", "pad": "' + b"x" * 600_000 + b'"}', 413),
    ],
)
async def test_messages_that_are_none_are_refused(start: Start, path: str, body: bytes, status: int) -> None:
    run = await start()
    await run.worker(1)
    assert (await raw(run, "POST", path, body))[0] == status


@pytest.mark.parametrize("runners", [2, 3, 5, 16])
async def test_all_begin_at_one_time_whatever_their_clocks_say(start: Start, runners: int) -> None:
    run = await start(runners)
    stage = Stage(concurrency=16, duration=1)
    workers = [await run.worker(number) for number in range(1, runners)]
    async with AsyncExitStack() as stack:
        for worker in workers:
            await stack.enter_async_context(worker)
            worker.announced(0, stage)
        run.leader.announced(0, stage)
        first, *others = await asyncio.gather(*(one.begins(0, 0.0) for one in (run.leader, *workers)))
        assert first is not None
        assert first > perf_counter() - 0.5, "it is to come when all have been told"
        for worker, at_s in zip(workers, others, strict=True):
            assert at_s == pytest.approx(first - BEHIND_S, abs=worker.clocks.line.bound_s + 1e-6)
            assert at_s == pytest.approx(first - BEHIND_S, abs=0.005)


def no_end(number: int, at_s: float, reason: str) -> None:
    raise AssertionError("no stage ends early")


async def test_a_stage_that_ends_early_ends_for_all_at_one_time(start: Start) -> None:
    run = await start(3)
    async with await run.worker(1) as one, await run.worker(2) as two:
        told: list[list[tuple[int, float, str]]] = [[], []]
        for worker, ended in zip((one, two), told, strict=True):
            worker.listen(run.stops.append, lambda *what, ended=ended: ended.append(what))
        run.leader.end_stage(4, "it is known")
        await until(lambda: all(told))
        ((number, at_s, reason),) = run.ended
        assert (number, reason) == (4, "it is known")
        assert at_s > perf_counter() - 0.5, "when all have been told"
        for worker, ((other, own_s, why),) in zip((one, two), told, strict=True):
            assert (other, why) == (4, "it is known")
            assert own_s == pytest.approx(at_s - BEHIND_S, abs=worker.clocks.line.bound_s + 1e-6)


async def test_what_a_lost_worker_has_told_still_counts_and_nobody_waits_for_it(start: Start) -> None:
    run = await start(2, loses=True)
    async with await run.worker(1) as one:
        run.leader.announced(0, Stage(rate=1, duration=1))
        settled, tally = Settled(values=3, until_s=2.5, seconds={1: {16000: 3}}), Tally(ended=3, failed=1, requests=9)
        one.progress = lambda stage: RunnerFigures(requests=3, settled=settled, tally=tally)
        one.announced(0, Stage(rate=1, duration=1))
        await one.tell()
        one.progress = lambda stage: RunnerFigures(
            settled=Settled(values=5, until_s=3.5, seconds={2: {16000: 2}}), tally=tally
        )
        await one.tell()
        (told,) = run.leader.others(0)
        assert (told.settled.until_s, sorted(told.settled.seconds)) == (3.5, [1, 2])
        (later,) = run.leader.others(1)
        assert (later.tally.requests, later.tally.ended, later.settled.values) == (9, 0, 0)
        run.leader.lose(run.leader.members.all[1], "was killed")
        (told,) = run.leader.others(0)
        assert (told.settled.until_s, told.tally.failed) == (float("inf"), 1)


async def test_requests_are_leased_to_all_and_none_twice(start: Start) -> None:
    run = await start(3)
    stage = Stage(concurrency=6, requests=500)
    run.leader.announced(0, stage)
    async with await run.worker(1) as one, await run.worker(2) as two:
        found, parties = list(range(6)), [run.leader, one, two]
        while parties:
            for party in parties.copy():
                lease = await party.lease(0, 2, 50)
                found += lease.numbers
                if lease.is_last:
                    parties.remove(party)
        assert sorted(found) == list(range(500))
        assert (await one.lease(5, 2, 50)).is_last, "of a stage that is not under way"


async def test_live_figures_of_all_are_added(start: Start) -> None:
    run = await start(3)
    async with await run.worker(1) as one, await run.worker(2) as two:
        run.leader.announced(0, Stage(rate=1, duration=1))
        for number, worker in enumerate((one, two), 1):
            worker.progress = partial(figures, number)
            worker.announced(0, Stage(rate=1, duration=1))
            assert await worker.tell()
        assert [other.requests for other in run.leader.others(0)] == [10, 20]
        assert [other.ttft for other in run.leader.others(0)] == [{16000: 1}, {16000: 2}]
        assert [other.requests for other in run.leader.others(1)] == [0, 0], "of another stage"


def figures(number: int, stage: int) -> RunnerFigures:
    """What worker `number` tells of a stage."""
    return RunnerFigures(requests=10 * number if stage == 0 else 0, ttft={16000: number})


async def test_the_last_of_a_stage_is_told_before_the_next_one_begins(start: Start) -> None:
    run = await start(2)
    async with await run.worker(1) as one:
        one.progress = partial(figures, 1)
        run.leader.announced(0, Stage(rate=1, duration=1))
        one.announced(0, Stage(rate=1, duration=1))
        await one.tell()
        one.progress = lambda stage: RunnerFigures(requests=77 if stage == 0 else 5, ttft={16000: 3})
        one.announced(1, Stage(rate=1, duration=1))
        run.leader.announced(1, Stage(rate=1, duration=1))
        await asyncio.gather(run.leader.begins(1, 0.0), one.begins(1, 0.0))
        assert [other.requests for other in run.leader.others(0)] == [77]
        assert run.leader.others(0)[0].ttft == {}, "of a stage that is over only counts are kept"
        assert [other.requests for other in run.leader.others(1)] == [5]


async def test_what_comes_late_or_of_a_stage_that_is_not_there_is_not_taken(start: Start) -> None:
    run = await start(2)
    await run.worker(1)
    for number, stage, requests, status in ((5, 0, 9, 204), (4, 0, 3, 204), (6, 3, 3, 409)):
        told = {"instance": "instance-1", "number": number, "stage": stage, "figures": {"requests": requests}}
        assert (await raw(run, "POST", "/runners/1/beat", json.dumps(told).encode()))[0] == status
    assert [other.requests for other in run.leader.others(0)] == [9]


def some_rows(number: int, count: int) -> StageRows:
    """Rows of a runner, in which each cell can be told; every tenth has gaps of some length."""
    cells: list[list[Cell]] = [
        [*(number * 1000 + row for _ in COLUMNS), "[1,2]" * 3000 if row % 10 == 0 else None] for row in range(count)
    ]
    for row in cells:
        row[COLUMNS.index("failure")] = "timeout"
    return StageRows(cells, [(0.5 * row, "chat" if row % 2 else None) for row in range(count // 4)])


@pytest.mark.parametrize(("runners", "count"), [(2, 0), (3, 7), (5, 2500)])
async def test_the_next_stage_of_a_search_is_chosen_by_the_rows_of_all(start: Start, runners: int, count: int) -> None:
    run, seen = await start(runners), list[StageRows]()
    stages = [Stage(name=f"{number:02d}-r5", rate=5 + number / 3, requests=20, duration=9.25) for number in range(2)]

    def choose(others: Sequence[StageRows]) -> Stage:
        seen.extend(others)
        return stages[1]

    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(await run.worker(number)) for number in range(1, runners)]
        first = await asyncio.gather(
            *(worker.next_stage(0, StageRows([], []), no_choice) for worker in workers),
            run.leader.next_stage(0, StageRows([], []), lambda others: stages[0]),
        )
        assert first == [stages[0]] * runners
        told = await asyncio.gather(
            *(worker.next_stage(1, some_rows(number, count), no_choice) for number, worker in enumerate(workers, 1)),
            run.leader.next_stage(1, StageRows([], []), choose),
        )
        assert told == [stages[1]] * runners
        assert seen == [some_rows(number, count) for number in range(1, runners)]
        last = await asyncio.gather(
            *(worker.next_stage(2, StageRows([], []), no_choice) for worker in workers),
            run.leader.next_stage(2, StageRows([], []), lambda others: None),
        )
        assert last == [None] * runners, "the search is over"


@pytest.mark.parametrize("count", [0, 1, 5000, 5001, 40_000])
def test_no_message_is_longer_than_it_may_be(count: int) -> None:
    row: list[Cell] = [*(-123456.123456789 for _ in COLUMNS), None]
    for name in ("failure", "workload"):
        row[COLUMNS.index(name)] = "w" * 40
    rows = StageRows([row] * (count // 4), [(-123456.123456789, "w" * 40)] * count)
    parts = list(rows_in_parts("a", 3, rows))
    assert max(len(part.model_dump_json()) for part in parts) < BODY_BYTES
    assert [one for part in parts for one in part.unsent] == rows.unsent
    assert [one for part in parts for one in part.requests] == rows.requests
    assert [part.is_last for part in parts] == [*(False for _ in parts[1:]), True]


def no_choice(others: Sequence[StageRows]) -> None:
    raise AssertionError("only the leader chooses")


async def test_nobody_waits_for_a_next_stage_when_the_run_is_over(start: Start) -> None:
    run = await start(3, silence_s=1.0)
    async with await run.worker(1) as one:
        await report_in(run.link(2), run.hello(2), 5.0)
        await beats(run, 2)  # and is not heard of again
        told = await asyncio.gather(
            one.next_stage(1, some_rows(1, 3), no_choice), run.leader.next_stage(1, StageRows([], []), no_choice)
        )
        assert told == [None, None]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 204),
        ({"first": 5}, 409),
        ({"requests": [[1, 2]]}, 409),
        ({"requests": [["x"] * (len(COLUMNS) + 1)]}, 409),
        ({"requests": [[{}]]}, 400),
        ({"unsent": [[1e999, None]]}, 400),
    ],
)
async def test_rows_that_are_none_are_refused(start: Start, change: dict[str, Any], status: int) -> None:
    run = await start(2)
    await run.worker(1)
    rows = {"stage": 0, "first": 0, "requests": some_rows(1, 2).requests, "unsent": [], "is_last": True}
    said = json.dumps({"instance": "instance-1", **rows, **change}).encode()
    for _ in range(2):  # once more: the answer was lost
        assert (await raw(run, "POST", "/runners/1/rows", said))[0] == status
    assert len(run.leader.members.all[1].rows.requests) == (2 if status == 204 else 0)


async def test_a_worker_that_ends_early_ends_the_run_with_its_reason(start: Start) -> None:
    run = await start()
    async with await run.worker(1) as one, await run.worker(2) as two:
        told: list[End] = []
        two.listen(told.append, no_end)
        one.stopped(End("failed", "TargetUnreachable", "cannot connect"))
        await until(lambda: told)
        (end,) = run.stops
        assert (end.state, end.reason) == ("failed", "TargetUnreachable")
        assert "runner 1, pod-1 on node node: cannot connect" in end.message
        assert told[0].message == end.message
        assert await two.begins(0, 0.0) is None, "no stage begins any more"
        assert (await two.lease(0, 0, 1)).is_last


async def test_a_silent_worker_is_lost_and_refused_when_it_comes_back(start: Start) -> None:
    run = await start(silence_s=0.6)
    welcome = await report_in(run.link(1), run.hello(1), 5.0)
    await beats(run, 1)
    await until(lambda: run.stops)
    assert run.stops[0].reason == "RunnerLost"
    assert "runner 1, pod-1 on node node: was not heard of for 0.6 s" in run.stops[0].message
    async with Worker(run.link(1), welcome) as back:
        await until(lambda: back.end is not None)
        assert back.end.state == "failed"


async def test_the_run_goes_on_without_a_lost_worker_if_it_may(start: Start) -> None:
    run = await start(3, loses=True, silence_s=1.5)
    async with await run.worker(1) as one:
        await report_in(run.link(2), run.hello(2), 5.0)
        await beats(run, 2)
        run.leader.announced(0, Stage(rate=5, duration=1))
        begins = await asyncio.gather(run.leader.begins(0, 0.0), one.begins(0, 0.0))
        assert None not in begins
        assert run.stops == []
        assert run.leader.members.all[2].state == "lost"


async def test_who_never_comes_is_named_when_the_deadline_passes(start: Start) -> None:
    run = await start(4, start_s=0.3)
    async with await run.worker(2) as two:
        run.leader.announced(0, Stage(rate=5, duration=1))
        assert await asyncio.gather(run.leader.begins(0, 0.0), two.begins(0, 0.0)) == [None, None]
    (end,) = run.stops
    assert end.reason == "RunnerMissing"
    assert end.message.startswith("runner 1, 3 did not report in within 0.3 s (runner.startDeadline)")


async def test_who_takes_long_to_prepare_is_not_lost_before_the_deadline(start: Start) -> None:
    """Datasets and tokenizers are loaded after a worker has reported in; it cannot say anything meanwhile."""
    run = await start(2, silence_s=0.2, start_s=0.9)
    await report_in(run.link(1), run.hello(1), 5.0)
    run.leader.announced(0, Stage(rate=5, duration=1))
    began_s = perf_counter()
    assert await run.leader.begins(0, 0.0) is None
    assert perf_counter() - began_s > 0.85
    (end,) = run.stops
    assert end.reason == "RunnerMissing"
    assert end.message.startswith("runner 1, pod-1 on node node: reported in, and was not prepared within 0.9 s")


async def test_a_worker_that_cannot_be_prepared_says_why(start: Start) -> None:
    run = await start()
    await report_in(run.link(2), run.hello(2), 5.0)
    role = Role(2, run.url, TOKEN, "node", "instance-2")
    await asyncio.to_thread(leave, role, SpecError(["spec.dataset.path: /data/x.jsonl: no such file"]))
    (end,) = run.stops
    assert (end.state, end.reason) == ("failed", "CannotStart")
    assert end.message.startswith("runner 2, pod-2 on node node: spec.dataset.path: /data/x.jsonl: no such file")
    await run.service.close()
    await asyncio.to_thread(leave, role, ValueError("nobody hears this"))


async def test_a_worker_ends_itself_when_the_leader_is_gone(start: Start) -> None:
    run = await start(silence_s=0.5)
    welcome = await report_in(run.link(1), run.hello(1), 5.0)
    async with Worker(run.link(1), welcome) as worker:
        told: list[End] = []
        worker.listen(told.append, no_end)
        await run.service.close()
        await until(lambda: told)
    assert told[0].reason == "LeaderLost"


async def test_a_leader_that_is_not_there_is_waited_for_and_then_told_of() -> None:
    link = Link("http://127.0.0.1:9", TOKEN, 1, "x")
    hello = Hello(version=VERSION, program="1.0", runner=1, instance="x", name="pod", load="load")
    with pytest.raises(LeaderError, match=r"could not be reached within 0\.5 s"):
        await report_in(link, hello, 0.5)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending_module, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(sending_module, "RETRY_S", 0.02)


def a_file(folder: Path, size: int) -> Path:
    path = folder / "own.sqlite"
    path.write_bytes(bytes(number % 251 for number in range(size)))
    return path


@pytest.mark.parametrize("size", [1, 1000, 10_500])
async def test_a_file_is_handed_over(start: Start, tmp_path: Path, small_chunks: None, size: int) -> None:
    run, path = await start(2), a_file(tmp_path, size)
    async with await run.worker(1) as worker:
        await hand_over(worker, path, 4, "", 20.0)
        member = run.leader.members.all[1]
        assert member.file is not None
        assert member.file.read_bytes() == path.read_bytes()
        assert member.done is not None
        assert (member.done.workers, member.done.state) == (4, "merged")
        assert member.done.offset_s == pytest.approx(BEHIND_S, abs=0.05)
        assert await run.leader.delivery(5.0) == ""
        await hand_over(worker, path, 4, "", 20.0)  # the answer was lost: once more


async def test_a_hand_over_that_is_cut_off_goes_on_where_it_was(
    start: Start, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path = await start(2), a_file(tmp_path, 10_500)
    offsets: list[int] = []
    append = Inbox.append

    def failing(self: Inbox, runner: int, offset: int, data: bytes) -> int:
        offsets.append(offset)
        if len(offsets) in (3, 6, 7):
            raise ConnectionResetError  # as of a handler that was cut in the middle
        return append(self, runner, offset, data)

    monkeypatch.setattr(Inbox, "append", failing)
    async with await run.worker(1) as worker:
        await hand_over(worker, path, 1, "", 20.0)
    assert offsets[:9] == [0, 1000, 2000, 2000, 3000, 4000, 4000, 4000, 5000]
    assert run.leader.members.all[1].file is not None
    assert (tmp_path / "runner-1.sqlite").read_bytes() == path.read_bytes()


async def test_a_file_that_is_damaged_on_its_way_is_sent_again(
    start: Start, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, path, damaged = await start(2), a_file(tmp_path, 3000), []
    append = Inbox.append

    def damaging(self: Inbox, runner: int, offset: int, data: bytes) -> int:
        if offset == 1000 and not damaged:
            damaged.append(offset)
            data = b"\0" * len(data)
        return append(self, runner, offset, data)

    monkeypatch.setattr(Inbox, "append", damaging)
    async with await run.worker(1) as worker:
        await hand_over(worker, path, 1, "", 20.0)
    assert (tmp_path / "runner-1.sqlite").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("heals", [True, False])
async def test_a_full_disk_at_the_leader_is_given_up_soon_unless_it_heals(
    start: Start, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch, heals: bool
) -> None:
    run, path = await start(3), a_file(tmp_path, 3000)
    refused: list[int] = []
    append = Inbox.append

    def full(self: Inbox, runner: int, offset: int, data: bytes) -> int:
        if runner == 2 or (heals and len(refused) > 3):
            return append(self, runner, offset, data)
        refused.append(offset)
        raise service_module.StoreError("No space left on device")

    for module in (leader_module, sending_module):
        monkeypatch.setattr(module, "UNSTORED_S", 20.0 if heals else 0.5)
    monkeypatch.setattr(Inbox, "append", full)
    async with await run.worker(1) as first, await run.worker(2) as second:
        await hand_over(second, path, 1, "", 20.0)
        waiting = asyncio.create_task(run.leader.delivery(60.0))
        if heals:
            await hand_over(first, path, 1, "", 20.0)
            assert (await waiting, run.leader.unstored) == ("", "")
            return
        with pytest.raises(LeaderError, match="No space left on device") as raised:
            await hand_over(first, path, 1, "", 60.0)
        assert raised.value.reason in ("CannotStore", "GivenUp"), "by its own clock, or told by the leader"
        assert "runner 1" in await waiting
    assert run.leader.unstored == "No space left on device"
    assert run.leader.members.all[1].why == "could not hand over its results: the leader cannot store them"
    assert run.leader.members.all[2].why == ""


def test_what_did_not_come_whole_makes_room(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    inbox.append(1, 0, b"part")
    (tmp_path / "runner-2.sqlite").write_bytes(b"whole")
    inbox.drop_partial()
    assert [path.name for path in tmp_path.iterdir()] == ["runner-2.sqlite"]


async def test_nobody_hands_over_for_another_or_with_gaps(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await start(3)
    await run.worker(1)
    own = {"Perfbench-Instance": "instance-1", "Perfbench-Offset": "0"}
    assert (await raw(run, "PUT", "/runners/2/file", b"x", **own))[0] == 409
    assert (await raw(run, "PUT", "/runners/1/file", b"x", **{**own, "Perfbench-Offset": "5"}))[0] == 409
    assert (await raw(run, "PUT", "/runners/1/file", b"x", **{**own, "Perfbench-Offset": "-5"}))[0] == 400
    monkeypatch.setattr(service_module, "CHUNK_BYTES", 10)
    assert (await raw(run, "PUT", "/runners/1/file", b"x" * 11, **own))[0] == 413
    assert (await raw(run, "PUT", "/runners/1/file", b"x", **own))[0] == 200
    assert (tmp_path / "runner-1.sqlite.partial").read_bytes() == b"x"


async def test_a_welcome_of_another_protocol_is_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await start()
    monkeypatch.setattr(
        run.leader, "hello", lambda hello: Welcome(version=VERSION + 1, runners=3, seed=1, silence_s=1.0)
    )
    with pytest.raises(LeaderError, match="another version"):
        await report_in(run.link(1), run.hello(1), 5.0)


def breaks(*_: Any) -> Any:
    raise ZeroDivisionError("sk-planted-key is no number")


def beats_break_before_the_load(worker: Worker) -> None:
    worker.progress = breaks


def beats_break(worker: Worker) -> None:
    worker.listen(worker.stopped, lambda *what: None)
    worker.progress = breaks


def news_break(worker: Worker) -> None:
    worker.listen(worker.stopped, breaks)


@pytest.mark.parametrize("loses", [False, True])
@pytest.mark.parametrize("break_it", [beats_break_before_the_load, beats_break, news_break])
async def test_a_worker_that_a_bug_has_broken_says_so_and_is_not_waited_for(
    start: Start, caplog: pytest.LogCaptureFixture, break_it: Callable[[Worker], None], loses: bool
) -> None:
    KNOWN.add("sk-planted-key")
    run = await start(2, loses=loses)
    async with await run.worker(1) as one:
        break_it(one)
        run.leader.announced(0, Stage(concurrency=2, duration=60))
        run.leader.end_stage(0, "it is known")  # news
        member = run.leader.members.all[1]
        await until(lambda: member.state == "leaving")
        assert (one.is_broken, one.left and one.left.reason) == (True, "RunnerBroken")
    assert "broken by a bug: ZeroDivisionError: [hidden] is no number" in member.why
    assert [(end.state, end.reason) for end in run.stops] == [("failed", "RunnerBroken")] * (not loses)
    assert all(member.title in end.message and member.why in end.message for end in run.stops)
    (said,) = [record for record in caplog.records if "runner 1 is broken" in record.getMessage()]
    assert said.exc_info is not None, "with its traceback"
