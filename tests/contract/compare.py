"""What must be the same on both: requests as they came in, and what is stored of them."""

import json
from collections.abc import Sequence
from itertools import zip_longest
from statistics import median
from typing import Any

NEAR_S = {"ttft": 0.04, "latency": 0.06, "gap": 0.008}
"""Medians may differ by this: endpoint and client share a busy machine with other tests."""

ON_TIME_S = 0.35
"""Arrivals may differ by this from what they differ by in the middle."""


def masked(value: Any) -> Any:
    """A body whose texts are random: each as a star, token ids as their number."""
    if isinstance(value, dict):
        return {name: each if name in ("role", "model", "type") else masked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    return "*" if isinstance(value, str) else value


def sent(found: dict[str, Any], hide: bool = False, unsent: Sequence[str] = ()) -> list[str]:
    """The requests, as text that sorts: in what order they came is the clients' own business.

    `unsent`: fields of the body that EvalScope sends by mistake.
    """
    kept = [{name: request[name] for name in ("path", "headers", "body")} for request in found["requests"]]
    kept = [{**one, "body": {name: one["body"][name] for name in one["body"] if name not in unsent}} for one in kept]
    return sorted(json.dumps(masked(one) if hide else one, sort_keys=True, ensure_ascii=False) for one in kept)


def counts(found: dict[str, Any], hide: bool = False) -> dict[str, Any]:
    """What is exact in the rows: how many succeeded, tokens, ids, whether they streamed, how many gaps."""
    rows = found["rows"]
    failed = sum(not row["success"] for row in rows)
    rows = [row for row in rows if row["success"]]
    prompt = [] if hide else sorted(row["prompt_tokens"] for row in rows)
    return {
        "succeeded": len(rows),
        "failed": failed,
        "streamed": sum(row["is_stream"] for row in rows),
        "prompt_tokens": prompt,
        "completion_tokens": sorted(row["completion_tokens"] for row in rows),
        "gaps": sorted(len(json.loads(row["inter_token_latencies"] or "[]")) for row in rows),
        "request_ids": sorted(str(row["request_id"]) for row in rows),
    }


def figures(found: dict[str, Any]) -> dict[str, float]:
    """Latencies: medians of TTFT, of all gaps and of whole requests, in seconds."""
    rows = [row for row in found["rows"] if row["success"]]
    gaps = [gap for row in rows for gap in json.loads(row["inter_token_latencies"] or "[]")]
    ttfts = [row["first_chunk_latency"] for row in rows if row["is_stream"] and row["first_chunk_latency"]]
    medians = {"latency": [row["latency"] for row in rows], "ttft": ttfts, "gap": gaps}
    return {name: median(values) for name, values in medians.items() if values}


def arrivals(found: dict[str, Any]) -> list[float]:
    """When requests came, in seconds from the first."""
    times = sorted(request["at_s"] for request in found["requests"])
    return [time - times[0] for time in times]


def digest(found: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """All that is compared of a case."""
    if "error" in found:
        return {"error": found["error"]}
    hide = case.get("masked", False)
    return {
        "sent": sent(found, hide, case.get("unsent", ())),
        "counts": counts(found, hide),
        "figures": {name: round(value, 4) for name, value in figures(found).items()},
        "arrivals": [round(each, 2) for each in arrivals(found)] if case.get("open_loop") else [],
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What is not the same in two digests."""
    if "error" in one or "error" in other:
        return [f"error: {one.get('error')} / {other.get('error')}"]
    found = []
    for left, right in zip_longest(one["sent"], other["sent"]):
        if left != right:
            found.append(f"sent: {left}\n   /  {right}")
    for name, value in one["counts"].items():
        if value != other["counts"][name]:
            found.append(f"{name}: {value} / {other['counts'][name]}")
    for name in one["figures"].keys() | other["figures"].keys():
        values = [digest["figures"].get(name) for digest in (one, other)]
        if None in values or abs(values[0] - values[1]) > NEAR_S[name]:
            found.append(f"{name}: {values[0]} / {values[1]}")
    late = [left - right for left, right in zip_longest(one["arrivals"], other["arrivals"], fillvalue=-9.0)]
    if (
        late and max(abs(each - median(late)) for each in late) > ON_TIME_S
    ):  # a first request that is late moves all others
        found.append(f"arrivals: {one['arrivals']} / {other['arrivals']}")
    return found
