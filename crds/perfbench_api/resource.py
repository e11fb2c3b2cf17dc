"""PerfBenchmark: the whole resource. Errors name the field and say what to do."""

import re
from datetime import date
from difflib import get_close_matches
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator, model_validator

from perfbench_api import GROUP, KIND, VERSION
from perfbench_api.described import described
from perfbench_api.redaction import shown, without_keys
from perfbench_api.sections import (
    Dataset,
    Goodput,
    Load,
    Objective,
    OneTarget,
    PluginSource,
    Price,
    Request,
    Results,
    Runner,
    Target,
    Workload,
)
from perfbench_api.sections.goodput import GOODPUT
from perfbench_api.sections.target import check_address
from perfbench_api.sections.targets import check_targets
from perfbench_api.sections.workloads import check_names
from perfbench_api.values import Section, Truth, parse_share


class SpecError(ValueError):
    """A manifest that cannot be run; `problems` has one line for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Spec(Section):
    """What to measure, with what, how hard, and what is good enough."""

    targets: list[OneTarget] = Field([], max_length=8)
    """Several endpoints in one run, to be compared: all get the same prompts, in the same order and at the same times."""
    target: Target = Field(Target(), validate_default=True)
    """The model endpoint to measure; of several, what they have in common. Not needed where targets say all."""
    dataset: Dataset = Dataset()
    """What to send."""
    request: Request = Request()
    """The parameters of every request."""
    workloads: list[Workload] = Field([], max_length=16)
    """Mixed traffic: several kinds of requests in one run, each with a dataset, parameters and a model of its own."""
    load: Load = Load()
    """How hard and how long to load the target."""
    goodput: Goodput = Goodput()
    """Limits of a single request; goodput is of those that keep all of them."""
    objectives: list[Objective] = Field([], max_length=64)
    """Objectives (SLOs); the verdict says whether they were met."""
    price: Price = Price()
    """What the target costs; figures say what its tokens cost then."""
    confidence: float = Field(0.95, ge=0.5, le=0.9999)
    """How sure a verdict must be: an objective is kept or broken only if its value is beside the bound with this probability."""
    results: Results = Results()
    """What is kept, and where."""
    runner: Runner = Runner()
    """The processes and pods that generate the load."""
    plugins: list[PluginSource] = Field([], max_length=32)
    """Plugins of your own to load."""
    priority: int = Field(0, ge=-1_000_000, le=1_000_000)
    """Of the benchmarks that wait for the same target or for a free place, the highest starts first, then the oldest."""
    suspend: bool = False
    """Do not start yet. A run that has started is not stopped: see cancel."""
    cancel: bool = False
    """End the run now; what was measured is kept."""
    ttl_seconds_after_finished: int | None = Field(None, ge=0, le=2**31 - 1)
    """Delete the PerfBenchmark this long after its end; its results stay."""

    @field_validator("target", mode="after")
    @classmethod
    def _target_has_an_address(cls, target: Target, info: ValidationInfo) -> Target:
        if info.data.get("targets") == []:  # where there are some, each is asked
            check_address(target)
        return target

    @model_validator(mode="after")
    def _targets_can_be_compared(self) -> Self:
        check_targets(self.targets, self.target, self.load)
        return self

    @model_validator(mode="after")
    def _objectives_can_steer_a_search(self) -> Self:
        """A search counts the requests that keep an objective, so that this must be a share of them."""
        for index, objective in enumerate(self.objectives if self.load.search is not None else ()):
            if objective.stage is not None:
                raise ValueError(f"objectives[{index}].stage: a search has no stages of given names; leave it out")
            if objective.prompt_tokens is not None:
                raise ValueError(
                    f"objectives[{index}].promptTokens: a search counts all requests, and of failed ones the length is not"
                    " known; bound it in a run of its own"
                )
            if not objective.can_steer_a_search:
                raise ValueError(
                    f"objectives[{index}]: a search needs a share of requests to go by: a percentile of a latency (p50 to"
                    " p99_9) or failed_share with max, or goodput_share with min; bound the others in a run of their own"
                )
        return self

    @model_validator(mode="after")
    def _goodput_has_limits(self) -> Self:
        for number, objective in enumerate(self.objectives):
            limits = self.limits
            asked = limits.values() if objective.workload is None else [limits.get(objective.workload, {})]
            if objective.metric in GOODPUT and not any(asked):
                raise ValueError(
                    f"objectives[{number}]: {objective.metric} needs limits; give some, such as goodput: {{ttft: 500ms}}"
                )
        return self

    @model_validator(mode="after")
    def _workloads_can_be_told_apart(self) -> Self:
        check_names("workloads", [workload.name for workload in self.workloads])
        return self

    @model_validator(mode="after")
    def _objectives_are_of_what_there_is(self) -> Self:
        for what, parts in (("workload", self.workloads), ("target", self.targets)):
            names = [part.name for part in parts]
            for index, objective in enumerate(self.objectives):
                name = getattr(objective, what)
                if name is not None and name not in names:
                    there = f"there are {', '.join(names)}" if names else f"there are no {what}s"
                    raise ValueError(f"objectives[{index}].{what}: no {what} is named {name!r}; {there}")
        return self

    @model_validator(mode="after")
    def _workloads_leave_nothing_unused(self) -> Self:
        for name, usual in (("dataset", Dataset()), ("request", Request()), ("goodput", Goodput())):
            given = [getattr(workload, name) is not None for workload in self.workloads]
            if self.workloads and all(given) and getattr(self, name) != usual:
                raise ValueError(f"{name}: no workload would use it, since each has its own; leave it out")
        choices = {part.request.n_choices or 1 for part in self.parts()}
        if len(choices) > 1:
            raise ValueError(
                "workloads: nChoices differs between them, so that a time per output token of all together would mean"
                " nothing; give all the same, or measure them in runs of their own"
            )
        return self

    @property
    def side_by_side(self) -> int:
        """How many targets are sent to at the same time; 1 where they take turns, or there is one."""
        return len(self.targets) if self.targets and self.load.split == "sideBySide" else 1

    def parts(self) -> list[Self]:
        """The spec of each kind of requests as if it were the only one: of each target each workload, in this order.

        The spec itself where there is one kind.
        """
        return [part for _, each in self.of_targets() for _, part in each.of_workloads()]

    def of_targets(self) -> list[tuple[str | None, Self]]:
        """By name, the spec of each target as if it were the only one; without a name the spec itself where there are none."""
        if not self.targets:
            return [(None, self)]
        return [
            (each.name, self.model_copy(update={"target": each.over(self.target), "targets": []}))
            for each in self.targets
        ]

    def of_workloads(self) -> list[tuple[str | None, Self]]:
        """The same of each workload."""
        return [(each.name, self._of(each)) for each in self.workloads] or [(None, self)]

    @property
    def limits(self) -> dict[str | None, dict[str, float]]:
        """Limits of a single request, seconds by metric: those of each workload by its name; None: of all others."""
        usual: dict[str | None, dict[str, float]] = {None: self.goodput.limits}
        return usual | {each.name: (each.goodput or self.goodput).limits for each in self.workloads}

    @property
    def models(self) -> str:
        """The model that is measured; those of several targets and workloads, each once."""
        return ", ".join(dict.fromkeys(model for part in self.parts() if (model := part.target.model)))

    @property
    def datasets(self) -> str:
        """The name of the dataset; those of several workloads, each once."""
        return ", ".join(dict.fromkeys(part.dataset.name for part in self.parts()))

    def _of(self, workload: Workload) -> Self:
        own = {"model": workload.model, "api": workload.api, "api_args": workload.api_args}
        given = {name: value for name, value in own.items() if value is not None}
        changes = {
            "target": self.target.model_copy(update=given),
            "dataset": workload.dataset or self.dataset,
            "request": workload.request or self.request,
            "goodput": workload.goodput or self.goodput,
            "workloads": [],
        }
        return self.model_copy(update=changes)

    @model_validator(mode="after")
    def _stage_names_are_unique(self) -> Self:
        titles = [stage.title for stage in self.load.stages]
        for objective in self.objectives:
            if objective.stage is not None and objective.stage not in titles:
                raise ValueError(f"objectives: no stage is named {objective.stage!r}; there are {', '.join(titles)}")
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"load.stages: two stages are named {title!r}; give each its own name")
        return self


class Metadata(BaseModel):
    """Kubernetes metadata; fields that perfbench does not use are kept as they are."""

    model_config = {"extra": "allow", "defer_build": True}
    name: str = Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    namespace: str | None = None
    labels: dict[str, str] = {}


class PerfBenchmark(BaseModel):
    """A benchmark of a model endpoint, as `kubectl apply` and `perfbench run` take it."""

    model_config = {"extra": "forbid", "defer_build": True}
    api_version: Literal["perfbench.io/v1alpha1"] = Field("perfbench.io/v1alpha1", alias="apiVersion")
    kind: Literal["PerfBenchmark"] = "PerfBenchmark"
    metadata: Metadata
    spec: Spec
    status: dict[str, Any] | None = None

    @classmethod
    def read(cls, data: Any) -> Self:
        """Validate a manifest's data; raises SpecError with a line for each problem."""
        if not isinstance(data, dict):
            raise SpecError([f"the manifest is not a {KIND}: expected fields apiVersion, kind, metadata and spec"])
        if data.get("kind", KIND) != KIND or str(data.get("apiVersion", GROUP)).partition("/")[0] != GROUP:
            raise SpecError([f"kind: {data.get('apiVersion')} {data.get('kind')} is not a {KIND} ({GROUP}/{VERSION})"])
        try:
            return cls.model_validate(data, by_alias=True, by_name=False)
        except ValidationError as error:
            raise SpecError(problems(error, cls)) from None

    def dump(self) -> dict[str, Any]:
        """The manifest with every default filled in, as data for YAML."""
        data = self.model_dump(by_alias=True, mode="json", exclude_none=True)
        _keep_nulls(self.spec, data["spec"])
        data.pop("status", None)
        return {"apiVersion": data.pop("apiVersion"), "kind": data.pop("kind"), **data}


