"""`spec.price`: what the target costs, from which follows what its tokens cost."""

from typing import Annotated

from pydantic import Field

from perfbench_api.values import Section, Unit


class Price(Section):
    """What the target costs, in any currency: figures are in the same."""

    per_hour: Annotated[float, Unit("per hour")] | None = Field(None, gt=0)
    """Price of one replica for an hour; no cost is told if not given."""
    replicas: int = Field(1, ge=1)
    """How many replicas serve the target's load."""
