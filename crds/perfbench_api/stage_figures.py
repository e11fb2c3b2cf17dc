"""The type of a stage's figures in the status, for `kubectl explain`: those that a runner reports, and what is added to them."""

from typing import Annotated, Any

from perfbench_api.values import Schema


def _number(meaning: str) -> dict[str, Any]:
    return {"type": "number", "description": meaning}


def _count(meaning: str) -> dict[str, Any]:
    return {"type": "integer", "description": meaning}


def _latency(meaning: str) -> dict[str, Any]:
    figures = {"mean": "Mean.", "p50": "Median.", "p99": "99th percentile."}
    return _open(f"{meaning}, in seconds.", {name: _number(words) for name, words in figures.items()})


def _open(meaning: str, properties: dict[str, Any]) -> dict[str, Any]:
    """An object that keeps what a newer runner adds."""
    return {
        "type": "object",
        "description": meaning,
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": True,
    }


_REQUESTS = {
    "total": _count("Sent: succeeded, failed and unfinished."),
    "succeeded": _count("Answered."),
    "failed": _count("Answered with an error, or not at all."),
    "unfinished": _count("Cut off at the end of the grace period."),
    "unsent": _count("Due, but held by a limit until the stage was over."),
    "resent": _count("Sent again, because an idle connection proved to be closed."),
    "retried": _count("Sent again, because the target refused them for now."),
}
_WORKLOAD = {
    "requests": _count("Sent."),
    "failed": _count("Answered with an error, or not at all."),
    "request_throughput_rps": _number("Succeeded requests per second."),
    "ttft_p99_s": _number("99th percentile of the time to first token, in seconds."),
    "e2e_latency_p99_s": _number("99th percentile of the time from sent to the end of the answer, in seconds."),
}
PROPERTIES = {
    "name": {"type": "string", "description": "Name of the stage."},
    "requests": _open("Counts of requests.", _REQUESTS),
    "duration_s": _number("Seconds from the first request sent to the end of the last answer."),
    "request_throughput_rps": _number("Succeeded requests per second."),
    "output_token_throughput_tps": _number("Tokens of the answers per second."),
    "total_token_throughput_tps": _number("Tokens of prompts and answers per second."),
    "goodput": _open(
        "Requests that kept all limits of spec.goodput.",
        {"share": _number("Their share of all that were due."), "rate_rps": _number("How many there were per second.")},
    ),
    "ttft_s": _latency("Time to first token"),
    "itl_s": _latency("Time between tokens"),
    "tpot_s": _latency("Time per output token"),
    "e2e_latency_s": _latency("From sent to the end of the answer"),
    "scheduled_latency_s": _latency("From when it was due to the end of the answer"),
    "errors": {
        "type": "object",
        "description": "Failed requests by kind of error.",
        "additionalProperties": {"type": "integer"},
    },
    "workloads": {
        "type": "object",
        "description": "Of each workload, where there are several.",
        "additionalProperties": _open("Figures of a workload.", _WORKLOAD),
    },
    "targets": {
        "type": "object",
        "description": "Of each target, where there are several.",
        "additionalProperties": _open("Figures of a target.", _WORKLOAD),
    },
    "differences": {
        "type": "array",
        "description": "By how much targets differ, where that is beyond doubt.",
        "items": {"type": "string"},
    },
}
StageFigures = Annotated[
    list[dict[str, Any]],
    Schema({"type": "array", "items": _open("Figures of a stage.", PROPERTIES)}),
]
