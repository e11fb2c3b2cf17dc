"""Which part of a stage a request belongs to: figures are of the time between the ramps. Pure functions of its plan."""

from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from perfbench_api.values import parse_duration

Excluded = Literal["ramp_up", "ramp_down", "settling"]
"""Why a request is in no figure; settling: it was sent before what a point of a search counts."""


@dataclass(frozen=True)
class Ramps:
    """How long a stage's ramps take, seconds; 0.0 for none."""

    up_s: float = 0.0
    down_s: float = 0.0
    duration_s: float = inf
    """Of the stage, ramps included."""

    @classmethod
    def of_plan(cls, plan: dict[str, Any]) -> "Ramps":
        """Those of a stage's plan, as a results file has it."""
        up, down, duration = (plan.get(name) for name in ("rampUp", "rampDown", "duration"))
        return cls(
            0.0 if up is None else parse_duration(up),
            0.0 if down is None else parse_duration(down),
            inf if duration is None else parse_duration(duration),
        )

    @property
    def are_none(self) -> bool:
        """Whether the load is in full from its beginning to its end."""
        return not (self.up_s or self.down_s)

    def excluded(self, offset_s: float) -> Excluded | None:
        """Why what was due then, from the stage's beginning, is in no figure; None where it is."""
        if offset_s < self.up_s:
            return "ramp_up"
        return "ramp_down" if self.down_s and offset_s >= self.duration_s - self.down_s else None
