"""All that a run needs, checked and built: what can go wrong goes wrong here, before anything is sent."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import SystemRandom
from time import monotonic
from typing import TYPE_CHECKING, Any

from perfbench_api.resource import PerfBenchmark, Spec, SpecError
from perfbench_api.sections import Load, MockTarget, Stage, Target, Tls
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.blame import blame, is_signal
from perfbench_plugins.loading import load_entry_points, load_plugins
from perfbench_plugins.registry import BUILTIN, DatasetRegistry, PluginError
from perfbench_runner.load.check import LIMIT_S, check, reachable
from perfbench_runner.load.mixed_feed import told_of
from perfbench_runner.load.repeats import Repeats, refuse_repeated_schedule, repeats_of, with_repeats
from perfbench_runner.load.requests import Requests, whose
from perfbench_runner.load.shares import refuse_idle_runners, refuse_what_needs_one
from perfbench_runner.load.timestamps import read_timestamps
from perfbench_runner.load.unreachable import unreachable
from perfbench_runner.run import disk, open_files, proxies, secrets
from perfbench_runner.run.cpus import available_cpus, default_workers
from perfbench_runner.run.kinds import (
    SEEDS,
    PreparedKind,
    Secrets,
    by_target,
    check_url,
    feed_of,
    kinds_of,
    longest,
    of_own_rows,
    room_of,
)
from perfbench_runner.shard.messages import Wiring
from perfbench_runner.shard.transport import Limits, tls_context
from perfbench_runner.stamps import wrong_wish

if TYPE_CHECKING:
    from perfbench_runner.mock.process import MockProcess

LOG = logging.getLogger(__name__)
_any_number = SystemRandom().randrange


@dataclass
class PreparedRun:
    """A run that is ready to start."""

    benchmark: PerfBenchmark
    manifest: dict[str, Any]
    """The benchmark as it is kept: without secrets."""
    arguments: Arguments
    feed: Requests
    wiring: Wiring
    workers: int
    cleanup: ExitStack = field(default_factory=ExitStack)
    calibration: dict[str, Any] | None = None
    mocks: "Sequence[MockProcess]" = ()
    """The mock endpoints that the run has of its own."""
    repeats: Repeats | None = None
    """What of its stages are repeats."""
    room: disk.Room | None = None
    """What its results will take on disk; None where nobody can know."""

    @property
    def models(self) -> str:
        """The model that is measured; those of several targets and workloads, each once."""
        spec = self.benchmark.spec
        return spec.models if spec.workloads or spec.targets else self.arguments.model or ""


def prepare(
    benchmark: PerfBenchmark,
    env: Mapping[str, str],
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    draw: Callable[[int], int] = _any_number,
) -> PreparedRun:
    """Check and build all that a run needs; starts the mock endpoint if the manifest asks for it, sends nothing.

    `draw` draws the seed of a run that is given none: runs differ, so that the second one does not measure what a server
    has cached of the first. Raises SpecError, DatasetError, PluginError or TokenizerError.
    """
    if wrong := wrong_wish(os.environ):  # which shards inherit
        raise SpecError([wrong])
    load_entry_points()
    _refuse_what_needs_a_cluster(benchmark.spec)
    load_plugins(source for plugin in benchmark.spec.plugins if (source := plugin.file or plugin.module))
    repeats = repeats_of(benchmark)
    benchmark = with_repeats(with_seed(secrets.resolved(benchmark, env), draw), repeats)
    cleanup = ExitStack()

    def secrets_of(target: Target) -> tuple[str | None, dict[str, str]]:
        return api_key or secrets.api_key(target, env), {**secrets.headers(target, env), **(headers or {})}

    has_key = _needs_usual_key(benchmark.spec, secrets_of)
    secrets.manifest(benchmark, has_key)  # from here on all secrets are known, whatever goes wrong
    kinds = kinds_of(benchmark, secrets_of)
    feed = feed_of(benchmark, kinds)
    feed.first()
    refuse_repeated_schedule(benchmark.spec.load, repeats, feed.has_schedule)
    benchmark = with_recorded_times(benchmark, feed.has_schedule)
    for stage in benchmark.spec.load.stages:
        if stage.timestamps is not None:
            read_timestamps(stage.timestamps)  # what is wrong with them shows before any load
    _check_search(benchmark.spec, feed.has_schedule)
    runner = benchmark.spec.runner
    refuse_what_needs_one(benchmark.spec.load, feed.has_schedule, runner.replicas, runner.on_loss == "continue")
    refuse_idle_runners(benchmark.spec.load, runner.replicas)
    for kind in of_own_rows(kinds):
        with told_of(kind.names.whose):
            _check_rows(kind, benchmark.spec.load)
    workers = benchmark.spec.runner.workers or default_workers(available_cpus())
    files = open_files.provide(_hardest(benchmark.spec), longest(kinds), workers)
    for text in filter(None, (*unreachable(benchmark.spec.load), files)):
        LOG.warning("%s", text)
    try:
        wiring, mocks = _wired(kinds, env, cleanup)
        _check_retry(benchmark.spec, wiring)
    except BaseException:
        cleanup.close()
        raise
    kept = secrets.manifest(benchmark, has_key)
    return PreparedRun(
        benchmark, kept, kinds[0].arguments, feed, wiring, workers, cleanup, mocks=mocks, repeats=repeats,
        room=room_of(benchmark.spec, kinds, env),
    )  # fmt: skip


def _wired(
    kinds: Sequence[PreparedKind], env: Mapping[str, str], cleanup: ExitStack
) -> tuple[Wiring, "list[MockProcess]"]:
    """How the requests of each kind are sent; the mock endpoints are started that they are sent to."""
    wirings, mocks = list[Wiring](), list["MockProcess"]()
    for part in by_target(kinds):
        target = part[0].spec.target
        with told_of(whose(part[0].names.target, None)):
            tls = _tls(target.tls)
            if target.mock is not None:
                mocks.append(start_mock(target.mock, cleanup))
                for kind in part:
                    kind.send_to(mocks[-1].base_url)
            elif text := proxies.ignored(target.proxy, part[0].arguments.url or "", env):
                LOG.warning("%s", text)
            wirings += [_wiring(kind.arguments, kind.api, tls, target.keep_alive, env) for kind in part]
    return replace(wirings[0], others=tuple(wirings[1:])), mocks


def _needs_usual_key(spec: Spec, secrets_of: Secrets) -> bool:
    """Whether a target that names no API key has one all the same."""
    found = False
    for target, part in spec.of_targets():
        with told_of(whose(target, None)):
            found |= bool(secrets_of(part.target)[0]) and part.target.api_key is None
    return found


def _check_rows(kind: PreparedKind, load: Load) -> None:
    """Look at the rows of the user's own file, which may be broken late. Others' plugins are not run beside the load."""
    dataset, is_ours = kind.spec.dataset, type(kind.feed.dataset).__module__.startswith(BUILTIN)
    if not dataset.path or dataset.prompt is not None or not is_ours:
        return
    builds = type(kind.api).__module__.startswith(BUILTIN)
    most = reachable(load, dataset.offset, kind.feed.has_schedule)
    checked = check(kind.feed_again(), most, builds, monotonic)
    if not checked.is_complete:
        LOG.warning(
            "dataset.path: %s rows were looked at, in %g s; one that is broken later ends the run when it is reached",
            f"{checked.entries:,}", LIMIT_S,
        )  # fmt: skip


def with_seed(benchmark: PerfBenchmark, draw: Callable[[int], int]) -> PerfBenchmark:
    """The benchmark with a seed: its own, or one that is drawn."""
    if benchmark.spec.load.random_seed is not None:
        return benchmark
    benchmark = benchmark.model_copy(deep=True)
    benchmark.spec.load.random_seed = draw(SEEDS)
    return benchmark


def _hardest(spec: Spec) -> list[Stage]:
    """The stages, with the lanes at all targets, or the hardest that a search can come to."""
    search = spec.load.search
    if search is not None:
        return [Stage(**search.stage("search", search.ends[1], search.max_requests, None))]
    return [stage.at_each(spec.side_by_side) for stage in spec.load.stages]


def _check_search(spec: Spec, has_schedule: bool) -> None:
    if (search := spec.load.search) is None:
        return
    from perfbench_runner.engine.searching import too_small_a_budget

    if search.rate is not None and has_schedule:
        text = f"dataset {spec.dataset.name!r} has times of its own; search for a concurrency"
        raise SpecError([f"spec.load.search.rate: {text}"])
    if problem := too_small_a_budget(spec):
        raise SpecError([problem])


def _refuse_what_needs_a_cluster(spec: Spec) -> None:
    for index, plugin in enumerate(spec.plugins):
        if plugin.config_map is not None:
            raise SpecError([f"spec.plugins[{index}].configMap: works in a cluster only; give file or module here"])
    if spec.cancel:
        raise SpecError(["spec.cancel: ends a run in a cluster, and this one has not begun; leave it out"])
    for name, part in spec.of_targets():
        with told_of(whose(name, None)):
            _refuse_target_in_a_cluster(part.target)


def _refuse_target_in_a_cluster(target: Target) -> None:
    if target.service is not None:
        raise SpecError(["spec.target.service: works in a cluster only; give spec.target.url here"])
    if target.tls.ca is not None and target.tls.ca.file is None:
        raise SpecError(["spec.target.tls.ca: a Secret or ConfigMap works in a cluster only; give file here"])


def benchmark_of(arguments: Arguments) -> dict[str, Any]:
    """The manifest, as data, that flags stand for; without a load where none was asked for and the dataset brings one."""
    data = arguments.to_benchmark().dump()
    with suppress(PluginError):  # an unknown dataset: told when the run is prepared
        if not arguments.asks_for_load and DatasetRegistry.get_class(arguments.dataset).provides_arrival_schedule:
            del data["spec"]["load"]["stages"]
    return data


def _whose(spec: Spec) -> str:
    return (
        "a run of several workloads or targets" if spec.workloads or spec.targets else f"dataset {spec.dataset.name!r}"
    )


def with_recorded_times(benchmark: PerfBenchmark, has_schedule: bool) -> PerfBenchmark:
    """The benchmark with the load that its dataset brings, where it has recorded times and no load was asked for.

    Raises SpecError where recorded times are asked for and the dataset has none.
    """
    load = benchmark.spec.load
    if has_schedule and "stages" not in load.model_fields_set and load.search is None:
        benchmark = benchmark.model_copy(deep=True)
        benchmark.spec.load.stages = [Stage(arrival="recorded")]
    for index, stage in enumerate(load.stages):
        if stage.arrival == "recorded" and not has_schedule:
            raise SpecError(
                [
                    f"spec.load.stages[{index}].arrival: {_whose(benchmark.spec)} has no recorded times;"
                    " give rate with arrival poisson or constant, or concurrency"
                ]
            )
    return benchmark


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
        slots=target.slots,
        prefill_speed=target.prefill_speed,
        batch_slowdown=target.batch_slowdown,
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
    files = {"ca.file": tls.ca.file if tls.ca else None, "certFile": tls.cert_file, "keyFile": tls.key_file}
    for name, file in files.items():
        _check_readable(f"spec.target.tls.{name}", file)
    if any(arguments.values()):
        try:
            tls_context(**arguments)  # type: ignore[arg-type]  # of the right types, by their names
        except OSError as error:
            given = " and ".join(f"{name} {file}" for name, file in files.items() if file)
            what = re.sub(r"^\[.*?\] *| *\(_ssl\.c:\d+\)$", "", str(error))
            raise SpecError(
                [f"spec.target.tls: {given}: no usable PEM file of certificates (and key) in its order: {what}"]
            ) from None
    return arguments


def _check_readable(field_name: str, file: str | None) -> None:
    if file is not None:
        try:
            Path(file).open("rb").close()
        except OSError as error:
            raise SpecError([f"{field_name}: cannot read {file}: {error.strerror}"]) from None


def _wiring(
    arguments: Arguments, api: ApiPluginBase, tls: dict[str, Any], keep_alive: bool, env: Mapping[str, str]
) -> Wiring:
    given = {name.lower() for name in arguments.headers}
    own = _own_headers(api, arguments.api_key.get_secret_value() if arguments.api_key else None)
    headers = {name: value for name, value in own.items() if name.lower() not in given} | arguments.headers
    headers |= {} if keep_alive else {"Connection": "close"}
    limits = Limits(arguments.connect_timeout, arguments.read_timeout, arguments.total_timeout)
    url = arguments.url or ""
    check_url(url, headers)
    is_ours = isinstance(api, DefaultApiPlugin) and type(api).process_request is DefaultApiPlugin.process_request
    proxy = proxies.proxy_of(arguments.proxy, url, env)
    return Wiring(url, headers, limits, tls, None if is_ours else api, api, proxy)


def _check_retry(spec: Spec, wiring: Wiring) -> None:
    if spec.load.retry is not None and wiring.plugin is not None:
        raise SpecError(
            [
                f"spec.load.retry: API plugin {type(wiring.plugin).__name__} sends requests by itself (process_request), and"
                " nobody else sees how they were answered; send them again there, and leave out retry"
            ]
        )


def _own_headers(api: ApiPluginBase, key: str | None) -> dict[str, str]:
    """The API plugin's own headers; raises PluginError where it has none of a kind that can be sent."""
    try:
        found = api.headers(key)
        return {str(name): str(value) for name, value in found.items()}
    except (Exception, SystemExit) as error:  # a plugin's own code: whatever it raised, we name the plugin
        if is_signal(error):
            raise
        raise PluginError(f"API plugin {type(api).__name__}: headers: {blame(api, error)}") from error
