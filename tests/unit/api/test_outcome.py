"""A run's outcome always fits into a termination message."""

import json
from typing import Any

import pytest

from perfbench_api.outcome import TERMINATION_BYTES, Outcome


def test_an_outcome_survives_the_termination_message() -> None:
    outcome = Outcome(outcome="succeeded", reason="Completed", verdict="Passed", client="valid")
    assert Outcome.model_validate_json(outcome.message_bytes()) == outcome


def test_a_long_outcome_is_cut_to_valid_json() -> None:
    stages = [{"name": f"c{number}", "requests": {"total": 1}, "ttft_s": {"p50": 0.1}} for number in range(500)]
    outcome = Outcome(
        outcome="failed",
        reason="X",
        message="ü" * 9000,
        client_reasons=["r" * 300] * 40,
        verdict_reasons=["v" * 5000] * 40,
        stages=stages,
        verdict="Failed",
    )
    text = outcome.message_bytes()
    assert len(text) <= TERMINATION_BYTES
    kept = json.loads(text)
    assert (kept["outcome"], kept["reason"], kept["verdict"]) == ("failed", "X", "Failed")
    assert len(outcome.stages) == 500


def stage_of(number: int) -> dict[str, Any]:
    """As full as the runner writes them."""
    latency = {"mean": 0.12345, "p50": 0.11111, "p99": 0.98765}
    counts = {"total": 2000, "succeeded": 1990, "failed": 10, "unfinished": 0, "unsent": 0, "resent": 0}
    throughputs = dict.fromkeys(
        ("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps"), 1234.5
    )
    latencies = dict.fromkeys(("ttft_s", "itl_s", "tpot_s", "e2e_latency_s", "scheduled_latency_s"), latency)
    return {"name": f"c{number}", "requests": counts, "duration_s": 60.123, **throughputs, **latencies}


def outcome_of(count: int, **more: Any) -> Outcome:
    given: dict[str, Any] = {
        "reason": "Completed",
        "verdict": "Passed",
        "client": "valid",
        "results": {"path": "/results/llama/results.sqlite", "bytes": 10**9, "sha256": "a" * 64, "rows": 10**6},
        "stages": [stage_of(number) for number in range(count)],
    }
    return Outcome(outcome="succeeded", **given | more)


@pytest.mark.parametrize("count", [1, 4, 7, 12, 30, 64])
def test_every_stage_is_kept_with_its_counts_and_a_figure(count: int) -> None:
    message = outcome_of(count).message_bytes()
    assert len(message) <= TERMINATION_BYTES
    kept = Outcome.model_validate_json(message)
    assert (len(kept.stages), kept.stages_omitted) == (count, 0)
    for number, stage in enumerate(kept.stages):
        full = stage_of(number)
        assert stage["name"] == full["name"]
        counts = {name: full["requests"][name] for name in ("total", "succeeded", "failed")}
        assert counts.items() <= stage["requests"].items()
        assert stage["request_throughput_rps"] == 1234.5
        assert set(stage) == set(kept.stages[0]), "fewer figures of all stages, not of some"
    assert kept.results is not None


@pytest.mark.parametrize("count", [1, 4])
def test_few_stages_keep_all_of_their_figures(count: int) -> None:
    assert Outcome.model_validate_json(outcome_of(count).message_bytes()) == outcome_of(count)


@pytest.mark.parametrize("count", [7, 12])
def test_what_people_look_at_first_is_kept_longest(count: int) -> None:
    (stage, *_) = json.loads(outcome_of(count).message_bytes())["stages"]
    assert stage["ttft_s"]["p99"] == 0.98765
    assert stage["e2e_latency_s"]["p99"] == 0.98765


def test_stages_that_had_to_be_left_out_are_counted() -> None:
    outcome = outcome_of(64, message="m" * 200)
    for stage in outcome.stages:
        stage["name"] = "a-name-of-sixty-three-characters-" + stage["name"].zfill(30)
    kept = Outcome.model_validate_json(outcome.message_bytes())
    assert 20 < len(kept.stages) < 64
    assert len(kept.stages) + kept.stages_omitted == 64
    assert len(kept.stages[0]["name"]) == 63


def test_figures_that_are_not_known_stay_away() -> None:
    outcome = outcome_of(64)
    for stage in outcome.stages[::2]:
        stage["ttft_s"] = {"p99": None}
    kept = Outcome.model_validate_json(outcome.message_bytes())
    assert "ttft_s" not in kept.stages[0]
    assert kept.stages[1]["ttft_s"] == {"p99": 0.98765}
