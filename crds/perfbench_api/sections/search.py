"""`spec.load.search`: in place of stages, the highest load that the target carries."""

from math import sqrt
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from perfbench_api.values import MOST_AT_A_TIME, Duration, Limit, Section, Unit


class RateRange(Section):
    """Rates to search in."""

    start: Annotated[float, Unit("requests/s")] = Field(alias="from", gt=0)
    """The lowest; the objectives are expected to hold there."""
    to: Annotated[float, Unit("requests/s")] = Field(gt=0)
    """The highest that is ever tried."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.start >= self.to:
            raise ValueError(f"from {self.start:g} is not below to {self.to:g}")
        return self


class ConcurrencyRange(Section):
    """Concurrencies to search in."""

    start: int = Field(alias="from", ge=1)
    """The lowest; the objectives are expected to hold there."""
    to: int = Field(ge=1, le=MOST_AT_A_TIME)
    """The highest that is ever tried."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.start >= self.to:
            raise ValueError(f"from {self.start} is not below to {self.to}")
        return self


class Search(Section):
    """The highest load at which the objectives hold; without objectives the knee of throughput against latency."""

    rate: RateRange | None = None
    """Open loop: search for a rate."""
    concurrency: ConcurrencyRange | None = None
    """Closed loop: search for a concurrency."""
    precision: Limit = 0.05
    """How well the load is to be known, to either side: a number such as 0.05, or 5%."""
    arrival: Literal["poisson", "constant"] = "poisson"
    """Of rates: gaps drawn from an exponential distribution, or all equal."""
    max_concurrency: int | None = Field(None, ge=1, le=MOST_AT_A_TIME)
    """Of rates: at most this many requests in flight; later ones wait, and their wait is measured."""
    requests: int | None = Field(None, ge=20)
    """Counted requests of each point; as many as the objectives need if not given."""
    max_requests: int = Field(100_000, ge=1)
    """The search ends with what is known by then when this many requests are used up."""
    max_duration: Duration = Field(3600.0, gt=0)
    """... or this much time."""

    @model_validator(mode="before")
    @classmethod
    def _precision_is_a_share(cls, data: Any) -> Any:
        given = data.get("precision") if isinstance(data, dict) else None
        if isinstance(given, str) and not given.endswith("%") and not given.replace(".", "", 1).isdigit():
            raise ValueError(f"precision: {given!r} is not a share; write it as 5% or 0.05")
        return data

    @model_validator(mode="after")
    def _one_load(self) -> Self:
        if (self.rate is None) == (self.concurrency is None):
            raise ValueError("give exactly one of rate (open loop) and concurrency (closed loop)")
        if not 0.001 <= self.precision <= 0.5:
            raise ValueError(f"precision: {self.precision:g} is not from 0.1% to 50%")
        if self.concurrency is not None and (self.max_concurrency is not None or self.arrival != "poisson"):
            raise ValueError("maxConcurrency and arrival belong to rate; a closed loop has no arrivals")
        return self

    @property
    def kind(self) -> Literal["rate", "concurrency"]:
        """What is searched for."""
        return "rate" if self.rate is not None else "concurrency"

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest load."""
        found = self.rate or self.concurrency
        assert found is not None  # noqa: S101  # validated
        return float(found.start), float(found.to)

    def stage(self, name: str, load: float, requests: int, duration_s: float | None) -> dict[str, Any]:
        """A point of the search as a stage's values."""
        limits: dict[str, Any] = {"name": name, "requests": requests, "duration": duration_s}
        if self.rate is None:
            return {**limits, "concurrency": max(1, round(load))}
        return {**limits, "rate": load, "arrival": self.arrival, "max_concurrency": self.max_concurrency}

    def placeholder(self) -> dict[str, Any]:
        """What stands for the points before the first one is chosen: the middle of the range."""
        low, high = self.ends
        return self.stage("search", float(f"{sqrt(low * high):.4g}"), self.requests or 1000, None)
