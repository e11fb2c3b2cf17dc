"""`spec.load`: how hard and how long to load the target."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perfbench_api.values import Duration, Section, Unit

USUAL_CONCURRENCY, USUAL_REQUESTS = 1, 1000
"""The load where none is asked for: that of `evalscope perf`, in a manifest, in flags and in Python alike."""


class Warmup(Section):
    """Load before the first stage; it is not counted."""

    requests: int = Field(0, ge=0)
    """How many requests."""
    concurrency: int | None = Field(None, ge=1)
    """How many at a time; as many as in the first stage if not given."""

    @model_validator(mode="after")
    def _has_requests(self) -> Self:
        if self.concurrency is not None and not self.requests:
            raise ValueError("concurrency of no requests; give requests, too")
        return self


class Stage(Section):
    """One stage of the load: a closed loop (concurrency) or an open loop (rate), limited by count, by duration or by both."""

    name: str | None = Field(None, min_length=1, max_length=63)
    """Name in results; c8, r5 or recorded if not given."""
    concurrency: int | None = Field(None, ge=1)
    """Closed loop: this many requests are always in flight."""
    rate: Annotated[float, Unit("requests/s")] | None = Field(None, gt=0)
    """Open loop: requests start at this rate, however slow the answers are."""
    arrival: Literal["poisson", "constant", "recorded"] = "poisson"
    """Open loop: gaps drawn from an exponential distribution, all equal, or as recorded in the dataset, which needs no rate."""
    max_concurrency: int | None = Field(None, ge=1)
    """Open loop: at most this many requests in flight; later ones wait, and their wait is measured."""
    requests: int | None = Field(None, ge=1)
    """End after this many requests."""
    duration: Duration | None = Field(None, gt=0)
    """End after this time; with requests given too, whichever comes first."""

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if self.concurrency is not None and self.arrival != "poisson":  # the default, which kept manifests have, too
            raise ValueError("concurrency makes a closed loop, which has no arrivals; leave out one of both")
        if self.arrival != "recorded" and (self.concurrency is None) == (self.rate is None):
            raise ValueError("give exactly one of concurrency (closed loop) and rate (open loop)")
        if self.requests is None and self.duration is None and self.arrival != "recorded":
            raise ValueError("has no end; give requests or duration")
        if self.max_concurrency is not None and not self.is_open_loop:
            raise ValueError("maxConcurrency belongs to rate; concurrency is its own limit")
        return self

    @property
    def is_open_loop(self) -> bool:
        """Whether requests have times of their own, however slow the answers are."""
        return self.concurrency is None

    @property
    def title(self) -> str:
        """The stage's name, given or derived."""
        if self.name is not None:
            return self.name
        if self.concurrency is not None:
            return f"c{self.concurrency}"
        return "recorded" if self.rate is None else f"r{self.rate:g}"


class Load(Section):
    """How hard and how long to load the target."""

    warmup: Warmup = Warmup()
    """Load that is not counted, before the first stage."""
    stages: list[Stage] = Field(
        [Stage(concurrency=USUAL_CONCURRENCY, requests=USUAL_REQUESTS)], min_length=1, max_length=64
    )
    """Stages of the load, one after the other; one request at a time, 1000 times, if not given."""
    pause: Duration = 0.0
    """Rest between stages."""
    grace_period: Duration = 30.0
    """How long requests in flight may take to finish when a stage's duration is over or the run is stopped."""
    max_failed_share: float = Field(0.05, ge=0, le=1)
    """The run fails when more than this share of a stage's requests fail."""
    random_seed: int | None = None
    """Seed of prompts, their order, arrivals and drawn lengths; each run draws one of its own if not given, and names it."""
