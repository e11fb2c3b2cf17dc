"""A status while it is being computed: phase, message and conditions, starting from the status so far. Pure."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import ValidationError

from perfbench_api.outcome import MESSAGE_LENGTH
from perfbench_api.status import (
    CONDITIONS,
    FINAL,
    MAX_CONDITIONS,
    REASON,
    REASON_LENGTH,
    BenchmarkPhase,
    Condition,
    ConditionType,
    Status,
)
from perfbench_operator.kube import Data, Resource, timestamp


def previous_status(body: Data) -> Status:
    """The status so far. Of one that cannot be read as a whole, such as after an upgrade, what can be read."""
    given = body.get("status")
    if not isinstance(given, dict):
        return Status()
    data = {**given, "conditions": [item for item in _conditions(given) if item.get("type") in CONDITIONS]}
    try:
        return Status.model_validate(data)
    except ValidationError:
        return _readable(data)


def _readable(data: Data) -> Status:
    """A status from those fields that are valid on their own, and those conditions."""
    found = Status()
    for name, info in Status.model_fields.items():
        values = [[item] for item in data["conditions"]] if name == "conditions" else [data.get(info.alias or name)]
        for value in values:
            try:
                one = getattr(Status.model_validate({name: value}), name)
            except ValidationError:
                continue
            setattr(found, name, [*found.conditions, *one] if name == "conditions" else one)
    return found


def _conditions(status: Data) -> list[Data]:
    items = status.get("conditions")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def with_other_conditions(old: Data, new: Resource) -> Resource:
    """The new status with the conditions that other programs have added to the old one: lists are written whole."""
    others: list[Any] = [item for item in _conditions(old) if item.get("type") not in CONDITIONS]
    ours = new.get("conditions", [])
    return {**new, "conditions": [*ours, *others[: MAX_CONDITIONS - len(ours)]]} if others else new


def is_final(body: Data) -> bool:
    """Whether the benchmark is over."""
    return (body.get("status") or {}).get("phase") in FINAL


def reason_of(text: str) -> str:
    """A text as a reason of a condition: what Kubernetes does not allow is left out."""
    short = re.sub(r"[^A-Za-z0-9_,:]", "", text)[:REASON_LENGTH].rstrip(",:")
    return short if re.fullmatch(REASON, short) else "Unknown"


@dataclass
class Draft:
    """The next status of a benchmark. It belongs to one computation and is changed in place."""

    status: Status
    generation: int
    now: str
    old: dict[str, Condition] = field(default_factory=dict)
    """Conditions of the status so far, by type."""
    has_objectives: bool = False

    @classmethod
    def of(cls, body: Data, now: datetime) -> "Draft":
        """A draft that equals the status so far."""
        status = previous_status(body)
        generation = body["metadata"].get("generation", 0)
        status.observed_generation = generation
        old = {condition.type: condition for condition in status.conditions}
        return cls(status, generation, timestamp(now), old, bool(body["spec"].get("objectives")))

    def set_condition(self, kind: ConditionType, state: bool | None, reason: str, message: str = "") -> None:
        """Set a condition; its transition time changes only with its state."""
        text: Literal["True", "False", "Unknown"] = "Unknown" if state is None else "True" if state else "False"
        old = self.old.get(kind)
        since = old.last_transition_time if old and old.status == text else self.now
        condition = Condition(
            type=kind,
            status=text,
            reason=reason_of(reason),
            message=message[:MESSAGE_LENGTH],
            last_transition_time=since,
            observed_generation=self.generation,
        )
        conditions = {**{other.type: other for other in self.status.conditions}, kind: condition}
        self.status.conditions = [conditions[kind] for kind in CONDITIONS if kind in conditions]

    def set_phase(self, phase: BenchmarkPhase, message: str) -> None:
        """Set the phase and the sentence that explains it."""
        self.status.phase, self.status.message = phase, message[:MESSAGE_LENGTH]
