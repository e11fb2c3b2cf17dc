"""How targets differ, in words. Pure functions."""

from perfbench_runner.results import written
from perfbench_runner.results.summary import Comparison, Difference

FAILED = "failed_share"
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e_latency": "E2E", FAILED: "failed requests"}


def in_words(found: Comparison) -> list[str]:
    """A line for each difference: TTFT p99 of new is 12.3 ms (8.1 ms to 17.2 ms) lower than that of old."""
    return [_said(found, each) for each in found.differences]


def _said(found: Comparison, each: Difference) -> str:
    what = f"{NAMES[each.metric]} {each.statistic}" if each.statistic else f"share of {NAMES[each.metric]}"
    low, high, middle = each.low, each.high, each.difference
    if low is None or high is None or middle is None:
        return f"{what} of {found.target} and {found.baseline} cannot be compared: {each.reason}"
    if not each.is_seen:
        ends = f"{_amount(each.metric, low)} to {_amount(each.metric, high)}"
        return f"no difference seen between {found.target} and {found.baseline} in {what} ({ends})"
    nearer, farther = sorted((abs(low), abs(high)))
    ends = f"{_amount(each.metric, nearer)} to {_amount(each.metric, farther)}"
    direction = "lower" if middle < 0.0 else "higher"
    return f"{what} of {found.target} is {_amount(each.metric, abs(middle))} ({ends}) {direction} than that of {found.baseline}"


def _amount(metric: str, value: float) -> str:
    if metric == FAILED:
        return f"{value * 100:.3g} points"
    sign = "-" if value < 0.0 else ""
    return f"{sign}{written.time(abs(value))}"
