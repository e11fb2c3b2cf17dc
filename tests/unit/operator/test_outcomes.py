"""What a finished runner has said, in the status: figures, stages that had no space, the verdict and why."""

import json

import pytest
from bodies import (
    CANCELLED,
    EARLIER,
    FAILED,
    NOW,
    STAGE,
    body,
    conditions,
    ended,
    message,
    observed,
    running,
)

from perfbench_api.outcome import Outcome, Progress
from perfbench_operator.events import phase_event
from perfbench_operator.status.compute import compute
from perfbench_operator.status.figures import stages_of


def test_final_figures_are_rounded_and_readable() -> None:
    status = compute(observed(pods=[ended(message(verdict="Passed", client="valid"), 0)])).dump()
    assert status["verdict"] == "Passed"
    assert status["live"] == {
        "requests": 80,
        "failed": 1,
        "inFlight": 0,
        "requestsPerSecond": 12.35,
        "outputTokensPerSecond": 789.1,
        "ttftP50": "51.2ms",
        "ttftP99": "1.23s",
        "itlP50": "9.88ms",
        "itlP99": "21.2ms",
    }
    assert status["summary"][0]["request_throughput_rps"] == 12.3457
    assert status["progress"]["done"] == "100%"
    assert status["client"] == {"state": "valid", "reasons": []}
    assert status["results"] == {
        "claim": "chat-results",
        "path": "models/chat/0a1b/benchmark.db",
        "bytes": 4096,
        "sha256": "ab",
        "rows": 80,
        "complete": True,
    }


@pytest.mark.parametrize(("omitted", "text"), [(1, "1 more stage is only"), (58, "58 more stages are only")])
@pytest.mark.parametrize("kind", ["succeeded", "interrupted"])
def test_stages_that_the_termination_message_leaves_out_are_counted(kind: str, omitted: int, text: str) -> None:
    spec = CANCELLED if kind == "interrupted" else body()
    status = compute(observed(body=spec, pods=[ended(message(kind, stages_omitted=omitted))]))
    assert status.dump()["stagesOmitted"] == omitted
    assert f"{text} in summary.json" in status.message


@pytest.mark.parametrize("count", [1, 8, 64])
def test_the_whole_summary_is_kept_when_the_termination_message_has_only_a_part(count: int) -> None:
    whole = Outcome(outcome="succeeded", stages=[{**STAGE, "name": f"c{number}"} for number in range(count)])
    done = Progress(phase="done", stage=f"c{count - 1}")
    before = compute(observed(pods=[running()], progress=done, outcome=whole)).dump()
    assert before["phase"] == "Running", "its pod has not ended"
    found = compute(observed(body=body(status=before), pods=[ended(message(stages_omitted=count - 1), 0)])).dump()
    assert [stage["name"] for stage in found["summary"]] == [f"c{number}" for number in range(count)]
    assert "stagesOmitted" not in found
    assert found["progress"]["stage"] == f"c{count - 1}"
    assert found["results"]["rows"] == 80


def test_the_summary_of_an_attempt_before_is_not_that_of_the_next() -> None:
    before = body(status={"phase": "Running", "startTime": EARLIER, "summary": [STAGE], "stagesOmitted": 3})
    found = compute(observed(body=before, pods=[running()], progress=Progress(phase="warmup"))).dump()
    assert not {"summary", "stagesOmitted"} & found.keys()


def test_a_summary_that_is_too_long_for_kubernetes_is_cut_and_counted() -> None:
    stages, omitted = stages_of(Outcome(outcome="succeeded", stages=[STAGE] * 5000, stages_omitted=2))
    assert stages is not None
    assert len(json.dumps(stages)) < 500_000
    assert len(stages) + (omitted or 0) == 5002


def test_nothing_omitted_is_not_mentioned() -> None:
    status = compute(observed(pods=[ended(message(), 0)]))
    assert "stagesOmitted" not in status.dump()
    assert "summary.json" not in status.message


