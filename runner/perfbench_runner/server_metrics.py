"""What the server says of itself during a run: its Prometheus metrics, read every second by the control process.

Every reading is stored under its server's name (table server_metric); `FIGURES` and `RATIOS` say which neutral name it
has, for the live metrics here and for the summary in server_figures.py.
Whatever goes wrong here is told in the log at most: a run never fails for its server's metrics.
"""

import asyncio
import logging
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
from perfbench_runner.shard import Wiring
from perfbench_runner.store import StoreError
from perfbench_runner.transport import tls_context

PERIOD_S = 1.0
RESOLVE_S = 10.0
"""How often the host is looked up again: pods come and go."""
LOG = logging.getLogger(__name__)


class Name(NamedTuple):
    """A metric under its server's own name."""

    name: str
    scale: float = 1.0
    """To come to our unit."""
    label: str = ""
    """Only samples with this label, as JSON: `"request_type": "active"`."""


@dataclass(frozen=True)
class Figure:
    """A neutral name, and where it is found: of `names`, the first that a source has."""

    name: str
    kind: Literal["sum", "mean", "counter"]
    """Of several samples (replicas, GPUs): gauges are added or averaged, counters added."""
    names: tuple[Name, ...]


@dataclass(frozen=True)
class Ratio:
    """A neutral name for one counter's increase over another's; a server's own gauge stands in where it has no counters."""

    name: str
    counters: tuple[tuple[Name, Name], ...]
    gauges: tuple[Name, ...] = ()


