"""What the API server itself validates: CEL rules of the CRD by section, and which fields exclude others.

They report at `kubectl apply` what the models would report later. A rule cannot see fields whose type Kubernetes does not
know (`concurrency`, `rate`, `maxTokens`, `max`, `args`), so the models validate everything again. Whether such a field is
given is asked by `oneOf` and `required`, which look at names alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from perfbench_api.resource import Spec
from perfbench_api.sections.goodput import GOODPUT, Goodput
from perfbench_api.sections.objectives import DISTRIBUTIONS

NAME_LENGTH = 48
"""Maximum length of a PerfBenchmark's name: its pods are called <name>-<8 of its uid>-<5 of Kubernetes>, in 63 characters."""
MUTABLE = ("cancel", "priority", "suspend", "ttl_seconds_after_finished")
"""Fields of the spec that may change after `kubectl apply`."""


@dataclass(frozen=True)
class Rule:
    """One CEL rule and the message for users who break it."""

    rule: str
    message: str
    field: str = ""
    """Path of the field that the message is about, below the section."""

    def schema(self) -> dict[str, str]:
        """The rule as `x-kubernetes-validations` has it."""
        path = {"fieldPath": self.field} if self.field else {}
        return {"rule": self.rule, "message": self.message, **path}


def _exactly_one(*names: str) -> str:
    return f"[{', '.join(f'has(self.{name})' for name in names)}].exists_one(given, given)"


def _any_of(*names: str) -> str:
    return " || ".join(f"has(self.{name})" for name in names)


def _in_cel(names: Iterable[str]) -> str:
    return str(list(names))  # CEL writes lists and strings as Python does


def _unchanged() -> tuple[Rule, ...]:
    """The spec is immutable; every field has a default, so all of them are always present."""
    aliases = [field.alias or name for name, field in Spec.model_fields.items() if name not in MUTABLE]
    return tuple(
        Rule(
            f"self.{name} == oldSelf.{name}",
            f"{name} cannot change: a benchmark runs what was applied; run it again under a new name",
            f".{name}",
        )
        for name in aliases
    )


