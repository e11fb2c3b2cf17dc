"""`spec.objectives`: what is good enough."""

from typing import Literal, Self

from pydantic import model_validator

from perfbench_api.outcome import Latency
from perfbench_api.values import Limit, Section


class Objective(Section):
    """An objective (SLO): a bound on a statistic."""

    metric: Literal[
        Latency,
        "request_throughput",
        "output_token_throughput",
        "total_token_throughput",
        "failed_share",
    ]
    """What is bounded."""
    statistic: Literal["mean", "std", "min", "p50", "p90", "p95", "p99", "p99_9", "max"] = "p99"
    """Which statistic of a latency; throughputs and shares have only one value."""
    max: Limit | None = None
    """Upper bound: 500ms, 1%, 0.01."""
    min: Limit | None = None
    """Lower bound."""
    stage: str | None = None
    """Name of the stage it applies to; all if not given."""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("bounds nothing; give max or min")
        return self
