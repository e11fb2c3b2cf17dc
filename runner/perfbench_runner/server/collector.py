"""What the server says of itself during a run: its Prometheus metrics, read every second by the control process.

Every reading is stored under its server's name (table server_metric); server_names.py says which neutral name it has, for
the live metrics (server_live.py) and for the summary (server_figures.py).
Whatever goes wrong here is told in the log at most: a run never fails for its server's metrics.
"""

import asyncio
import logging
import re
import sys
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from perfbench_api.outcome import Outcome
from perfbench_api.resource import SpecError
from perfbench_api.sections import MetricsSource
from perfbench_runner.observe.observer import Observer, RunView
from perfbench_runner.results.store import StoreError
from perfbench_runner.server.live import ServerLive
from perfbench_runner.server.names import KNOWN, PERIOD_S
from perfbench_runner.server.scrape import NoPageError, Page, ScrapeError, addresses, fetch, is_exposition, readings
from perfbench_runner.shard.messages import Wiring
from perfbench_runner.shard.transport import destination, tls_context

RESOLVE_S = 10.0
"""How often the host is looked up again: pods come and go."""
EDGE_S = 0.5
"""So long a stage waits for the look before its load, at most."""
PARSER = "prometheus_client.parser"
"""Imported with the first page, in a thread: a run without server metrics does not load it."""
MOST_LOOKS = 32
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
    prefix: str = ""
    """Tells it from another source that may have the same address."""

    @property
    def path(self) -> str:
        """What its name has after address and port."""
        parts = urlsplit(self.page.url)
        return ("" if parts.path == "/metrics" else parts.path) + (f"?{parts.query}" if parts.query else "")


def sources(metrics: Literal["auto", "off"] | Sequence[MetricsSource], wiring: Wiring) -> list[Source]:
    """What `target.metrics` asks for; of those of `auto` one is to be read.

    The target's own headers and TLS go to its own origin only; behind a proxy or a Unix socket nothing is looked for.
    Raises SpecError for an address that is none.
    """
    if metrics == "off" or (metrics == "auto" and (wiring.proxy or wiring.url.startswith("unix:"))):
        return []
    own = Page(wiring.url, wiring.headers, cache(partial(tls_context, **wiring.tls)))
    if metrics == "auto":
        target = urlsplit(wiring.url)
        return [Source(Page(f"{target.scheme}://{target.netloc}{path}", own.headers, own.tls)) for path in PATHS]
    found = []
    for index, source in enumerate(metrics):
        page = _page(source.url or "", own, f"spec.target.metrics[{index}]")
        found.append(Source(page, tuple(source.include) or KNOWN))
    alike = Counter((source.page.port, source.path) for source in found)
    return [
        Source(one.page, one.patterns, f"{one.page.host}/" if alike[one.page.port, one.path] > 1 else "")
        for one in found
    ]


def _page(url: str, own: Page, where: str) -> Page:
    try:
        destination(url, {})
    except ValueError as error:
        raise SpecError(
            [f"{where}: give the url of a metrics page, such as http://host:8000/metrics; {error}"]
        ) from None
    page = Page(url)
    return Page(url, own.headers, own.tls) if page.origin == own.origin else page


LOADING = ("warmup", "running", "pausing")
"""Phases in which the server is expected to answer, and what it said is read."""


class Seen(NamedTuple):
    """A page as it was seen, not yet read."""

    at_s: float
    """The middle between asking and having the answer; of the run's clock."""
    stage: int
    source: str
    """Its name in the results: address and port, and what more tells it from others."""
    patterns: tuple[str, ...]
    text: str
    started: str = ""
    """When the process started that answered, as its head said."""

    @property
    def process(self) -> str:
        """What tells it from others that answer at the same address: when it started; empty where it does not say."""
        found = _STARTED.search(self.text)
        return found[1] if found else self.started