ROOT = (
    Rule(
        f"size(self.metadata.name) <= {NAME_LENGTH}",
        f"a name may have at most {NAME_LENGTH} characters, because pod names are derived from it",
        ".metadata.name",
    ),
    Rule(
        "!self.metadata.name.contains('.')",
        "a name must not contain dots, because pod names are derived from it",
        ".metadata.name",
    ),
)
_RECORDED = "(has(self.arrival) && self.arrival == 'recorded')"
_LIMITS = [field.alias or name for name, field in Goodput.model_fields.items()]
_HTTP = Rule(
    "!has(self.url) || self.url.startsWith('http://') || self.url.startsWith('https://')",
    "url must begin with http:// or https://",
    ".url",
)
SECTIONS: dict[str, tuple[Rule, ...]] = {
    "Spec": (
        *_unchanged(),
        Rule("!oldSelf.cancel || self.cancel", "cancel cannot be undone; run it again under a new name", ".cancel"),
        Rule(
            f"size(self.targets) > 0 || {_exactly_one('target.url', 'target.service', 'target.mock')}",
            "give exactly one of url, service and mock",
            ".target",
        ),
        Rule(
            f"{_any_of('target.url', 'target.service', 'target.mock')}"
            " || self.targets.all(one, has(one.url) || has(one.service) || has(one.mock))",
            "a target has nothing to measure; give each its url, service or mock, or one in spec.target",
            ".targets",
        ),
        Rule(
            "self.targets.all(one, self.targets.exists_one(other, other.name == one.name))",
            "two targets have the same name; give each its own name",
            ".targets",
        ),
        Rule(
            "self.load.split != 'sideBySide' || size(self.targets) > 0",
            "sideBySide is of several targets, and there are none; give targets",
            ".load",
        ),
        Rule(
            "self.workloads.all(one, self.workloads.exists_one(other, other.name == one.name))",
            "two workloads have the same name; give each its own name",
            ".workloads",
        ),
        Rule(
            "self.objectives.all(one, !has(one.workload) || self.workloads.exists(kind, kind.name == one.workload))",
            "an objective is of a workload that there is none of by that name",
            ".objectives",
        ),
        Rule(
            "self.objectives.all(one, !has(one.target) || self.targets.exists(kind, kind.name == one.target))",
            "an objective is of a target that there is none of by that name in targets",
            ".objectives",
        ),
        Rule(
            f"{_any_of(*(f'goodput.{limit}' for limit in _LIMITS))} || self.workloads.exists(kind, has(kind.goodput))"
            f" || !self.objectives.exists(one, one.metric in {_in_cel(GOODPUT)})",
            "an objective of goodput needs limits; give some, such as goodput: {ttft: 500ms}",
            ".objectives",
        ),
    ),
    "Dataset": (
        # The section's own default, which rules are tried on, has not the defaults of its fields.
        Rule(
            "!has(self.minPromptLength) || !has(self.maxPromptLength) || self.minPromptLength <= self.maxPromptLength",
            "minPromptLength is above maxPromptLength",
        ),
        Rule(
            "!has(self.minTurns) || !has(self.maxTurns) || self.minTurns <= self.maxTurns",
            "minTurns is above maxTurns",
        ),
    ),
    "Warmup": (
        Rule(
            "!has(self.concurrency) || self.requests > 0 || has(self.duration)",
            "concurrency of no requests; give requests or duration, too",
        ),
    ),
    "Search": (
        Rule(_exactly_one("rate", "concurrency"), "give exactly one of rate (open loop) and concurrency (closed loop)"),
        Rule(
            "(!has(self.rate) || self.rate.from < self.rate.to)"
            " && (!has(self.concurrency) || self.concurrency.from < self.concurrency.to)",
            "from is not below to",
        ),
    ),
    "Budget": (
        Rule(
            "!has(self.money) || (has(self.inputPrice) && has(self.outputPrice))",
            "what a token costs is not known; give inputPrice and outputPrice",
            ".money",
        ),
    ),
    "Objective": (
        Rule(
            f"self.statistic == 'p99' || self.metric in {_in_cel(DISTRIBUTIONS)}",
            "a throughput, a rate and a share have only one value; leave statistic out",
            ".statistic",
        ),
    ),
    "Target": (_HTTP,),
    "OneTarget": (
        _HTTP,
        Rule(
            "[has(self.url), has(self.service), has(self.mock)].filter(given, given).size() <= 1",
            "url, service and mock exclude each other; give one of them",
        ),
    ),
    "Header": (Rule(_exactly_one("value", "secretKeyRef", "env"), "give one of value, secretKeyRef and env"),),
    "Stage": (
        Rule(
            "!has(self.profile) || !has(self.timestamps)", "profile and timestamps exclude each other; give one of them"
        ),
        Rule(
            f"has(self.requests) || has(self.duration) || has(self.timestamps) || {_RECORDED}",
            "the stage has no end; give requests or duration",
        ),
        Rule(
            "!has(self.until) || has(self.requests) || has(self.duration)",
            "until: nobody knows when that will be; give requests or duration as the limit",
        ),
        Rule("!has(self.rampDown) || has(self.duration)", "rampDown ends with the duration; give duration"),
        Rule(
            "has(self.cv) == (has(self.arrival) && self.arrival == 'gamma')",
            "cv and arrival: gamma belong together; give both or none",
        ),
    ),
    "Profile": (
        Rule(
            _exactly_one("ramp", "steps", "sine", "burst", "points"),
            "give exactly one of ramp, steps, sine, burst and points",
        ),
    ),
    "PluginSource": (
        Rule(_exactly_one("file", "module", "configMap"), "give exactly one of file, module and configMap"),
    ),
}
_LOADS = ("concurrency", "rate", "profile", "timestamps")
ONE_OF: dict[str, list[dict[str, Any]]] = {
    "Stage": [
        *({"required": [name]} for name in _LOADS),
        # Recorded times may stand alone. The API server wants every field named outside, too, and no types in here.
        {
            "required": ["arrival"],
            "properties": {"arrival": {"enum": ["recorded"]}},
            "not": {"required": ["rate"]},
        },
    ],
    "Objective": [{"required": ["max"]}, {"required": ["min"], "not": {"required": ["max"]}}],
}
"""Of these exactly one must hold, by section: as Kubernetes' structural schemas have it."""
