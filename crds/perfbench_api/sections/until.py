"""`spec.load.stages[].until`: end a stage when a figure is known well enough."""

from typing import Literal, Self

from pydantic import model_validator

from perfbench_api.values import Limit, Section


class Until(Section):
    """A figure that is to be known to within a share of its value."""

    metric: Literal["ttft", "tpot", "e2e_latency", "scheduled_latency"] = "ttft"
    """Which latency."""
    statistic: Literal["p50", "p90", "p95", "p99", "p99_9"] = "p99"
    """Which of its quantiles."""
    within: Limit = 0.05
    """Half of its 95 % interval, as a share of the value: text such as 5%, or the number 0.05."""

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if not 0.001 <= self.within < 1:
            raise ValueError(f"within {self.within:g} is no share that can be reached; write 5%, or 0.05")
        return self

    @property
    def probability(self) -> float:
        """The quantile's: 0.99 of p99."""
        return float(self.statistic.removeprefix("p").replace("_", ".")) / 100
