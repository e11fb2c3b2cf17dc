"""`spec.load`: how hard and how long to load the target."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic.config import JsonDict

from perfbench_api.sections.guards import Guards
from perfbench_api.sections.profile import Profile, Timestamps
from perfbench_api.sections.retry import Retry
from perfbench_api.sections.search import Search
from perfbench_api.sections.sweep import expanded
from perfbench_api.sections.until import Until
from perfbench_api.values import MOST_AT_A_TIME, Duration, Section, Unit

USUAL_CONCURRENCY, USUAL_REQUESTS = 1, 1000
"""The load where none is asked for: that of `evalscope perf`, in a manifest, in flags and in Python alike."""
MOST_STAGES = 64

SEVERAL: JsonDict = {"x-kubernetes-preserve-unknown-fields": True}
"""A number, or what stands for several: Kubernetes has no type for that."""


class Warmup(Section):
    """Load before the first stage; it is not counted."""

    requests: int = Field(0, ge=0)
    """How many requests."""
    duration: Duration | None = Field(None, gt=0)
    """How long; with requests given too, whichever comes first."""
    concurrency: int | None = Field(None, ge=1, le=MOST_AT_A_TIME)
    """How many at a time; as many as in the first stage if not given."""

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.concurrency is not None and not self.requests and self.duration is None:
            raise ValueError("concurrency of no requests; give requests or duration, too")
        return self


class Stage(Section):
    """One stage of the load: a closed loop (concurrency) or an open loop (rate), limited by count, by duration or by both."""

    name: str | None = Field(None, min_length=1, max_length=63)
    """Name in results; c8, r5, ramp, burst, recorded and so on if not given."""
    concurrency: int | None = Field(None, ge=1, le=MOST_AT_A_TIME, json_schema_extra=SEVERAL)
    """Closed loop: this many requests are always in flight; of a list, or {from, to, steps, scale}, each makes a stage."""
    rate: Annotated[float, Unit("requests/s")] | None = Field(None, gt=0, json_schema_extra=SEVERAL)
    """Open loop: requests start at this rate, however slow the answers are; a list, or {from, to, steps, scale}, likewise."""
    profile: Profile | None = None
    """Open loop: a rate that changes over time, in place of rate."""
    timestamps: Timestamps | None = None
    """Open loop: times of arrivals from a file, in place of rate."""
    arrival: Literal["poisson", "constant", "gamma", "recorded"] = "poisson"
    """Open loop: gaps from an exponential distribution, all equal, from a gamma distribution with cv, or as in the dataset."""
    cv: float | None = Field(None, gt=0, le=100)
    """Coefficient of variation of gamma's gaps: 1 is Poisson, above it arrivals clump; 1/√burstiness in vLLM."""
    max_concurrency: int | None = Field(None, ge=1, le=MOST_AT_A_TIME)
    """Open loop: at most this many requests in flight; later ones wait, and their wait is measured."""
    requests: int | None = Field(None, ge=1)
    """End after this many requests."""
    duration: Duration | None = Field(None, gt=0)
    """End after this time; with requests given too, whichever comes first."""

    until: Until | None = None
    """End as soon as a figure is known well enough; requests or duration are the limit."""
    ramp_up: Duration | None = Field(None, gt=0)
    """Begin with one lane, or no rate, and rise evenly to concurrency or rate; these requests are in no figure."""
    ramp_down: Duration | None = Field(None, gt=0)
    """Fall evenly to nothing at the end of the duration; these requests are in no figure."""

    @field_validator("name")
    @classmethod
    def _is_of_one_line(cls, name: str | None) -> str | None:
        if name is not None and not name.isprintable():
            raise ValueError(f"{name!r} has characters that cannot be printed, and would break tables; leave them out")
        return name

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if self.concurrency is not None and self.arrival != "poisson":  # the default, which kept manifests have, too
            raise ValueError("concurrency makes a closed loop, which has no arrivals; leave out one of both")
        loads = [name for name in ("concurrency", "rate", "profile", "timestamps") if getattr(self, name) is not None]
        if (self.arrival != "recorded" and not loads) or loads == ["concurrency", "rate"]:
            raise ValueError("give exactly one of concurrency (closed loop) and rate (open loop)")
        if len(loads) > 1:
            raise ValueError(f"{' and '.join(loads)} exclude each other; give one of them")
        if self.arrival != "poisson" and self.timestamps is not None:
            raise ValueError(f"timestamps are the arrivals; leave out arrival: {self.arrival}")
        if self.arrival == "recorded" and self.profile is not None:
            raise ValueError("profile: recorded times have their own rate; leave out profile, or arrival: recorded")
        if self.requests is None and self.duration is None and not self.has_own_end:
            raise ValueError("has no end; give requests or duration")
        if self.max_concurrency is not None and not self.is_open_loop:
            raise ValueError("maxConcurrency belongs to rate; concurrency is its own limit")
        return self

    @model_validator(mode="after")
    def _gaps_are_known(self) -> Self:
        if self.arrival == "gamma" and self.cv is None:
            raise ValueError("arrival: gamma needs cv, the coefficient of variation of its gaps")
        if self.arrival != "gamma" and self.cv is not None:
            raise ValueError(f"cv belongs to arrival: gamma, not to {self.arrival}")
        return self

    @model_validator(mode="after")
    def _rates_make_sense(self) -> Self:
        if self.profile is not None and self.profile.is_nothing:
            raise ValueError("profile: its rate is always 0, which sends nothing")
        if self.profile is not None and self.profile.needs_duration and self.duration is None:
            raise ValueError(f"profile: how long {self.profile.title} takes is not known; give duration")
        if self.ramp_up is None and self.ramp_down is None:
            return self
        if self.concurrency is None and (self.rate is None or self.arrival == "recorded"):
            raise ValueError("rampUp and rampDown belong to concurrency or rate; write them into profile.points")
        if self.ramp_down is not None and self.duration is None:
            raise ValueError("rampDown ends with the duration; give duration")
        if self.duration is not None and (self.ramp_up or 0.0) + (self.ramp_down or 0.0) >= self.duration:
            raise ValueError("rampUp and rampDown leave nothing of the duration, of which they are a part")
        return self

    @model_validator(mode="after")
    def _precision_has_a_limit(self) -> Self:
        if self.until is not None and self.requests is None and self.duration is None:
            raise ValueError("until: nobody knows when that will be; give requests or duration as the limit")
        if self.until is not None and self.ramp_down is not None:
            raise ValueError("rampDown: a stage with until ends at once; leave out one of both")
        return self

    @property
    def is_open_loop(self) -> bool:
        """Whether requests have times of their own, however slow the answers are."""
        return self.concurrency is None

    @property
    def lanes(self) -> int | None:
        """Lanes of a closed loop, never more than it has requests: a million idle ones take gigabytes. None: an open loop."""
        if self.concurrency is None or self.requests is None:
            return self.concurrency
        return min(self.concurrency, self.requests)

    def at_each(self, targets: int) -> Self:
        """The same load where each of so many targets has a closed loop's lanes for itself."""
        if self.concurrency is None or targets == 1:
            return self
        return self.model_copy(update={"concurrency": targets * self.concurrency})

    @property
    def has_own_end(self) -> bool:
        """Whether its arrivals come to an end by themselves."""
        return self.arrival == "recorded" or self.timestamps is not None

    @property
    def title(self) -> str:
        """The stage's name, given or derived."""
        if self.name is not None:
            return self.name
        if self.concurrency is not None:
            return f"c{self.concurrency}"
        if self.profile is not None:
            return self.profile.title
        if self.timestamps is not None:
            return "timestamps"
        return "recorded" if self.rate is None else f"r{self.rate:g}"