def _keep_nulls(section: BaseModel, data: dict[str, Any]) -> None:
    """Put back the nulls that have a meaning: `temperature: null` is not the same as no temperature given."""
    for name, field in type(section).model_fields.items():
        value, key = getattr(section, name), field.alias or name
        if value is None and field.default is not None:
            data[key] = None
        elif isinstance(value, BaseModel):
            _keep_nulls(value, data[key])
        elif isinstance(value, list):
            for item, dumped in zip(value, data[key], strict=True):
                if isinstance(item, BaseModel):
                    _keep_nulls(item, dumped)


def problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A pydantic error as lines `field: what is wrong; what to do`, the outermost problems first."""
    lines: dict[Any, str] = {}
    for item in error.errors(include_url=False):
        is_choice = any(map(_is_branch, item["loc"]))  # of a field with several types, only the first is reported
        line = _problem(item, model)
        lines.setdefault(line.partition(":")[0] if is_choice else line, line)
    return list(lines.values())


def _problem(item: Any, model: type[BaseModel]) -> str:
    kind, text = item["type"], str(item["msg"])
    *before, last = item["loc"] or ("",)
    loc = tuple(part for part in before if not _is_branch(part))
    if item["loc"] and (kind == "extra_forbidden" or not _is_branch(last)):  # an unknown field may be called anything
        loc = (*loc, last)
    path = _path(loc)
    if kind == "extra_forbidden":
        names = list(field_names(model, loc[:-1]))
        near = get_close_matches(str(loc[-1]), names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}" if names else "it takes none"
        return f"{path}: unknown field; {hint}"
    if kind == "missing":
        return f"{path}: missing; it must be given"
    if isinstance(item["input"], Truth):
        return f"{path}: must be a number, got {item['input']}"
    if kind == "value_error":
        return f"{path}: {without_keys(text.removeprefix('Value error, '))}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        text = "must be a map of fields"
    if item["input"] is None:
        return f"{path}: {text[0].lower()}{text[1:]}; it is empty"
    if kind == "float_parsing" and re.fullmatch(r"[0-9]+(\.[0-9]+)?%", str(item["input"])):
        return f"{path}: must be a number, got {item['input']!r}; write it as {parse_share(item['input']):g}"
    if kind == "string_type" and isinstance(item["input"], (bool, int, float, date)) and loc[-1:] != ("apiKey",):
        return f"{path}: must be text, got {item['input']}; put it in quotes"
    way_out = "; name what holds it: {env: VARIABLE} or {secretKeyRef: ...}" if loc[-1:] == ("apiKey",) else ""
    return f"{path}: {text[0].lower()}{text[1:]}, got {shown(item['input'], loc)}{way_out}"


def _is_branch(part: Any) -> bool:
    """Pydantic puts the union member that it tried into the location; the user did not write that."""
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "str", "bool"))


def _path(loc: tuple[Any, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_name(part)}" for part in loc)
    return text.removeprefix(".") or "manifest"


def _name(part: Any) -> str:
    """A field's name; one that could not be one is quoted, so that it stays in its line."""
    text = str(part)
    return text if text and text.isprintable() else repr(text)


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, alone, in a list or as one choice of a union; None if it holds a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (section_of(argument) for argument in get_args(annotation))
    return next((section for section in found if section), None)


def field_names(model: type[BaseModel], loc: tuple[Any, ...]) -> dict[str, Any]:
    """The fields of the section at `loc` of the manifest, by the names that people write."""
    for part in loc:
        if isinstance(part, int):
            continue
        field = field_names(model, ()).get(str(part))
        section = section_of(field.annotation) if field else None
        if section is None:
            return {}
        model = section
    return {field.alias or name: field for name, field in described(model).items()}
