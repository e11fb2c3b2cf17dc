"""Figures as flags have them: `ttft.p99<=500ms` for the objective {metric: ttft, statistic: p99, max: 500ms}, and others."""

import re
from collections.abc import Iterable

FORM = r"\s*(?P<metric>\w+)(\.(?P<statistic>\w+))?\s*(?P<sign><=|>=)\s*(?P<bound>\S+)\s*"


def read_objective(text: str) -> dict[str, object]:
    """The objective, as data of the manifest, that is then validated; raises ValueError for a text that is none."""
    match = re.fullmatch(FORM, text)
    if match is None:
        raise ValueError(f"{text!r} is no objective; write it as 'ttft.p99<=500ms' or 'request_throughput>=20'")
    statistic = {"statistic": match["statistic"]} if match["statistic"] else {}
    return {"metric": match["metric"], **statistic, "max" if match["sign"] == "<=" else "min": _bound(match["bound"])}


def read_until(text: str) -> dict[str, object]:
    """`until` of a stage: ttft.p99=5% for {metric: ttft, statistic: p99, within: 5%}; raises ValueError for none."""
    match = re.fullmatch(r"\s*(?P<metric>\w+)(\.(?P<statistic>\w+))?\s*=\s*(?P<within>\S+)\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is no figure with its precision; write it as ttft.p99=5%")
    statistic = {"statistic": match["statistic"]} if match["statistic"] else {}
    return {"metric": match["metric"], **statistic, "within": _bound(match["within"])}


def read_goodput(texts: Iterable[str]) -> dict[str, object]:
    """`spec.goodput`: ttft<=500ms and tpot<=40ms for {ttft: 500ms, tpot: 40ms}; raises ValueError for what is no limit."""
    limits: dict[str, object] = {}
    for text in texts:
        match = re.fullmatch(FORM, text)
        if match is None or match["sign"] != "<=" or match["statistic"]:
            raise ValueError(f"{text!r} is no limit of a single request; write it as 'ttft<=500ms'")
        if match["metric"] in limits:
            raise ValueError(f"{match['metric']} is given twice; give one limit of it")
        limits[match["metric"]] = _bound(match["bound"])
    return limits


def _bound(text: str) -> str | float:
    """A plain number as one: of a throughput it is, and of a latency it is in seconds."""
    try:
        return float(text)
    except ValueError:
        return text