@pytest.mark.parametrize(
    ("omitted", "seen", "shown"),
    [
        (0, None, ("c8", 80)),
        (0, "c4", ("c8", 80)),  # the operator was away when the last stage began
        (3, None, ("c8", 80)),
        (3, "c64", ("c64", 7)),  # c8 is not the last one: what the runner said last stays
    ],
)
def test_the_columns_show_name_and_figures_of_the_same_stage(
    omitted: int, seen: str | None, shown: tuple[str, int]
) -> None:
    before = {"progress": {"stage": seen}, "live": {"requests": 7}} if seen else {}
    ended_pod = ended(message(stages_omitted=omitted), 0)
    status = compute(observed(body=body(status=before), pods=[ended_pod]))
    assert status.progress is not None
    assert status.live is not None
    assert (status.progress.stage, status.live.requests) == shown


def test_nan_never_gets_into_a_status() -> None:
    text = json.dumps({"outcome": "succeeded", "stages": [{"name": "a", "ttft_s": {"p99": float("nan")}}]})
    status = compute(observed(pods=[ended(text, 0)])).dump()
    assert status["summary"] == [{"name": "a", "ttft_s": {}}]
    json.dumps(status, allow_nan=False)


MISSED = "ttft p99 is 0.61 in stage c8, not <= 0.5"


@pytest.mark.parametrize(
    ("verdict", "condition"),
    [
        ("Passed", ("True", "ObjectivesMet")),
        ("Failed", ("False", "ObjectiveMissed")),
        ("Inconclusive", ("Unknown", "Inconclusive")),
        (None, ("Unknown", "NoObjectives")),
    ],
)
def test_the_verdict_and_its_reason_are_told(verdict: str | None, condition: tuple[str, str]) -> None:
    is_open = verdict in ("Failed", "Inconclusive")
    text = message(verdict=verdict, verdict_reasons=[MISSED, "and another"] if is_open else [])
    found = compute(observed(pods=[ended(text, 0)]))
    assert conditions(found)["ObjectivesMet"] == condition
    assert found.verdict == verdict
    assert (MISSED in found.message) == is_open
    assert found.verdict_reason == (f"{MISSED}; and another" if is_open else None)
    told = phase_event(body(), {}, found.dump(), NOW)
    assert told is not None
    assert (MISSED in told["message"]) == is_open


def test_objectives_of_a_run_that_failed_are_not_known() -> None:
    spec = body({"objectives": [{"metric": "ttft"}]})
    found = compute(observed(body=spec, job=FAILED, pods=[ended(code=137)]))
    assert conditions(found)["ObjectivesMet"] == ("Unknown", "RunnerKilled")


@pytest.mark.parametrize(
    ("found", "condition"),
    [
        ({"load": 60.9123456, "low": 58.3, "high": 63.6, "confirmed": True}, ("True", "Confirmed")),
        ({"load": 60.9, "low": 58.3, "high": 63.6, "confirmed": False}, ("Unknown", "NotConfirmed")),
        ({"load": 60.9, "low": 58.3, "high": 63.6}, ("Unknown", "Open")),
        ({"load": 8, "low": 7, "high": 9, "goal": "knee"}, ("True", "KneeFound")),
        ({"high": 1.0}, ("False", "NoneCarried")),
        ({}, ("Unknown", "Open")),
    ],
)
def test_what_a_search_has_found_is_told(found: dict[str, object], condition: tuple[str, str]) -> None:
    text = message(search={"kind": "rate", "points": 13, "reason": "known to 4.5%", **found})
    status = compute(observed(pods=[ended(text, 0)]))
    assert conditions(status)["LoadFound"] == condition
    assert status.search is not None
    assert (status.search.points, status.search.reason) == (13, "known to 4.5%")
    if "load" in found:
        assert status.search.load == pytest.approx(found["load"], rel=1e-3)


def test_a_run_without_a_search_has_no_condition_of_one() -> None:
    assert "LoadFound" not in conditions(compute(observed(pods=[ended(message(), 0)])))
