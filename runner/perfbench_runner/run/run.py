"""A run from manifest to summary: prepare everything that can go wrong early, make the load, write the files.

`prepare` raises SpecError, DatasetError, PluginError or TokenizerError before anything is sent; `execute` never loses
what was measured.
"""

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter, time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from perfbench_api.outcome import Outcome, StoredResults
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import MockTarget, Tls
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame
from perfbench_plugins.loading import load_entry_points, load_plugins
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, PluginError, PluginRegistry
from perfbench_runner.engine.control import Control, End, fork_shards
from perfbench_runner.load.feed import REFUSALS, Feed
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results import store
from perfbench_runner.results.store import Store, StoreError
from perfbench_runner.run import secrets
from perfbench_runner.shard.shard import Wiring, run_loop
from perfbench_runner.shard.transport import Limits, destination, tls_context

if TYPE_CHECKING:
    from perfbench_runner.mock.process import MockProcess

SUMMARY, MANIFEST = "summary.json", "manifest.yaml"
WRITER_NICENESS = 10
"""The control process yields the CPU to the shards: what it does can wait, a stamp cannot."""


@dataclass
class Prepared:
    """A run that is ready to start."""

    benchmark: PerfBenchmark
    arguments: Arguments
    feed: Feed
    wiring: Wiring
    workers: int
    cleanup: ExitStack = field(default_factory=ExitStack)
    calibration: dict[str, Any] | None = None
    mock: "MockProcess | None" = None
    """The mock endpoint, if the run has one of its own."""


@dataclass
class Finished:
    """A run that is over."""

    folder: Path
    results: Path
    """The results file; its temporary name where it could not be finished."""
    summary: Any
    end: End
    benchmark: PerfBenchmark

    @property
    def exit_code(self) -> int:
        """0 fine, 1 failed or too many errors, 130 interrupted."""
        return {"interrupted": 130, "failed": 1}.get(self.end.state, 0)

    @cached_property
    def outcome(self) -> Outcome:
        """The run's last word, for the pod's termination message."""
        summary = self.summary
        return Outcome(
            outcome="succeeded" if self.end.state == "complete" else self.end.state,
            reason=self.end.reason,
            message=self.end.message,
            verdict=summary.verdict,
            client=summary.client.state,
            client_reasons=summary.client.reasons[:5],
            stages=[compact(stage) for stage in summary.stages],
            results=self._stored(),
        )

    def _stored(self) -> StoredResults | None:
        with suppress(OSError, sqlite3.Error):  # such as of a disk that is full
            return _stored(self.results)
        return None


LATENCIES = ("ttft_s", "itl_s", "tpot_s", "e2e_latency_s", "scheduled_latency_s")
THROUGHPUTS = ("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps")


