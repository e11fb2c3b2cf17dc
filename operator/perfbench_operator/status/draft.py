"""A status while it is being computed: phase, message and conditions, starting from the status so far. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import ValidationError

from perfbench_api.status import FINAL, BenchmarkPhase, Condition, ConditionType, Status
from perfbench_operator.kube import Data, timestamp

_MESSAGE_LENGTH = 2048
_ORDER: tuple[ConditionType, ...] = ("TargetReady", "Running", "ResultsStored", "Complete", "Failed")


def previous_status(body: Data) -> Status:
    """The status so far; an empty one if it cannot be read, such as after an upgrade."""
    try:
        return Status.model_validate(body.get("status") or {})
    except ValidationError:
        return Status()


def is_final(body: Data) -> bool:
    """Whether the benchmark is over."""
    return (body.get("status") or {}).get("phase") in FINAL


@dataclass
class Draft:
    """The next status of a benchmark. It belongs to one computation and is changed in place."""

    status: Status
    generation: int
    now: str
    old: dict[str, Condition] = field(default_factory=dict)
    """Conditions of the status so far, by type."""

    @classmethod
    def of(cls, body: Data, now: datetime) -> "Draft":
        """A draft that equals the status so far."""
        status = previous_status(body)
        generation = body["metadata"].get("generation", 0)
        status.observed_generation = generation
        return cls(status, generation, timestamp(now), {condition.type: condition for condition in status.conditions})

    def set_condition(self, kind: ConditionType, state: bool | None, reason: str, message: str = "") -> None:
        """Set a condition; its transition time changes only with its state."""
        text: Literal["True", "False", "Unknown"] = "Unknown" if state is None else "True" if state else "False"
        old = self.old.get(kind)
        since = old.last_transition_time if old and old.status == text else self.now
        condition = Condition(
            type=kind,
            status=text,
            reason=reason,
            message=message[:_MESSAGE_LENGTH],
            last_transition_time=since,
            observed_generation=self.generation,
        )
        others = [other for other in self.status.conditions if other.type != kind]
        self.status.conditions = sorted([*others, condition], key=lambda condition: _ORDER.index(condition.type))

    def set_phase(self, phase: BenchmarkPhase, message: str) -> None:
        """Set the phase and the sentence that explains it."""
        self.status.phase, self.status.message = phase, message[:_MESSAGE_LENGTH]