FIGURES = (
    Figure(
        "running",
        "sum",
        (
            Name("vllm:num_requests_running"),
            Name("sglang:num_running_reqs"),
            Name("tgi_batch_current_size"),
            Name("llamacpp:requests_processing"),
            Name("nv_trt_llm_request_metrics", label='"request_type": "active"'),
        ),
    ),
    Figure(
        "waiting",
        "sum",
        (
            Name("vllm:num_requests_waiting"),
            Name("sglang:num_queue_reqs"),
            Name("tgi_queue_size"),
            Name("llamacpp:requests_deferred"),
            Name("nv_trt_llm_request_metrics", label='"request_type": "waiting"'),
            Name("nv_inference_pending_request_count"),
        ),
    ),
    Figure(
        "kv_cache_usage",
        "mean",
        (
            Name("vllm:kv_cache_usage_perc"),
            Name("vllm:gpu_cache_usage_perc"),  # until vLLM 0.10
            Name("sglang:token_usage"),
            Name("llamacpp:kv_cache_usage_ratio"),
            Name("nv_trt_llm_kv_cache_block_metrics", label='"kv_cache_block_type": "fraction"'),
        ),
    ),
    Figure("gpu_utilization", "mean", (Name("DCGM_FI_DEV_GPU_UTIL", 0.01), Name("nv_gpu_utilization"))),
    Figure("gpu_power_w", "sum", (Name("DCGM_FI_DEV_POWER_USAGE"), Name("nv_gpu_power_usage"))),
    Figure("gpu_memory_used_bytes", "sum", (Name("DCGM_FI_DEV_FB_USED", 2.0**20), Name("nv_gpu_memory_used_bytes"))),
    Figure(
        "gpu_energy_j", "counter", (Name("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1e-3), Name("nv_energy_consumption"))
    ),
    Figure(
        "prompt_tokens",
        "counter",
        (
            Name("vllm:prompt_tokens_total"),
            Name("sglang:prompt_tokens_total"),
            Name("tgi_request_input_length_sum"),
            Name("llamacpp:prompt_tokens_total"),
        ),
    ),
    Figure(
        "generation_tokens",
        "counter",
        (
            Name("vllm:generation_tokens_total"),
            Name("sglang:generation_tokens_total"),
            Name("tgi_request_generated_tokens_sum"),
            Name("llamacpp:tokens_predicted_total"),
        ),
    ),
    Figure("preemptions", "counter", (Name("vllm:num_preemptions_total"), Name("sglang:num_retracted_requests_total"))),
)
RATIOS = (
    Ratio(
        "prefix_cache_hit_ratio",
        (
            (Name("vllm:prefix_cache_hits_total"), Name("vllm:prefix_cache_queries_total")),
            (Name("vllm:gpu_prefix_cache_hits_total"), Name("vllm:gpu_prefix_cache_queries_total")),
            (Name("sglang:cached_tokens_total"), Name("sglang:prompt_tokens_total")),
        ),
        (Name("sglang:cache_hit_rate"),),
    ),
    Ratio(
        "spec_decode_acceptance",
        ((Name("vllm:spec_decode_num_accepted_tokens_total"), Name("vllm:spec_decode_num_draft_tokens_total")),),
        (Name("sglang:spec_accept_rate"),),
    ),
)
KNOWN = tuple(
    dict.fromkeys(
        name.name
        for names in (
            *(figure.names for figure in FIGURES),
            *((*sum(ratio.counters, ()), *ratio.gauges) for ratio in RATIOS),
        )
        for name in names
    )
)
"""The servers' names of all that is kept where the manifest names nothing."""


@dataclass(frozen=True)
class Source:
    """A page to read, and what to keep of it."""

    page: Page
    patterns: tuple[str, ...] = KNOWN


def sources(metrics: Literal["auto", "off"] | Sequence[MetricsSource], wiring: Wiring) -> list[Source]:
    """What `target.metrics` asks for. The target's own headers and TLS go to its own origin only.

    Raises SpecError for an address that is none.
    """
    if metrics == "off":
        return []
    target = urlsplit(wiring.url)
    origin = f"{target.scheme}://{target.netloc}"
    tls = cache(partial(tls_context, **wiring.tls))
    if metrics == "auto":
        return [Source(Page(f"{origin}/metrics", wiring.headers, tls))]
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


class ServerMetrics(Observer):
    """Reads the sources during the load. With `is_auto` a server without metrics is none to speak of."""

    def __init__(self, sources: Sequence[Source], is_auto: bool, period_s: float = PERIOD_S) -> None:
        self._sources, self._is_auto, self._period_s = sources, is_auto, period_s
        self._addresses: dict[str, tuple[float, list[list[str]]]] = {}
        self._waiting: list[Seen] = []
        self._latest: dict[str, list[Reading]] = {}
        self._told: set[str] = set()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def latest(self) -> dict[str, float]:
        """The last readings under neutral names."""
        return neutral(self._latest.values())

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
            elif not seen and not self._waiting and self._is_auto:
                return
            else:
                await asyncio.get_running_loop().run_in_executor(None, import_module, "prometheus_client.parser")
                self._take(control, [*self._waiting, *seen])
                self._waiting = []
                if self._is_auto and not self._latest:
                    return
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
            tried = await asyncio.gather(*(_see(source, address, control) for address in family))
            seen = [one for one in tried if isinstance(one, Seen)]
            if seen:
                return seen
            problem = next((one for one in tried if isinstance(one, str)), problem)
        self._tell(source.page.url, problem)
        return []

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
            latest[one.address] = found
            rows += [(one.at_s, one.stage, one.address, *reading) for reading in found]
        self._latest = latest if any(latest.values()) else self._latest
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


def neutral(readings_by_source: Iterable[Sequence[Reading]]) -> dict[str, float]:
    """One moment's readings under neutral names; counters and ratios count since the servers started."""
    known = [reading for readings in readings_by_source for reading in _first_names(readings)]
    found: dict[str, float] = {}
    for figure in FIGURES:
        values = [value for name, value in known if name == figure.name]
        if values:
            found[figure.name] = sum(values) / (len(values) if figure.kind == "mean" else 1)
    for ratio in RATIOS:
        parts = {part: sum(v for name, v in known if name == f"{ratio.name}/{part}") for part in ("hits", "of")}
        gauges = [value for name, value in known if name == f"{ratio.name}/gauge"]
        if parts["of"]:
            found[ratio.name] = parts["hits"] / parts["of"]
        elif gauges:
            found[ratio.name] = sum(gauges) / len(gauges)
    return found


def _first_names(readings: Sequence[Reading]) -> list[tuple[str, float]]:
    """One source's readings by neutral names."""
    names = {reading.name for reading in readings}
    return [
        (neutral_name, reading.value * name.scale)
        for neutral_name, name in chosen(names)
        for reading in readings
        if reading.name == name.name and name.label in reading.labels
    ]


def chosen(names: set[str]) -> list[tuple[str, Name]]:
    """What to make of the names that one source has: (neutral name, metric); ratios have parts: hits, of, gauge."""
    found = []
    for figure in FIGURES:
        found += [(figure.name, name) for name in figure.names if name.name in names][:1]
    for ratio in RATIOS:
        pairs = [pair for pair in ratio.counters if {name.name for name in pair} <= names]
        if pairs:
            found += [(f"{ratio.name}/hits", pairs[0][0]), (f"{ratio.name}/of", pairs[0][1])]
        else:
            found += [(f"{ratio.name}/gauge", name) for name in ratio.gauges if name.name in names][:1]
    return found