def compact(stage: Any) -> dict[str, Any]:
    """A stage's summary for status and termination message: the figures people look at, rounded."""
    latencies = {name: getattr(stage, name) for name in LATENCIES}
    return {
        "name": stage.name,
        "requests": stage.requests.model_dump(),
        "duration_s": round(stage.duration_s, 3),
        **{name: _rounded(getattr(stage, name)) for name in THROUGHPUTS},
        **{
            name: {key: _rounded(getattr(figures, key)) for key in ("mean", "p50", "p99")}
            for name, figures in latencies.items()
            if figures.count
        },
        **({"errors": stage.errors} if stage.errors else {}),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _stored(path: Path) -> StoredResults:
    """Size, checksum and rows of a results file."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        (rows,) = db.execute("SELECT count(*) FROM result").fetchone()
    finally:
        db.close()
    return StoredResults(path=str(path), bytes=path.stat().st_size, sha256=digest.hexdigest(), rows=rows)


def prepare(
    benchmark: PerfBenchmark,
    env: Mapping[str, str],
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Prepared:
    """Check and build all that a run needs; starts the mock endpoint if the manifest asks for it, sends nothing."""
    load_entry_points()
    for index, plugin in enumerate(benchmark.spec.plugins):
        if plugin.config_map is not None:
            raise SpecError([f"spec.plugins[{index}].configMap: works in a cluster only; give file or module here"])
    load_plugins(source for plugin in benchmark.spec.plugins if (source := plugin.file or plugin.module))
    target, cleanup = benchmark.spec.target, ExitStack()
    if target.service is not None:
        raise SpecError(["spec.target.service: works in a cluster only; give spec.target.url here"])
    key = api_key or secrets.api_key(target, env)
    all_headers = {**secrets.headers(target, env), **(headers or {})}
    arguments = Arguments.from_benchmark(benchmark, api_key=key, headers=all_headers)
    api_class = _registered(ApiRegistry, arguments.api, "spec.target.api")
    dataset_class = _registered(DatasetRegistry, arguments.dataset, "spec.dataset.name")
    if arguments.url:
        _check_url(arguments.url, {})
    arguments.url = api_class.complete_url(arguments.url or "http://127.0.0.1", arguments)
    if arguments.apply_chat_template is None:
        arguments.apply_chat_template = not urlsplit(arguments.url).path.endswith("/v1/completions")
    dataset = _made(dataset_class, arguments)
    if arguments.model is None and getattr(dataset, "requires_model", True):
        raise SpecError(
            ["spec.target.model: missing; name the model as the endpoint serves it (GET /v1/models lists them)"]
        )
    feed = Feed(arguments, dataset, _made(api_class, arguments))
    feed.first()
    tls = _tls(target.tls)
    mock = None
    try:
        if target.mock is not None:
            mock = start_mock(target.mock, cleanup)
            arguments.url = api_class.complete_url(mock.base_url, arguments)
        wiring = _wiring(arguments, feed.api, tls)
    except BaseException:
        cleanup.close()
        raise
    return Prepared(benchmark, arguments, feed, wiring, workers(benchmark.spec.runner.workers), cleanup, mock=mock)


def _registered(registry: PluginRegistry, name: str, field_name: str) -> type[Any]:
    """The plugin class of a name; raises PluginError that names the field."""
    try:
        return registry.get_class(name)
    except PluginError as error:
        raise PluginError(f"{field_name}: {error}") from None


def _made(plugin_class: type[Any], arguments: Arguments) -> Any:
    """A plugin for these arguments; raises PluginError that names file and line when it cannot be made."""
    try:
        return plugin_class(arguments)
    except REFUSALS:
        raise
    except Exception as error:  # a plugin's own code: whatever it raised, we name the plugin
        raise PluginError(f"plugin {plugin_class.__name__}: {blame(plugin_class, error)}") from error


def workers(asked: int | None) -> int:
    """Load-generating processes: as asked for, else one for each CPU, minus one for the writer."""
    if asked is not None:
        return asked
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cpus - 1)


def start_mock(target: MockTarget, cleanup: ExitStack) -> "MockProcess":
    """Start the bundled mock endpoint. It ends with `cleanup`."""
    from perfbench_runner.mock.process import MockProcess
    from perfbench_runner.mock.settings import MockSettings

    settings = MockSettings(
        ttft_s=target.ttft,
        itl_s=target.itl,
        ttft_jitter_s=target.ttft_jitter,
        itl_jitter_s=target.itl_jitter,
        output_tokens=target.output_tokens,
        error_rate=target.error_rate,
        stall_rate=target.stall_rate,
        stall_s=target.stall,
        broken_rate=target.broken_rate,
    )
    return cleanup.enter_context(MockProcess(settings))


def _tls(tls: Tls) -> dict[str, Any]:
    """Arguments of `tls_context`, tried out; raises SpecError."""
    arguments = {
        "ca_file": tls.ca.file if tls.ca else None,
        "cert_file": tls.cert_file,
        "key_file": tls.key_file,
        "insecure": tls.insecure_skip_verify,
    }
    if any(arguments.values()):
        try:
            tls_context(**arguments)  # type: ignore[arg-type]  # of the right types, by their names
        except OSError as error:
            raise SpecError([f"spec.target.tls: cannot use {arguments}: {error}"]) from None
    return arguments


def _wiring(arguments: Arguments, api: ApiPluginBase, tls: dict[str, Any]) -> Wiring:
    given = {name.lower() for name in arguments.headers}
    own = api.headers(arguments.api_key.get_secret_value() if arguments.api_key else None)
    headers = {name: value for name, value in own.items() if name.lower() not in given} | arguments.headers
    limits = Limits(arguments.connect_timeout, arguments.read_timeout, arguments.total_timeout)
    url = arguments.url or ""
    _check_url(url, headers)
    is_ours = isinstance(api, DefaultApiPlugin) and type(api).process_request is DefaultApiPlugin.process_request
    return Wiring(url, headers, limits, tls, None if is_ours else api, api)


def _check_url(url: str, headers: dict[str, str]) -> None:
    try:
        destination(url, headers)
    except ValueError as error:
        field_name = "spec.target.headers (or apiKey)" if headers else "spec.target.url"
        raise SpecError([f"{field_name}: {error}"]) from None


def new_folder(outputs: Path, name: str, with_time: bool = True, now: datetime | None = None) -> Path:
    """A folder that no other run has: outputs/20261123_101500/name, with a number if that is taken."""
    now = now or datetime.now()
    base = outputs / now.strftime("%Y%m%d_%H%M%S") if with_time else outputs
    for number in range(1, 10_000):
        folder = base / (name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError), store.told_in_words(folder, FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise StoreError(f"{base} is full of runs named {name}")


def own_folder(folder: Path) -> Path:
    """A folder given by the user, which must not hold results yet; raises StoreError."""
    taken = [name for name in (store.FILE, store.PARTIAL, SUMMARY) if (folder / name).exists()]
    if taken:
        raise StoreError(f"{folder} already holds {taken[0]} of another run; give another folder")
    with store.told_in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def execute(prepared: Prepared, folder: Path, observers: Sequence[Observer] = (), niceness: int = 0) -> Finished:
    """Make the load and write the files. Whatever happens, what was measured is stored and summarised."""
    benchmark = prepared.benchmark
    with prepared.cleanup:
        started = datetime.now(UTC)
        manifest = yaml.safe_dump(redacted(benchmark), sort_keys=False, allow_unicode=True)
        results = Store(folder, benchmark.spec.results.messages)
        with store.told_in_words(folder / MANIFEST):
            (folder / MANIFEST).write_text(manifest)
        results.set_run(**facts(prepared, manifest, started))
        results.commit()
        shards = fork_shards(prepared.workers, prepared.wiring)
        if niceness and os.nice(0) == 0:
            os.nice(niceness)

        async def go() -> Finished:
            control = Control(benchmark.spec, prepared.feed, shards, results, prepared.wiring.url, observers)
            end = await control.run()
            finished = _finish(prepared, folder, results, end, started, control.unmeasured)
            await control.observers.ask("close", finished.outcome)
            return finished

        finished: Finished = run_loop(go())
    return finished


def _finish(
    prepared: Prepared, folder: Path, results: Store, end: End, started: datetime, unmeasured: dict[str, int]
) -> Finished:
    path, summary, end = conclude(results, prepared.benchmark, end, started, unmeasured)
    summary.calibration = prepared.calibration
    _judge(summary, prepared.benchmark, end)
    with suppress(OSError):
        (folder / SUMMARY).write_text(summary.model_dump_json(indent=2) + "\n")
    return Finished(folder, path, summary, end, prepared.benchmark)


def conclude(
    results: Store, benchmark: PerfBenchmark, end: End, started: datetime, unmeasured: dict[str, int]
) -> tuple[Path, Any, End]:
    """Summarise a results file, put the summaries into it and close it: its path, the summary, how the run ended."""
    try:
        summary = summarise_run(results.db, benchmark, end, started, unmeasured)
        results.set_run(state=end.state, message=end.message)
        results.set_summaries([stage.model_dump(mode="json") for stage in summary.stages])
        return results.close(), summary, end
    except StoreError as error:
        end = End("failed", "CannotStore", f"{error} What was stored is in {results.path}")
        with closing(sqlite3.connect(results.path)) as db:
            return results.path, summarise_run(db, benchmark, end, started, unmeasured), end


def summarise_run(
    db: sqlite3.Connection, benchmark: PerfBenchmark, end: End, started: datetime, unmeasured: dict[str, int]
) -> Any:
    """The summary of a results file, objectives and verdict included."""
    # numpy is loaded only now: a fifth of a second that no request waits for.
    from perfbench_runner.results.figures import summarise, worst_client
    from perfbench_runner.results.objectives import evaluate, verdict
    from perfbench_runner.results.summary import Summary
    from perfbench_runner.server.figures import server_figures

    stages = summarise(db, server_figures)
    summary = Summary(
        name=benchmark.metadata.name,
        verdict=None,
        state=end.state,
        message=end.message,
        started_at=started.isoformat(timespec="seconds"),
        perfbench_version=own_version(),
        client=worst_client(stages),
        objectives=evaluate(benchmark.spec.objectives, stages),
        unmeasured_requests=unmeasured,
        stages=stages,
    )
    summary.verdict, summary.verdict_reasons = verdict(summary)
    return summary


def recover(folder: Path) -> Finished:
    """Finish the files of a run whose process was killed: what was committed becomes its results and summary."""
    partial, manifest = folder / store.PARTIAL, folder / MANIFEST
    if not partial.exists() or not manifest.exists():
        raise StoreError(f"{folder} holds no unfinished run: no {store.PARTIAL} and {MANIFEST} in it")
    benchmark = PerfBenchmark.read(yaml.safe_load(manifest.read_text()))
    results = Store(folder, benchmark.spec.results.messages)
    started = datetime.fromisoformat(results.fact("started_at"))
    end = End("interrupted", "Interrupted", "the run's process was killed; recovered afterwards")
    path, summary, end = conclude(results, benchmark, end, started, {})
    (folder / SUMMARY).write_text(summary.model_dump_json(indent=2) + "\n")
    return Finished(folder, path, summary, end, benchmark)


def _judge(summary: Any, benchmark: PerfBenchmark, end: End) -> None:
    """A run that went on to its end has still failed when too many requests did; that leaves the verdict open."""
    from perfbench_runner.results.objectives import verdict

    if end.state != "complete":
        return
    allowed = benchmark.spec.load.max_failed_share
    for stage in summary.stages:
        counts = stage.requests
        if counts.total and (not counts.succeeded or counts.failed / counts.total > allowed):
            kinds = ", ".join(f"{kind} {count}" for kind, count in stage.errors.items())
            end.state, end.reason = "failed", "TooManyFailures"
            end.message = (
                f"{counts.failed} of {counts.total} requests of stage {stage.name} failed ({kinds}),"
                f" more than load.maxFailedShare {allowed:g} allows"
            )
            summary.state, summary.message = "failed", end.message
            summary.verdict, summary.verdict_reasons = verdict(summary)
            return


def redacted(benchmark: PerfBenchmark) -> dict[str, Any]:
    """The resolved manifest, secret values left out."""
    data = benchmark.dump()
    for header in data["spec"]["target"].get("headers", []):
        if secrets.is_secret(header["name"]) and "value" in header:
            header["value"] = "REDACTED"
    return data


def facts(prepared: Prepared, manifest: str, started: datetime) -> dict[str, Any]:
    """What the results file says of the run, beside its results."""
    return {
        "name": prepared.benchmark.metadata.name,
        "manifest": manifest,
        "started_at": started.isoformat(timespec="milliseconds"),
        "epoch_time": repr(time()),
        "monotonic_time": repr(perf_counter()),
        "random_seed": str(prepared.benchmark.spec.load.random_seed),
        "url": prepared.wiring.url,
        "workers": str(prepared.workers),
        "state": "running",
        "versions": {"perfbench": own_version(), "python": platform.python_version()},
        "machine": {
            "host": platform.node(),
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
        },
    }


def own_version() -> str:
    """The version of perfbench."""
    try:
        return version("perfbench-operator")
    except PackageNotFoundError:
        return "0+unknown"
