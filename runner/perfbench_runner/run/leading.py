"""A run of several runners, from the leader's side: workers are started or waited for, and their files become part of its own."""

import asyncio
import logging
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_urlsafe
from types import TracebackType
from typing import Self

from perfbench_api.redaction import KNOWN
from perfbench_api.resource import SpecError
from perfbench_runner.engine.state import End
from perfbench_runner.event_loop import cancelled
from perfbench_runner.listening import server_socket
from perfbench_runner.results.merge import RunnerFacts, add_leader, add_runner, merge
from perfbench_runner.results.store import FILE, Store
from perfbench_runner.run import roles
from perfbench_runner.run.facts import own_version
from perfbench_runner.run.folders import MANIFEST
from perfbench_runner.run.prepare import PreparedRun
from perfbench_runner.run.processes import Processes
from perfbench_runner.runners.clocks import ClockLine
from perfbench_runner.runners.handover import Inbox, forget
from perfbench_runner.runners.leader import CHECK_S, Leader
from perfbench_runner.runners.messages import FileDone
from perfbench_runner.runners.service import Service

LOG = logging.getLogger(__name__)
KILLED = "the leader was killed, or could no longer store, before the run was over"
HANDOVER_S = 600.0
"""So long all files may take to come: some gigabytes over a slow network."""


class Leading:
    """The leader's part of a run; an async context for as long as the run goes on."""

    def __init__(
        self, prepared: PreparedRun, folder: Path, env: Mapping[str, str], plugins: Sequence[str] = ()
    ) -> None:
        spec = prepared.benchmark.spec
        self._prepared, self._folder, self._plugins = prepared, folder, plugins
        self._node, self._listen = env.get(roles.NODE, ""), env.get(roles.LISTEN, "")
        self._token = env.get(roles.TOKEN, "").strip() or token_urlsafe(32)
        if self._listen and not env.get(roles.TOKEN):
            raise SpecError([f"{roles.TOKEN}: is not set; workers that somebody else starts must have the run's token"])
        KNOWN.add(self._token, roles.TOKEN)
        self.agreement = Leader(
            spec.runner.replicas,
            spec.load.random_seed or 0,
            roles.load_digest(spec),
            own_version(),
            loses=spec.runner.on_loss == "continue",
            silence_s=roles.silence_of(env),
            start_deadline_s=spec.runner.start_deadline,
        )
        self._inbox = Inbox(folder)
        self._processes = Processes(folder)
        self._service: Service | None = None
        self._merges = True
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        host, _, port = (self._listen or "127.0.0.1:0").rpartition(":")
        try:
            sock = server_socket(host.strip("[]"), int(port))
        except (OSError, ValueError, OverflowError) as error:
            raise SpecError([f"{roles.LISTEN}: {self._listen}: cannot listen there: {error}"]) from None
        self._service = Service(self.agreement, self._inbox, self._token, sock)
        await self._service.open()
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self.agreement.watch()))
        if not self._listen:
            url = f"http://127.0.0.1:{sock.getsockname()[1]}"
            runners = self.agreement.share.runners
            self._processes.start(runners, self._folder / MANIFEST, url, self._token, self._plugins)
            self._tasks.append(loop.create_task(self._watch_processes()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await cancelled(self._tasks)
        await asyncio.to_thread(self._processes.end)
        if self._service is not None:
            await self._service.close()

    async def _watch_processes(self) -> None:
        """A process that has ended will not report in any more, nor be silent first."""
        while True:
            await asyncio.sleep(CHECK_S)
            for number, how in self._processes.ended().items():
                member = self.agreement.members.all[number]
                if not member.is_gone:
                    self.agreement.lose(member, how)

    async def collect(self, end: End) -> End:
        """The load is over: wait for the workers' files. How the run has ended, now that it is known who was lost."""
        if end.reason == "CannotStore":  # nor what they would hand over; they end without a leader
            self._merges = False
            return end
        lost = await self.agreement.delivery(HANDOVER_S)
        if self.agreement.unstored:
            await asyncio.to_thread(self._inbox.drop_partial)
            return End("failed", "CannotStore", f"{self.agreement.unstored} Not all runners' results are here: {lost}")
        if not lost or end.state != "complete":
            return end
        if self._prepared.benchmark.spec.runner.on_loss == "continue":
            return End(
                end.state, end.reason, f"{end.message}{'; ' * bool(end.message)}less load than asked for: {lost}"
            )
        return End("failed", "RunnerLost", f"{lost}. What was measured by the others is kept")

    def merge(self, results: Store) -> None:
        """Put the workers' rows into the leader's file, unless that took no more of its own. Not for an event loop.

        Raises StoreError.
        """
        if not self._merges:
            return
        results.settle()
        add_leader(
            results.db, RunnerFacts(0, platform.node(), self._node, "merged", "", self._prepared.workers, ClockLine())
        )
        for member in self.agreement.members.all.values():
            if member.file is None or member.done is None:
                facts = RunnerFacts(member.number, member.name, member.node, "lost", member.why, None, None)
                add_runner(results.db, facts, 0)
                continue
            merge(results.db, member.file, facts_of(member.number, member.name, member.node, member.why, member.done))
            forget(member.file)
            self._processes.forget(member.number)


def facts_of(number: int, name: str, node: str, why: str, done: FileDone) -> RunnerFacts:
    """What is kept of a worker that has handed over its file."""
    clock = ClockLine(done.offset_s, done.drift, done.at_s, done.bound_s, done.residual_s)
    reason = done.reason or why
    return RunnerFacts(number, name, node, "cut" if reason else "merged", reason, done.workers, clock)


def recover_workers(results: Store, folder: Path, replicas: int) -> None:
    """The leader ended before the run did: put into its file what workers had handed over, and say whose rows are missing.

    Not for an event loop; raises StoreError.
    """
    results.settle()
    known = {number for (number,) in results.db.execute("SELECT runner FROM runner")}
    if 0 not in known:  # else it was killed while it put them in
        add_leader(results.db, RunnerFacts(0, "", "", "cut", KILLED, None, ClockLine()))
    for number, path, said in Inbox(folder).delivered():
        if number not in known:
            merge(results.db, path, facts_of(number, said.name, said.node, said.why, said.done))
        forget(path)
        known.add(number)
    for number in range(1, replicas):
        if number in known:
            continue
        own = folder / f"runner-{number}"
        if (own / FILE).exists():  # a process on this machine, whose clock is the leader's
            merge(results.db, own / FILE, RunnerFacts(number, "", "", "cut", KILLED, None, ClockLine()))
            shutil.rmtree(own, ignore_errors=True)
        else:
            why = "had handed over nothing when the leader ended"
            add_runner(results.db, RunnerFacts(number, "", "", "lost", why, None, None), 0)
