"""Objectives as flags have them: `ttft.p99<=500ms` for {metric: ttft, statistic: p99, max: 500ms}."""

import re

FORM = r"\s*(?P<metric>\w+)(\.(?P<statistic>\w+))?\s*(?P<sign><=|>=)\s*(?P<bound>\S+)\s*"


def read_objective(text: str) -> dict[str, object]:
    """The objective, as data of the manifest, that is then validated; raises ValueError for a text that is none."""
    match = re.fullmatch(FORM, text)
    if match is None:
        raise ValueError(f"{text!r} is no objective; write it as 'ttft.p99<=500ms' or 'request_throughput>=20'")
    statistic = {"statistic": match["statistic"]} if match["statistic"] else {}
    return {"metric": match["metric"], **statistic, "max" if match["sign"] == "<=" else "min": _bound(match["bound"])}


def _bound(text: str) -> str | float:
    """A plain number as one: of a throughput it is, and of a latency it is in seconds."""
    try:
        return float(text)
    except ValueError:
        return text
