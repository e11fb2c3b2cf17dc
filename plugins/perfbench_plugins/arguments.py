"""`Arguments`: the flat view of a benchmark, under the names of `evalscope perf`; it is what plugins get.

Target, prompts and request parameters are inherited from the manifest's own sections. What EvalScope calls otherwise
(dataset, number, parallel, …) is declared here with the default and the meaning of the section's field. Which manifest
they stand for: `as_manifest`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from perfbench_api.described import MeansAs
from perfbench_api.resource import PerfBenchmark, SpecError, problems
from perfbench_api.sections import (
    Dataset,
    Endpoint,
    Load,
    Prompts,
    Request,
    Results,
    Runner,
    Stage,
    Target,
    Tls,
)
from perfbench_api.sections.load import USUAL_CONCURRENCY, USUAL_REQUESTS
from perfbench_api.values import Duration, Free, Section
from perfbench_plugins.as_evalscope import several
from perfbench_plugins.as_manifest import AsManifest, fields_of
from perfbench_plugins.as_manifest import resource_name as resource_name
from perfbench_plugins.foreign import WITHOUT_EFFECT, take_out
from perfbench_plugins.logger import get_logger
from perfbench_plugins.objectives import read_goodput, read_objective, read_until
from perfbench_plugins.urls import DEFAULT_URL, SUFFIXES, is_for_chat


def same_as(section: type[Section], name: str, **changes: Any) -> Any:
    """A field that means what another section's field means: its default and description, unless changed."""
    field: FieldInfo = section.model_fields[name]
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is not PydanticUndefined:
        changes.setdefault("default", default)
    same = Field(**changes)
    same.metadata.append(MeansAs(section, name))
    return same