class Load(Section):
    """How hard and how long to load the target."""

    warmup: Warmup = Warmup()
    """Load that is not counted, before the first stage."""
    stages: list[Stage] = Field(
        [Stage(concurrency=USUAL_CONCURRENCY, requests=USUAL_REQUESTS)], min_length=1, max_length=MOST_STAGES
    )
    """Stages of the load, one after the other; one request at a time, 1000 times, if not given."""
    search: Search | None = None
    """In place of stages: find the highest load at which the objectives hold."""
    repeat: int = Field(1, ge=1, le=64)
    """Run the whole list of stages so many times, one after the other; figures of the same stage are compared."""
    split: Literal["byWeight", "sideBySide"] = "byWeight"
    """How several targets share the load: one request to one of them, by weight; or side by side: an arrival is one request
    to each of them, and each has a closed loop's lanes for itself."""
    pause: Duration = 0.0
    """Rest between stages."""
    grace_period: Duration = 30.0
    """How long requests in flight may take to finish when a stage's duration is over or the run is stopped."""
    retry: Retry | None = None
    """Send requests again that the target refuses for now (429, 503); they fail if not given."""
    guards: Guards = Guards()
    """What ends the run, or a stage, early."""
    max_failed_share: float = Field(0.05, ge=0, le=1)
    """The run fails when more than this share of a stage's requests fail."""
    random_seed: int | None = None
    """Seed of prompts, their order, arrivals and drawn lengths; each run draws one of its own if not given, and names it."""

    @model_validator(mode="before")
    @classmethod
    def _stages_written_short(cls, data: Any) -> Any:
        """One stage for each value, before anything else looks at them."""
        entries = data.get("stages") if isinstance(data, dict) else None
        if not isinstance(entries, list):
            return data
        stages = [stage for n, entry in enumerate(entries) for stage in expanded(entry, f"stages[{n}]")]
        return data | {"stages": stages}

    @model_validator(mode="after")
    def _can_be_repeated(self) -> Self:
        if self.repeat > 1 and self.search is not None:
            raise ValueError("repeat: a search repeats loads where that is needed; leave out one of both")
        if self.repeat * len(self.stages) > MOST_STAGES:
            raise ValueError(
                f"repeat: {self.repeat} times {len(self.stages)} stages are more than {MOST_STAGES}; run them apart"
            )
        return self

    @model_validator(mode="after")
    def _search_is_in_place_of_stages(self) -> Self:
        """Stages become what stands for the points; a kept manifest has that, and Kubernetes adds the default."""
        if self.search is None:
            return self
        points = [Stage(**self.search.placeholder())]
        if self.stages not in (points, [Stage(concurrency=USUAL_CONCURRENCY, requests=USUAL_REQUESTS)]):
            raise ValueError("stages and search exclude each other; give one of them")
        self.__dict__["stages"] = points  # nobody gave them
        return self
