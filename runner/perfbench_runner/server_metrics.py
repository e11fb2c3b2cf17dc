"""What the server says of itself during a run: its Prometheus metrics, read every second by the control process.

Every reading is stored under its server's name (table server_metric); server_names.py says which neutral name it has, for
the live metrics here and for the summary in server_figures.py.
One address may lead to several processes by turns, as a Service with a cluster IP does. Those of most Python servers can
be told apart by when they started; each is a source of its own then, and is looked at more often.
Whatever goes wrong here is told in the log at most: a run never fails for its server's metrics.
"""

import asyncio
import logging
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from perfbench_api.outcome import Outcome
from perfbench_api.resource import SpecError
from perfbench_api.sections import MetricsSource
from perfbench_runner.control import Control
from perfbench_runner.observer import Observer
from perfbench_runner.scrape import Page, Reading, ScrapeError, addresses, fetch, is_exposition, readings
from perfbench_runner.server_names import KNOWN, neutral
from perfbench_runner.shard import Wiring
from perfbench_runner.store import StoreError
from perfbench_runner.transport import tls_context

PERIOD_S = 1.0
RESOLVE_S = 10.0
"""How often the host is looked up again: pods come and go."""
STALE_S = 5 * PERIOD_S
"""A reading this old says nothing of now."""
MOST_LOOKS = 16
"""At one address at a time."""
PATHS = ("/metrics", "/prometheus/metrics")
"""Where `auto` looks, beside the target; the second is trtllm-serve's."""
_STARTED = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A page to read, and what to keep of it."""

    page: Page
    patterns: tuple[str, ...] = KNOWN


def sources(metrics: Literal["auto", "off"] | Sequence[MetricsSource], wiring: Wiring) -> list[Source]:
    """What `target.metrics` asks for; of those of `auto` one is to be read.

    The target's own headers and TLS go to its own origin only.

    Raises SpecError for an address that is none.
    """
    if metrics == "off":
        return []
    target = urlsplit(wiring.url)
    origin = f"{target.scheme}://{target.netloc}"
    tls = cache(partial(tls_context, **wiring.tls))
    if metrics == "auto":
        return [Source(Page(f"{origin}{path}", wiring.headers, tls)) for path in PATHS]
    found = []
    for index, source in enumerate(metrics):
        url = source.url or ""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            where = f"spec.target.metrics[{index}]"
            raise SpecError([f"{where}: give the url of a metrics page, such as http://host:8000/metrics; got {url!r}"])
        is_own = f"{parts.scheme}://{parts.netloc}" == origin
        page = Page(url, wiring.headers, tls) if is_own else Page(url)
        found.append(Source(page, tuple(source.include) or KNOWN))
    return found


class Seen(NamedTuple):
    """A page as it was seen, not yet read."""

    at_s: float
    """The middle between asking and having the answer; of the run's clock."""
    stage: int
    address: str
    patterns: tuple[str, ...]
    text: str

    @property
    def process(self) -> str:
        """When the process started that answered; empty where it does not say."""
        found = _STARTED.search(self.text)
        return found[1] if found else ""


@dataclass
class Process:
    """One of those that answer at an address."""

    number: int
    seen_s: float


