"""A server that caches prefixes: nothing that it had cached can be taken for what it had not."""

from typing import Any

import pytest

LONG = {"name": "random", "minPromptLength": 150, "maxPromptLength": 150}
ONE_BY_ONE = {"concurrency": 1, "requests": 3}
FEW = {"maxTokens": 2}
MID = {"model": "mid"}


def test_the_connection_test_does_not_warm_the_first_request(serve: Any, measured: Any) -> None:
    server = serve("mid")
    run = measured(server.url, ONE_BY_ONE, target=MID, dataset=LONG, request=FEW)
    (first, *_) = run.rows("cached_tokens, prompt_tokens")
    assert first[0] < 0.1 * first[1], "the chat template alone"
    assert run.stage["prompt_cache"]["state"] == "cold"
    assert "TTFT, " in run.stdout
    assert "TTFT, cache" not in run.stdout


def test_a_run_again_is_another_one_unless_it_is_told_its_seed(serve: Any, measured: Any) -> None:
    server = serve("mid")
    seeded: dict[str, Any] = {"target": MID, "dataset": LONG, "request": FEW, "load": {"randomSeed": 5}}
    cold = measured(server.url, ONE_BY_ONE, **seeded)
    warm = measured(server.url, ONE_BY_ONE, **seeded)
    assert warm.stage["ttft_s"]["p50"] < cold.stage["ttft_s"]["p50"] / 3
    assert (cold.stage["prompt_cache"]["state"], warm.stage["prompt_cache"]["state"]) == ("cold", "warm")
    assert warm.stage["prompt_cache"]["hits"] == 3
    assert "latencies of a warm prefix cache" in warm.notes
    assert "TTFT, cache warm" in warm.stdout
    assert "no prompt was sent twice in this run" in warm.notes

    unseeded = measured(server.url, ONE_BY_ONE, target=MID, dataset=LONG, request=FEW)
    assert unseeded.stage["prompt_cache"]["state"] == "cold"


def test_a_head_costs_a_few_tokens_and_keeps_a_fixed_prompt_cold(serve: Any, measured: Any) -> None:
    server = serve()
    prompt = "Explain the tides to a sceptic, step by step. " * 10
    plain = measured(server.url, {"concurrency": 1, "requests": 6}, dataset={"prompt": prompt})
    unique = measured(server.url, {"concurrency": 1, "requests": 6}, dataset={"prompt": prompt, "unique": True})
    assert plain.stage["prompt_cache"]["state"] == "warm"
    assert plain.stage["prompt_cache"]["hits"] == 5
    assert plain.stage["prompts"]["repeated"] == 5
    assert "5 of 6 requests had a prompt that this run had sent before" in plain.notes
    assert unique.stage["prompt_cache"]["state"] == "cold"
    assert unique.stage["prompts"]["repeated"] == 0
    cost = unique.stage["prompt_tokens"]["mean"] - plain.stage["prompt_tokens"]["mean"]
    assert 5 <= cost <= 25, "this tokenizer has 2,048 tokens and breaks up most words"


@pytest.mark.alone
def test_a_verdict_of_a_warm_cache_says_so_and_one_that_is_meant_does_not(serve: Any, measured: Any) -> None:
    server = serve()
    stage = {"concurrency": 1, "requests": 120}
    objectives = [{"metric": "ttft", "statistic": "p50", "max": "10s"}]
    fixed: dict[str, Any] = {"prompt": "Explain the tides to a sceptic, step by step. " * 10}
    measured(server.url, stage, dataset=fixed)
    for meant in (False, True):
        run = measured(server.url, stage, dataset={**fixed, "measureCache": meant}, objectives=objectives)
        assert ("latencies of a warm prefix cache" in run.notes) != meant
        assert ("of 120 hits" in run.stdout) == meant
        assert run.summary["verdict"] in ("Passed", "Inconclusive"), "as on a busy machine"
        if run.summary["verdict"] == "Passed":
            assert bool(run.summary["verdict_reasons"]) != meant
