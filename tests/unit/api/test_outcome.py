"""A run's outcome always fits into a termination message."""

import json

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
        stages=stages,
        verdict="Failed",
    )
    text = outcome.message_bytes()
    assert len(text) <= TERMINATION_BYTES
    kept = json.loads(text)
    assert (kept["outcome"], kept["reason"], kept["verdict"]) == ("failed", "X", "Failed")
    assert len(outcome.stages) == 500