class ServerMetrics(Observer):
    """Reads the sources during the load. With `is_auto` a server without metrics is none to speak of."""

    def __init__(self, sources: Sequence[Source], is_auto: bool, period_s: float = PERIOD_S) -> None:
        self._sources, self._others = (sources[:1], list(sources[1:])) if is_auto else (sources, [])
        self._is_auto, self._period_s = is_auto, period_s
        self._addresses: dict[str, tuple[float, list[list[str]]]] = {}
        self._waiting: list[Seen] = []
        self._processes: dict[str, dict[str, Process]] = {}
        """By address and start."""
        self._latest: dict[str, tuple[float, list[Reading]]] = {}
        self._told: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def latest(self) -> dict[str, float]:
        """The last readings under neutral names."""
        return neutral([found for _, found in self._latest.values()])

    async def open(self, control: Control) -> None:
        """Begin; nothing waits for it."""
        if self._sources:
            self._task = asyncio.get_running_loop().create_task(self._watch(control))

    def stage(self, control: Control) -> None:
        """Look at once when a stage begins or ends, so that its edges are sharp."""
        self._wake.set()

    async def loaded(self, control: Control) -> None:
        """One last look, after the load."""
        if self._task is None or self._task.done():
            return
        await self._stop()
        self._take(control, await self._look(control))

    async def close(self, outcome: Outcome) -> None:
        """End, however the run ended."""
        await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self, control: Control) -> None:
        while True:
            seen = await self._look(control)
            if control.phase not in ("warmup", "running"):
                self._waiting = seen  # to be read when there is time: the load comes first
            else:
                if seen or self._waiting:
                    await asyncio.get_running_loop().run_in_executor(None, import_module, "prometheus_client.parser")
                    self._take(control, [*self._waiting, *seen])
                self._waiting = []
                if self._is_auto and not self._latest:
                    if not self._others:
                        return
                    self._sources = [self._others.pop(0)]
                    continue
            with suppress(TimeoutError):
                async with asyncio.timeout(self._period_s):
                    await self._wake.wait()
            self._wake.clear()

    async def _look(self, control: Control) -> list[Seen]:
        """Fetch all pages at once."""
        seen = await asyncio.gather(*(self._look_at(source, control) for source in self._sources))
        return [one for some in seen for one in some]

    async def _look_at(self, source: Source, control: Control) -> list[Seen]:
        problem = "no address"
        try:
            families = await self._resolve(source.page, control.clock())
        except ScrapeError as error:
            families, problem = [], str(error)
        for family in families:
            tried = await asyncio.gather(*(self._see_all(source, address, control) for address in family))
            seen = [one for several in tried if isinstance(several, list) for one in several]
            if seen:
                return seen
            problem = next((one for one in tried if isinstance(one, str)), problem)
        self._tell(source.page.url, problem)
        return []

    async def _see_all(self, source: Source, address: str, control: Control) -> list[Seen] | str:
        """The pages of all processes that answer at an address, or what is wrong."""
        processes = self._processes.setdefault(f"{source.page.url} {address}", {})
        recent = sum(control.clock() - process.seen_s < RESOLVE_S for process in processes.values())
        # Each look is a new connection, which leads to any of them: two for each find most, every time.
        looks = min(2 * recent, MOST_LOOKS) if recent > 1 else 1
        tried = await asyncio.gather(*(_see(source, address, control) for _ in range(looks)))
        seen = {}
        for one in tried:
            if isinstance(one, Seen):
                process = processes.setdefault(one.process, Process(len(processes), one.at_s))
                process.seen_s = one.at_s
                suffix = f"#{process.number + 1}" if process.number else ""
                seen[process.number] = one._replace(address=one.address + suffix)
        return list(seen.values()) or next(one for one in tried if isinstance(one, str))

    async def _resolve(self, page: Page, now_s: float) -> list[list[str]]:
        at_s, found = self._addresses.get(page.url, (0.0, []))
        if not found or now_s - at_s > RESOLVE_S:
            found = await addresses(page)
            self._addresses[page.url] = (now_s, found)
        return found

    def _tell(self, url: str, problem: str) -> None:
        if url not in self._told and self._task is not None:
            self._told.add(url)
            LOG.log(logging.DEBUG if self._is_auto else logging.WARNING, "no server metrics from %s: %s", url, problem)

    def _take(self, control: Control, seen: Iterable[Seen]) -> None:
        """Read pages, remember and store what they say."""
        latest, rows = {}, []
        for one in seen:
            found = list(readings(one.text, one.patterns))
            if found:
                latest[one.address] = (one.at_s, found)
            rows += [(one.at_s, one.stage, one.address, *reading) for reading in found]
        if latest:
            newest_s = max(at_s for at_s, _ in latest.values())
            recent = {where: one for where, one in self._latest.items() if newest_s - one[0] < STALE_S}
            self._latest = recent | latest
        with suppress(StoreError):  # the results will not fit either, and end the run
            control.store.add_server_metrics(rows)


async def _see(source: Source, address: str, control: Control) -> Seen | str:
    """The page at one address, or what is wrong with it."""
    page, began_s = source.page, control.clock()
    stage = control.stage_index if control.phase == "running" else -1
    try:
        text = await fetch(page, address)
    except ScrapeError as error:
        return str(error)
    if not is_exposition(text):
        return "this is no Prometheus text"
    path = urlsplit(page.url).path
    host = f"[{address}]" if ":" in address else address
    where = f"{host}:{page.port}{'' if path == '/metrics' else path}"
    return Seen((began_s + control.clock()) / 2, stage, where, source.patterns, text)