@dataclass
class Replicas:
    """Those who answer at one address.

    One address may lead to several processes by turns, as a Service with a cluster IP does. Those of most Python servers
    can be told apart by when they started; each is a source of its own then, and is looked at more often.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    """Of processes, by their start."""
    seen_s: dict[str, float] = field(default_factory=dict)

    def looks(self, now_s: float) -> int:
        """How often to look, at once: each look is a new connection, which leads to any of them; three find most."""
        recent = sum(now_s - at_s < RESOLVE_S for at_s in self.seen_s.values())
        return min(3 * recent, MOST_LOOKS) if recent > 1 else 1

    def named(self, seen: Iterable[Seen]) -> list[Seen]:
        """One page of each process, under its own name."""
        pages = {}
        for one in seen:
            process = one.process
            number = self.numbers.setdefault(process, len(self.numbers))
            self.seen_s[process] = one.at_s
            pages[process] = one._replace(source=one.source + (f"#{number + 1}" if number else ""))
        return list(pages.values())


class ServerMetrics(Observer):
    """Reads the sources during the load. With `is_auto` they are tried in turn, and none may be there."""

    def __init__(self, sources: Sequence[Source], is_auto: bool, period_s: float = PERIOD_S) -> None:
        self._candidates = deque(sources) if is_auto else deque[Source]()
        self._sources = list(sources[:1] if is_auto else sources)
        self._is_auto, self._period_s = is_auto, period_s
        self._live = ServerLive()
        self._addresses: dict[str, tuple[float, list[list[str]]]] = {}
        self._replicas: dict[tuple[str, str], Replicas] = {}
        self._waiting: list[Seen] = []
        self._told: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def latest(self) -> dict[str, float]:
        """What is known now, under neutral names; counters since the run began."""
        return self._live.latest()

    async def open(self, run: RunView) -> None:
        """Begin; nothing waits for it."""
        if self._sources:
            self._live.clock = run.clock
            self._task = asyncio.get_running_loop().create_task(self._watch(run))

    def stage(self, run: RunView) -> None:
        """Look at once when a stage begins or ends, so that its edges are sharp."""
        self._wake.set()

    async def ready(self, run: RunView) -> None:
        """Look before a stage's load, so that its counters have an edge of their own; read it when there is time."""
        if self._task is None or self._task.done():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(EDGE_S):
                self._waiting += await self._look(run)

    async def loaded(self, run: RunView) -> None:
        """One last look, after the load."""
        if self._task is None or self._task.done():
            return
        await self._stop()
        await self._take(run, [*self._waiting, *await self._look(run)])

    async def close(self, outcome: Outcome) -> None:
        """End, however the run ended."""
        await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self, run: RunView) -> None:
        try:
            while self._sources:
                await self._turn(run)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._period_s):
                        await self._wake.wait()
                self._wake.clear()
        # Servers say all kinds of things, and a run must not end for what one says of itself.
        except Exception:
            LOG.warning("the server's metrics are no longer read", exc_info=True)

    async def _turn(self, run: RunView) -> None:
        seen = await self._look(run)
        if run.phase not in LOADING:
            self._waiting = seen  # to be read when there is time: the load comes first
            return
        waiting, self._waiting = self._waiting, []
        await self._take(run, [*waiting, *seen])
        if self._is_auto and not self._live.is_known:
            self._try_next()

    def _try_next(self) -> None:
        """One that has no page is not asked again, and the next one at once; one that did not answer is, after the next."""
        if self._sources[0] in self._candidates:
            self._candidates.rotate(-1)
        else:
            self._wake.set()
        self._sources = list(self._candidates)[:1]

    async def _look(self, run: RunView) -> list[Seen]:
        """Fetch all pages at once."""
        seen = await asyncio.gather(*(self._look_at(source, run) for source in self._sources))
        return [one for some in seen for one in some]

    async def _look_at(self, source: Source, run: RunView) -> list[Seen]:
        problem = ScrapeError("no address")
        try:
            families = await self._resolve(source.page, run.clock())
        except ScrapeError as error:
            families, problem = [], error
        for family in families:
            tried = await asyncio.gather(*(self._look_behind(source, address, run) for address in family))
            seen = [one for several in tried if isinstance(several, list) for one in several]
            if seen:
                return seen
            problem = next((one for one in tried if isinstance(one, ScrapeError)), problem)
        self._tell(source, problem, run)
        return []

    async def _look_behind(self, source: Source, address: str, run: RunView) -> list[Seen] | ScrapeError:
        """The pages of all processes that answer at an address, or what is wrong."""
        replicas = self._replicas.setdefault((source.page.url, address), Replicas())
        tried = await asyncio.gather(*(_see(source, address, run) for _ in range(replicas.looks(run.clock()))))
        seen = replicas.named(one for one in tried if isinstance(one, Seen))
        return seen or next(one for one in tried if isinstance(one, ScrapeError))

    async def _resolve(self, page: Page, now_s: float) -> list[list[str]]:
        at_s, found = self._addresses.get(page.url, (0.0, []))
        if not found or now_s - at_s > RESOLVE_S:
            try:
                found = await addresses(page)
            except ScrapeError:
                if not found:  # else what was known holds
                    raise
            self._addresses[page.url] = (now_s, found)
        return found

    def _tell(self, source: Source, problem: ScrapeError, run: RunView) -> None:
        """Say once what is wrong, when it matters: before the load the server may not be up yet."""
        if run.phase not in LOADING:
            return
        if isinstance(problem, NoPageError) and source in self._candidates:
            self._candidates.remove(source)
        url = urlsplit(source.page.url)._replace(query="").geturl()
        if url not in self._told:
            self._told.add(url)
            LOG.log(logging.DEBUG if self._is_auto else logging.WARNING, "no server metrics from %s: %s", url, problem)

    async def _take(self, run: RunView, seen: Iterable[Seen]) -> None:
        """Read pages, remember and store what they say; between two of them others get their turn."""
        for one in seen:
            if PARSER in sys.modules:
                await asyncio.sleep(0)
            else:
                await asyncio.get_running_loop().run_in_executor(None, import_module, PARSER)
            found = list(readings(one.text, one.patterns))
            self._live.add(one.at_s, one.source, found)
            with suppress(StoreError):  # the results will not fit either, and end the run
                run.store_server_metrics([(one.at_s, one.stage, one.source, *reading) for reading in found])


async def _see(source: Source, address: str, run: RunView) -> Seen | ScrapeError:
    """The page at one address, or what is wrong with it."""
    page, began_s = source.page, run.clock()
    stage = run.stage_index if run.phase == "running" else -1
    try:
        text, started = await fetch(page, address)
    except ScrapeError as error:
        return error
    if not is_exposition(text):
        return NoPageError("this is no Prometheus text")
    host = f"[{address}]" if ":" in address else address
    name = f"{source.prefix}{host}:{page.port}{source.path}"
    return Seen((began_s + run.clock()) / 2, stage, name, source.patterns, text, started)
