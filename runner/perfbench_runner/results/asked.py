"""What the manifest asked of the server, as far as figures must know it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from perfbench_api.sections import Goodput

Limits = Mapping[str | None, Mapping[str, float]]
"""Limits of a single request in seconds, by the metric that they are of: those of each workload; of None all others'."""


class Asked(NamedTuple):
    """What each request asked for."""

    choices: int = 1
    """Answers (`n`)."""
    min_tokens: int = 0
    """Shortest answer; 0 if none was asked for."""
    model: str = ""
    has_tokenizer: bool = False
    """Whether prompts were counted in tokens here; else in words."""
    measures_cache: bool = False
    """Whether prompts are meant to be in the server's prefix cache."""
    retries: bool = False
    """Whether requests that the target refuses for now are sent again."""
    goodput: Mapping[str, float] = {}
    """Limits of a single request in seconds, by the metric that they are of; workloads may have others."""
    name: str = ""
    """Of the workload, or the target, that this is of; empty for the run."""
    weight: int = 1
    workloads: tuple["Asked", ...] = ()
    """What each workload asked for, where there are several; what they differ in is left open above."""
    targets: tuple["Asked", ...] = ()
    """What was asked of each target, likewise."""
    confidence: float = 0.95
    """How sure what is said must be."""

    @property
    def limits(self) -> Limits:
        """Limits of a single request, by workload."""
        return {None: self.goodput, **{each.name: each.goodput for each in self.workloads}}


def asked_of(facts: Mapping[str, str]) -> Asked:
    """As the manifest in a results file has it; files of old versions may have none."""
    spec = (yaml.safe_load(facts.get("manifest", "")) or {}).get("spec", {})
    targets = tuple(_of_target(spec, target) for target in spec.get("targets") or ())
    if not targets:
        return _of_all_workloads(spec)
    # A workload has another model at each target, perhaps: there is no one to compare its answers with.
    workloads = tuple(each._replace(model="") for each in targets[0].workloads)
    return targets[0]._replace(name="", weight=1, model="", workloads=workloads, targets=targets)


def _of_target(spec: Mapping[str, Any], target: Mapping[str, Any]) -> Asked:
    """As if it were the only one."""
    model = {"model": target["model"]} if target.get("model") else {"model": "mock"} if target.get("mock") else {}
    asked = _of_all_workloads({**spec, "target": {**(spec.get("target") or {}), **model}})
    return asked._replace(name=target["name"], weight=int(target.get("weight") or 1))


def _of_all_workloads(spec: Mapping[str, Any]) -> Asked:
    workloads = tuple(_of_workload(spec, workload) for workload in spec.get("workloads") or ())
    if not workloads:
        return _asked(spec)
    return workloads[0]._replace(
        name="",
        weight=1,
        min_tokens=0,
        model="",
        goodput=_limits(spec),
        has_tokenizer=any(each.has_tokenizer for each in workloads),
        measures_cache=all(each.measures_cache for each in workloads),
        workloads=workloads,
    )


def _of_workload(spec: Mapping[str, Any], workload: Mapping[str, Any]) -> Asked:
    """As if it were the only one."""
    model = {"model": workload["model"]} if workload.get("model") else {}
    own = {name: workload[name] for name in ("dataset", "request", "goodput") if workload.get(name)}
    asked = _asked({**spec, **own, "target": {**(spec.get("target") or {}), **model}})
    return asked._replace(name=workload["name"], weight=int(workload.get("weight") or 1))


def _asked(spec: Mapping[str, Any]) -> Asked:
    target, dataset, request, load = (spec.get(name) or {} for name in ("target", "dataset", "request", "load"))
    return Asked(
        choices=int(request.get("nChoices") or 1),
        min_tokens=int(request.get("minTokens") or 0),
        model=str(target.get("model") or ""),
        has_tokenizer=bool(dataset.get("tokenizerPath")),
        measures_cache=bool(dataset.get("measureCache")),
        retries=bool(load.get("retry")),
        goodput=_limits(spec),
        confidence=float(spec.get("confidence") or 0.95),
    )


def _limits(spec: Mapping[str, Any]) -> Mapping[str, float]:
    return Goodput.model_validate(spec.get("goodput") or {}).limits
