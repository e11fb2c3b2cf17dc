"""How targets differ, in words. Pure functions."""

from collections.abc import Iterator, Sequence

from perfbench_runner.results import written
from perfbench_runner.results.summary import Comparison, Difference

FAILED = "failed_share"
NAMES = {"ttft": "TTFT", "tpot": "TPOT", "e2e_latency": "E2E", FAILED: "failed requests"}
MOST_NAMED = 3
"""Pairs of targets of which nothing is known."""


def lines(found: Sequence[Comparison]) -> list[str]:
    """What is known of each pair, then what is not known of which of them; a reason that many share is said once."""
    return [*(line for each in found for line in in_words(each)), *_unknown(found)]


def in_words(found: Comparison, only_seen: bool = False) -> list[str]:
    """A line for each difference that is known: TTFT p99 of new is 12.3 ms (8.1 ms to 17.2 ms) lower than that of old."""
    said = (each for each in found.differences if each.is_seen or (each.is_seen is False and not only_seen))
    return [_said(found, each) for each in said]


def _unknown(found: Sequence[Comparison]) -> Iterator[str]:
    pairs: dict[tuple[str, str], list[str]] = {}
    """By what cannot be compared, and why."""
    for comparison in found:
        by_reason: dict[str, list[str]] = {}
        for each in comparison.differences:
            if each.is_seen is None:
                by_reason.setdefault(each.reason, []).append(_figure(each))
        for reason, figures in by_reason.items():
            pairs.setdefault((_listed(figures), reason), []).append(f"{comparison.target} and {comparison.baseline}")
    for (figures_, reason), of in pairs.items():
        whose = ", of ".join(of) if len(of) <= MOST_NAMED else f"{len(of)} of {len(found)} pairs of targets"
        yield f"{figures_} of {whose} cannot be compared: {reason}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _figure(each: Difference) -> str:
    return f"{NAMES[each.metric]} {each.statistic}" if each.statistic else f"share of {NAMES[each.metric]}"


def _said(found: Comparison, each: Difference) -> str:
    what, low, high, middle = _figure(each), each.low or 0.0, each.high or 0.0, each.difference or 0.0
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
