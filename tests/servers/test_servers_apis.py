"""Every API that llama-server speaks: requests succeed, and tokens are those that the server itself counts."""

from typing import Any

import pytest

GENERATING = ["openai", "openai_completions", "openai_responses", "anthropic"]


def target(url: str, api: str) -> dict[str, Any]:
    if api == "openai_completions":
        return {"url": f"{url}/v1/completions", "api": "openai"}
    return {"url": url, "api": api}


@pytest.mark.parametrize(("api", "stream"), [*((api, True) for api in GENERATING), ("openai", False)])
def test_tokens_are_those_that_the_server_counts(serve: Any, measured: Any, api: str, stream: bool) -> None:
    server = serve()
    before = server.counters()
    run = measured(
        server.url,
        {"concurrency": 1, "requests": 5},
        {"concurrency": 4, "requests": 16},
        target={**target(server.url, api), "connectionTest": False},
        request={"stream": stream},
    )
    after = server.counters()
    assert run.code == 0, run.stderr
    assert [stage["requests"]["succeeded"] for stage in run.stages] == [5, 16], run.stages
    assert all(stage["token_sources"].keys() == {"usage"} for stage in run.stages)
    grown = {name: after[name] - before[name] for name in after}
    ((prompt, completion),) = run_sums(run)
    assert completion == grown["tokens_predicted_total"]
    assert prompt == grown["prompt_tokens_total"] + grown["prompt_tokens_cached_total"]
    assert {model for (model,) in run.rows("model")} == {"tiny"}
    if stream:
        assert all(stage["ttft_s"]["count"] == stage["requests"]["succeeded"] for stage in run.stages)


def run_sums(run: Any) -> list[tuple[int, int]]:
    rows = run.rows("prompt_tokens, completion_tokens")
    return [(sum(prompt for prompt, _ in rows), sum(completion for _, completion in rows))]


def test_conversations_are_played_turn_by_turn_and_find_themselves_in_the_cache(serve: Any, measured: Any) -> None:
    server = serve()
    run = measured(
        server.url,
        {"concurrency": 2, "requests": 5},
        dataset={
            "name": "random_multi_turn",
            "minTurns": 3,
            "maxTurns": 3,
            "multiTurn": True,
            "args": {"first_turn_length": 200, "subsequent_turn_length": 30},
        },
    )
    stage = run.stage
    assert stage["conversations"]["completed"] == 5, run.stderr
    assert stage["requests"]["succeeded"] == 15
    cached = dict.fromkeys((1, 2, 3), 0)
    for turn, count in run.rows("turn, cached_tokens"):
        cached[turn] += count
    assert cached[1] < cached[2] < cached[3]
    assert stage["prompt_cache"]["state"] in ("partly_warm", "warm")
    assert "turns find their conversation in it" in run.notes


@pytest.mark.parametrize(
    ("api", "dataset", "options"),
    [
        ("openai_embedding", {"name": "random_embedding"}, ["--embeddings", "--pooling", "mean"]),
        ("openai_rerank", {"name": "random_rerank"}, ["--reranking"]),
    ],
)
def test_embedding_and_reranking_succeed(
    serve: Any, measured: Any, api: str, dataset: dict[str, Any], options: list[str]
) -> None:
    server = serve("tiny", *options)
    run = measured(
        server.url,
        {"concurrency": 3, "requests": 9},
        target={"api": api},
        dataset={**dataset, "maxPromptLength": 100},
        request={"extraArgs": {}},
    )
    assert run.stage["requests"]["succeeded"] == 9, run.stdout + run.stderr
    assert run.stage["prompt_tokens"]["min"] > 0
