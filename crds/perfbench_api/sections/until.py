"""`spec.load.stages[].until`: end a stage when a figure is known well enough."""

from typing import Literal, Self

from pydantic import model_validator

from perfbench_api.values import Section, Share


class Until(Section):
    """A figure that is to be known to within a share of its value."""

    metric: Literal[
        "ttft",
        "tpot",
        "e2e_latency",
        "scheduled_latency",
        "itl",
        "request_throughput",
        "output_token_throughput",
        "input_token_throughput",
        "total_token_throughput",
    ] = "ttft"
    """Which latency, or which throughput."""
    statistic: Literal["p50", "p90", "p95", "p99", "p99_9"] = "p99"
    """Which quantile of a latency; a throughput has none."""
    within: Share = 0.05
    """Half of its 95 % interval, as a share of the value: text such as 5%, or the number 0.05."""

    @model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if not 0.001 <= self.within < 1:
            raise ValueError(f"within {self.within:g} is no share that can be reached; write 5%, or 0.05")
        return self

    @model_validator(mode="after")
    def _throughputs_have_no_quantiles(self) -> Self:
        if self.is_throughput and self.statistic != "p99":  # the default, which kept manifests have, too
            raise ValueError(f"statistic: {self.metric} has no quantiles; leave it out")
        return self

    @property
    def is_throughput(self) -> bool:
        """Whether it is about a throughput."""
        return self.metric.endswith("_throughput")

    @property
    def figure(self) -> str:
        """What is to be known, in words: ttft p99."""
        return self.metric if self.is_throughput else f"{self.metric} {self.statistic.replace('_', '.')}"

    @property
    def probability(self) -> float:
        """The quantile's: 0.99 of p99."""
        return float(self.statistic.removeprefix("p").replace("_", ".")) / 100