class Arguments(AsManifest, Endpoint, Prompts, Request):
    """A benchmark, flat. Fields and defaults are those of `evalscope perf`; unknown ones are errors.

    As long as that contract is: plugins and programs use all of these fields, constructors and properties.
    """

    url: str | None = same_as(Endpoint, "url", default=DEFAULT_URL)
    api_key: SecretStr | None = None
    """API key, sent as `Authorization: Bearer`. Never written to a file, a log or the database."""
    headers: dict[str, str] = {}
    """HTTP headers of every request."""
    keep_alive: bool = same_as(Target, "keep_alive")
    no_test_connection: bool = False
    """Leave out the request that tests the connection first."""
    insecure: bool = False
    """Accept any TLS certificate. Only for tests."""
    ca_file: str | None = None
    """Trust the certificate authorities in this PEM file instead of the system's."""
    cert_file: str | None = same_as(Tls, "cert_file")
    key_file: str | None = same_as(
        Tls, "key_file", description="Its private key (PEM file); in cert_file if not given."
    )
    wait_for: Duration | None = same_as(
        Target, "wait_for", description="How long to wait for the target to answer; no wait if not given."
    )

    dataset: str = same_as(Dataset, "name")
    dataset_path: str | None = same_as(Dataset, "path")
    dataset_args: Free | None = same_as(Dataset, "args")
    dataset_offset: int = same_as(Dataset, "offset", ge=0)
    data_source: str | None = same_as(Dataset, "source")
    unique: bool = same_as(Dataset, "unique")
    measure_cache: bool = same_as(Dataset, "measure_cache")

    number: int | list[int] = USUAL_REQUESTS
    """Requests of each stage; conversations, with multi_turn. Several numbers make several stages. Without it a stage that
    has a duration goes on until that is over."""
    parallel: int | list[int] = USUAL_CONCURRENCY
    """Closed loop: requests under way at a time. Several numbers make several stages."""
    rate: float | list[float] = -1.0
    """Requests per second; -1 for as fast as `parallel` allows. Several numbers make several stages."""
    open_loop: bool = False
    """Open loop: start requests at `rate`, however many are under way."""
    profile: Free | None = None
    """Open loop: a rate over time in place of rate, such as '{"ramp": {"from": 1, "to": 20}}'; see docs/load.md."""
    arrival: str = same_as(Stage, "arrival")
    cv: float | None = same_as(Stage, "cv", gt=0, le=100)
    duration: Duration | None = same_as(Stage, "duration")
    until: str | None = None
    """End each stage as soon as a figure is known well enough: ttft.p99=5%; number or duration are the limit."""
    warmup_num: float = Field(0, ge=0)
    """Requests before the first stage that are not counted; below 1 a share of `number`."""
    repeat: int = same_as(Load, "repeat", ge=1, le=64)
    sleep_interval: Duration = same_as(Load, "pause")
    grace_period: Duration = same_as(Load, "grace_period")
    retry: int = Field(0, ge=0, le=100)
    """Send a request again, so often at most, that is answered with 429 or 503, after as long as the answer says."""
    max_failed_share: float = same_as(Load, "max_failed_share", ge=0, le=1)
    random_seed: int | None = same_as(Load, "random_seed")
    workers: int | None = same_as(Runner, "workers")
    messages: str = same_as(Results, "messages")

    objectives: list[str] = []
    """Bounds that the verdict is about: 'ttft.p99<=500ms' 'failed_share<=1%' 'request_throughput>=20'; a latency without a
    statistic is its p99."""
    goodput: list[str] = []
    """Limits of a single request: 'ttft<=500ms' 'tpot<=40ms'; goodput is of requests that keep all of them."""
    search_rate: str | None = None
    """In place of parallel and rate: find the highest rate, of those from 1 to 64 with 1:64, at which the objectives hold."""
    search_concurrency: str | None = None
    """The same of requests under way at a time: 1:64. Without objectives the knee of throughput against latency."""
    search_precision: str = "5%"
    """How well a search is to know the load."""
    name: str | None = None
    """Name of the run and of its folder; by the model if not given."""
    outputs_dir: str = "outputs"
    """Folder that gets a folder for each run."""
    no_timestamp: bool = False
    """Do not put the time of the run into the path."""
    debug: bool = False
    """Log more."""

    def __init__(self, **values: Any) -> None:
        foreign, wrong = take_out(values)
        if wrong:
            raise SpecError(wrong)
        for name in WITHOUT_EFFECT.keys() & {name for name, value in foreign.items() if value is not None}:
            get_logger().warning("%s has no effect: %s", name, WITHOUT_EFFECT[name])
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SpecError([_by_python_name(line) for line in problems(error, type(self))]) from None
        self._foreign = foreign

    @field_validator("number", "parallel", "rate", mode="after")
    @classmethod
    def _scalar_if_one(cls, value: Any) -> Any:
        if value == []:
            raise ValueError("is an empty list; give one value or several")
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    @field_validator("objectives", mode="after")
    @classmethod
    def _are_objectives(cls, value: list[str]) -> list[str]:
        for text in value:
            read_objective(text)
        return value

    @field_validator("until", "goodput", mode="after")
    @classmethod
    def _are_figures(cls, value: Any) -> Any:
        if value:
            read_until(value) if isinstance(value, str) else read_goodput(value)
        return value

    @model_validator(mode="after")
    def _lists_are_of_one_length(self) -> Self:
        numbers, loads = several(self.number), several(self.rate if self.open_loop else self.parallel)
        name = "rate" if self.open_loop else "parallel"
        if len(numbers) > 1 and len(numbers) != len(loads):
            raise ValueError(
                f"number has {len(numbers)} values and {name} has {len(loads)}; give as many, or one number"
            )
        if self.open_loop and not self.plays_recorded_times and any(rate <= 0 for rate in several(self.rate)):
            raise ValueError("open_loop needs a rate above 0")
        return self

    @model_validator(mode="after")
    def _one_seed_fixes_all(self) -> Self:
        if self.seed is not None and "random_seed" not in self.model_fields_set:
            self.random_seed = self.seed  # as EvalScope's seed_everything
        return self

    @model_validator(mode="after")
    def _say_whether_to_chat(self) -> Self:
        """As EvalScope, whose APIs' URLs say it; other APIs are asked when the run is prepared."""
        if self.apply_chat_template is None and self.api in SUFFIXES:
            with suppress(ValueError):  # no URL at all: told when the run is prepared
                self.__dict__["apply_chat_template"] = is_for_chat(self.url or "", self.api)  # it was not given
        return self

    @property
    def model_id(self) -> str:
        """Short name of the model: the last part of its path."""
        return (self.model or self.dataset or "unknown").rstrip("/").rsplit("/", 1)[-1]

    @contextmanager
    def output_context(self, path: str) -> Iterator[str]:
        """Write into another folder for a while."""
        before, self.outputs_dir = self.outputs_dir, path
        try:
            yield path
        finally:
            self.outputs_dir = before

    def for_stage(self, index: int) -> Self:
        """What a plugin sees of one stage: the numbers of this stage alone, in place of all stages' lists."""
        own = {name: several(getattr(self, name)) for name in ("number", "parallel", "rate")}
        return self.model_copy(update={name: values[min(index, len(values) - 1)] for name, values in own.items()})

    @classmethod
    def from_benchmark(cls, benchmark: PerfBenchmark, **secrets: Any) -> Self:
        """What plugins see of a manifest. `secrets`: api_key and headers, which a manifest only refers to."""
        spec = benchmark.spec
        stages = spec.load.stages
        return cls(
            **fields_of(spec.target, Endpoint),
            **fields_of(spec.dataset, Prompts),
            **fields_of(spec.request, Request) | {"extra_args": spec.request.extra_args or {}},
            dataset=spec.dataset.name,
            dataset_path=spec.dataset.path,
            dataset_args=spec.dataset.args,
            dataset_offset=spec.dataset.offset,
            data_source=spec.dataset.source,
            unique=spec.dataset.unique,
            measure_cache=spec.dataset.measure_cache,
            number=[stage.requests or USUAL_REQUESTS for stage in stages],
            parallel=[stage.concurrency or -1 for stage in stages],
            rate=[stage.rate or -1.0 for stage in stages],
            open_loop=all(stage.rate for stage in stages),
            warmup_num=spec.load.warmup.requests,
            random_seed=spec.load.random_seed,
            name=benchmark.metadata.name,
            **secrets,
        )


def _by_python_name(line: str) -> str:
    """A problem's line under the names that Python callers use: maxTokens -> max_tokens."""
    field, colon, rest = line.partition(":")
    if field == "manifest":  # of several arguments together
        return rest.strip()
    if rest.startswith(" unknown field"):
        near = get_close_matches(field, python_names(), n=1, cutoff=0.5)
        rest = f" unknown argument; did you mean {near[0]!r}?" if near else " unknown argument"
    names = {info.alias: name for name, info in Arguments.model_fields.items()}
    return names.get(field, field) + colon + rest


def python_names() -> Iterable[str]:
    """Names of all fields of Arguments."""
    return list(Arguments.model_fields)
