"""`spec.goodput`: what makes a single request good."""

from pydantic import Field

from perfbench_api.values import Duration, Section

GOODPUT = ("goodput_share", "goodput_rate")
"""Metrics of objectives that there are only with limits."""


class Goodput(Section):
    """Limits of a single request. Goodput is of requests that keep all of them: their share, and how many there are a second."""

    ttft: Duration | None = Field(None, gt=0)
    """Most time to first token."""
    tpot: Duration | None = Field(None, gt=0)
    """Most time per output token after the first; an answer of one token keeps it."""
    e2e_latency: Duration | None = Field(None, gt=0, alias="e2eLatency")
    """Most time from sending a request to the end of its answer."""
    scheduled_latency: Duration | None = Field(None, gt=0)
    """Most time from when a request was due to the end of its answer: what its user waited."""

    @property
    def limits(self) -> dict[str, float]:
        """Those that are given, in seconds, by the metric that they are of."""
        return {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
