"""`spec.objectives`: what is good enough."""

import re
from typing import Any, Literal, Self, get_args

from pydantic import Field, model_validator

from perfbench_api.outcome import Latency
from perfbench_api.values import Limit, Section, Tokens

SHARES = ("failed_share", "goodput_share")
LATENCIES = (*get_args(Latency), "token_gap")
COUNTS = ("output_tokens", "prompt_tokens")
DISTRIBUTIONS = (*LATENCIES, *COUNTS)
"""Metrics with several statistics."""
BY_PROMPT = ("ttft", "tpot", "e2e_latency", "scheduled_latency")
"""Metrics of which each request has one value, so that they can be told apart by their prompts."""


class PromptTokens(Section):
    """Prompts of a range of lengths."""

    least: Tokens | None = Field(None, alias="from", ge=0)
    """The shortest that belong to it; any if not given."""
    to: Tokens | None = Field(None, ge=1)
    """The shortest that are too long for it; none if not given."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.least is None and self.to is None:
            raise ValueError("says nothing; give from, to, or both")
        if self.to is not None and self.to <= (self.least or 0):
            raise ValueError(f"no prompt has {self.least or 0} tokens or more and fewer than {self.to}")
        return self


class Objective(Section):
    """An objective (SLO): a bound on a statistic."""

    metric: Literal[
        Latency,
        "token_gap",
        "output_tokens",
        "prompt_tokens",
        "request_throughput",
        "output_token_throughput",
        "input_token_throughput",
        "total_token_throughput",
        "failed_share",
        "goodput_share",
        "goodput_rate",
    ]
    """What is bounded."""
    statistic: Literal["mean", "std", "min", "p50", "p90", "p95", "p99", "p99_9", "max"] = "p99"
    """Which statistic of a latency or of tokens; throughputs, rates and shares have only one value."""
    max: Limit | None = None
    """Upper bound: a duration such as 500ms, a share such as 1%, or a number."""
    min: Limit | None = None
    """Lower bound, written alike."""
    stage: str | None = None
    """Name of the stage it applies to; all if not given."""
    workload: str | None = None
    """Name of the workload whose requests it is of; those of all workloads together if not given."""
    target: str | None = None
    """Name of the target whose requests it is of, of several; those to all targets together if not given."""
    prompt_tokens: PromptTokens | None = None
    """Only requests whose prompts have so many tokens: a long prompt may take longer to its first token."""

    @model_validator(mode="before")
    @classmethod
    def _bounds_have_the_metrics_unit(cls, data: Any) -> Any:
        """What is read as a number no longer says which unit it had: 1% would be 10 ms of TTFT."""
        if isinstance(data, dict):
            for name in ("max", "min"):
                wrong = _wrong_unit(str(data.get("metric")), data.get(name))
                if wrong:
                    raise ValueError(f"{name}: {data[name]} is {wrong}")
        return data

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("bounds nothing; give max or min")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}, so that nothing could meet it")
        if self.metric not in DISTRIBUTIONS and self.statistic != "p99":  # the default, which kept manifests have, too
            raise ValueError(f"statistic: {self.metric} has only one value; leave it out")
        for name, bound in (("max", self.max), ("min", self.min)):
            if bound is not None and bound < 0:
                raise ValueError(f"{name}: {bound:g} is negative, which no {self.metric} is")
            if bound is not None and bound > 1 and self.metric in SHARES:
                raise ValueError(f"{name}: a share is from 0 to 1, or from 0% to 100%; {bound:g} is more")
        return self

    @model_validator(mode="after")
    def _lengths_of_prompts_can_be_judged(self) -> Self:
        if self.prompt_tokens is None:
            return self
        if self.metric not in BY_PROMPT:
            raise ValueError(f"promptTokens: goes with {', '.join(BY_PROMPT)}, and not with {self.metric}")
        if self.share is None and self.statistic != "mean":
            raise ValueError(f"promptTokens: goes with percentiles and the mean, and not with {self.statistic}")
        if self.max is None or self.min is not None:
            raise ValueError(
                "promptTokens: goes with max alone, since requests that failed have no known length and count as too slow"
            )
        return self

    @property
    def share(self) -> float | None:
        """The share of requests that a percentile's bound is about: 0.99 of a p99; None of other statistics."""
        if self.metric not in get_args(Latency) or not self.statistic.startswith("p"):
            return None
        return float(self.statistic[1:].replace("_", ".")) / 100

    @property
    def can_steer_a_search(self) -> bool:
        """Whether it is a share of requests that falls, or fails, as load grows."""
        if self.metric == "goodput_share":
            return self.min is not None and self.max is None
        return self.max is not None and self.min is None and (self.share is not None or self.metric == "failed_share")


def _wrong_unit(metric: str, bound: Any) -> str:
    """What a bound is, where it has another unit than the metric; else an empty text."""
    if not isinstance(bound, str) or not bound:
        return ""
    is_share, is_duration = bound.endswith("%"), re.search("[a-z]", bound) is not None
    if metric in LATENCIES:
        return f"a share, and {metric} is a time; write it as 500ms or 0.5" if is_share else ""
    if metric in SHARES:
        return f"a duration, and {metric} is a share; write it as 1% or 0.01" if is_duration else ""
    if metric in COUNTS and (is_share or is_duration):
        return f"no number, and {metric} are counted; write it as 100"
    if metric.endswith(("_throughput", "_rate")) and (is_share or is_duration):
        return f"no number, and {metric} is one per second; write it as 20"
    return ""
