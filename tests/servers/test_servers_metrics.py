"""What llama-server says of itself in /metrics, against what it did."""

from typing import Any

import pytest


def test_counters_of_short_stages_are_those_of_the_server(serve: Any, measured: Any) -> None:
    server = serve()
    before = server.counters()
    run = measured(
        server.url,
        {"concurrency": 1, "requests": 1},
        {"concurrency": 3, "requests": 9},
        {"concurrency": 16, "requests": 48},
        target={"connectionTest": False},
    )
    after = server.counters()
    tokens = [16 * count for count in (1, 9, 48)]
    found = [stage["server"] for stage in run.stages]
    assert [figures["generation_tokens"]["increase"] for figures in found] == tokens
    assert sum(tokens) == after["tokens_predicted_total"] - before["tokens_predicted_total"]
    prompts = sum(figures["prompt_tokens"]["increase"] for figures in found)
    assert prompts == after["prompt_tokens_total"] - before["prompt_tokens_total"]
    for stage, figures in zip(run.stages, found, strict=True):
        counter = figures["generation_tokens"]
        assert counter["window_s"] >= stage["duration_s"]
        assert counter["per_second"] == pytest.approx(counter["increase"] / counter["window_s"])
        assert figures["prefix_cache_hit_ratio"]["value"] == pytest.approx(stage["cached_prompt_share"], abs=0.01)
        for gauge in (figures["running"], figures["waiting"]):
            assert (gauge["mean"] is None) == (gauge["readings"] == 0)


def test_a_queue_is_seen_in_the_gauges(serve: Any, measured: Any) -> None:
    server = serve("mid")
    run = measured(server.url, {"concurrency": 7, "duration": "4s"}, target={"model": "mid"}, request={"maxTokens": 24})
    figures = run.stage["server"]
    assert figures["running"]["readings"] >= 2
    assert figures["running"]["max"] == 4
    assert 1 <= figures["waiting"]["max"] <= 3


@pytest.mark.alone
def test_drafts_that_were_accepted_are_told_and_gaps_are_of_tokens(
    serve: Any, measured: Any, model_folder: Any
) -> None:
    """Speculative decoding, the model drafting for itself: several tokens come at once."""
    server = serve("tiny", "--model-draft", str(model_folder / "tiny.gguf"), "--spec-type", "draft-simple")
    before = server.counters()
    run = measured(
        server.url,
        {"concurrency": 1, "requests": 6},
        request={"maxTokens": 48, "extraArgs": {"ignore_eos": True, "timings_per_token": True}},
        target={"connectionTest": False},
    )
    after = server.counters()
    grown = {name: after[name] - before[name] for name in after}
    accepted = grown["spec_decode_num_accepted_tokens_total"] / grown["spec_decode_num_draft_tokens_total"]
    assert accepted > 0.5
    assert run.stage["server"]["spec_decode_acceptance"]["value"] == pytest.approx(accepted)
    assert sum(count for (count,) in run.rows("completion_tokens")) == grown["tokens_predicted_total"]
    token_gaps, gaps = run.stage["token_gap_s"], run.stage["itl_s"]
    # The first chunk of an answer has more than one token where its first character takes more.
    assert 0 <= grown["tokens_predicted_total"] - 6 - token_gaps["count"] <= 6, "all but those of each first chunk"
    assert token_gaps["mean"] * token_gaps["count"] == pytest.approx(gaps["mean"] * gaps["count"], rel=0.02)
