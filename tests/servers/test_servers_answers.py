"""Answers of a real server, and what they are taken for: hidden tokens, other models, long prompts, several choices."""

from typing import Any

import pytest


def test_tokens_that_are_not_shown_are_successes(serve: Any, measured: Any) -> None:
    """One token, often one that stands for no text: as the first of models that begin with a hidden one."""
    server = serve()
    run = measured(
        server.url,
        {"concurrency": 4, "requests": 60},
        request={"maxTokens": 1, "temperature": 1.0, "extraArgs": {"logit_bias": [[1, 3.0]]}},
        target={"connectionTest": False},
    )
    counts = run.stage["requests"]
    assert (counts["succeeded"], counts["failed"], run.code) == (60, 0, 0), run.stdout
    hidden = run.rows("no_content, first_chunk_latency IS NULL, completion_tokens")
    assert sum(row[0] for row in hidden) == counts["no_content"] > 0
    assert all(no_content == is_null for no_content, is_null, _ in hidden)
    assert {tokens for *_, tokens in hidden} == {1}
    assert run.stage["ttft_s"]["count"] == 60 - counts["no_content"]
    assert "answers have tokens and no content" in run.notes


def test_a_model_that_the_server_has_not_is_told(serve: Any, measured: Any) -> None:
    server = serve()
    run = measured(server.url, target={"model": "llama-405b"})
    assert run.stage["requests"]["succeeded"] == 12
    assert run.stage["answers"]["models"] == {"tiny": 12}
    assert "12 answers are of model 'tiny', not of 'llama-405b': check target.model" in run.notes


def test_a_prompt_that_is_too_long_fails_in_the_server_s_words(serve: Any, measured: Any) -> None:
    server = serve("tiny", "--ctx-size", "1024")  # 256 for each of four
    dataset = {"name": "random", "minPromptLength": 600, "maxPromptLength": 600}
    run = measured(server.url, {"concurrency": 1, "requests": 3}, dataset=dataset)
    assert run.code == 1
    assert run.stage["errors"] == {"http_400": 3}
    (error, *_) = (error for (error,) in run.rows("error"))
    assert "exceeds the available context size" in error
    assert not error.startswith("{"), "in words, not in JSON"


@pytest.mark.parametrize("stream", [True, False])
def test_the_tokens_of_several_choices_are_those_that_the_server_made(serve: Any, measured: Any, stream: bool) -> None:
    server = serve()
    before = server.counters()["tokens_predicted_total"]
    run = measured(
        server.url,
        {"concurrency": 1, "requests": 5},
        request={"nChoices": 3, "stream": stream, "maxTokens": 8, "temperature": 0.7},
        target={"connectionTest": False},
    )
    made = server.counters()["tokens_predicted_total"] - before
    assert sum(count for (count,) in run.rows("completion_tokens")) == made == 5 * 3 * 8
    if stream:
        assert run.stage["tpot_s"]["mean"] == pytest.approx(run.stage["itl_s"]["mean"], rel=0.5, abs=0.001)


@pytest.mark.parametrize("has_tokenizer", [True, False])
def test_without_usage_tokens_are_counted_as_they_were_generated_and_marked(
    serve: Any, measured: Any, model_folder: Any, has_tokenizer: bool
) -> None:
    server = serve()
    before = server.counters()["tokens_predicted_total"]
    run = measured(
        server.url,
        {"concurrency": 2, "requests": 12},
        request={
            "maxTokens": 40,
            "temperature": 1.0,
            "extraArgs": {"stream_options": {"include_usage": False}, "ignore_eos": True},
        },
        dataset={"tokenizerPath": str(model_folder / "tokenizer")} if has_tokenizer else {},
        target={"connectionTest": False},
    )
    made = server.counters()["tokens_predicted_total"] - before
    counted = sum(count for (count,) in run.rows("completion_tokens"))
    source = "tokenizer" if has_tokenizer else "chunks"
    assert run.stage["token_sources"] == {source: 12}
    assert f"({source})" in run.stdout
    assert f"TPOT ({source})" in run.stdout
    # In chunks there are fewer: the server keeps a token back until the character that it begins is whole.
    few = 0.05 if has_tokenizer else 0.15
    assert counted == pytest.approx(made, rel=few), "a broken character is one token, not three"
    assert has_tokenizer or counted <= made


def test_prompts_are_as_long_as_asked_by_the_model_s_own_tokenizer(
    serve: Any, measured: Any, model_folder: Any
) -> None:
    server = serve()
    run = measured(
        server.url,
        {"concurrency": 2, "requests": 9},
        dataset={
            "name": "random",
            "tokenizerPath": str(model_folder / "tokenizer"),
            "minPromptLength": 100,
            "maxPromptLength": 100,
        },
    )
    answers = run.stage["answers"]
    assert (answers["prompts_checked"], answers["prompts_cut"], answers["prompts_longer"]) == (9, 0, 0)
    assert answers["mean_asked_tokens"] == answers["mean_reported_tokens"] == 100
    assert run.stage["prompt_tokens"]["min"] == run.stage["prompt_tokens"]["max"] == 100
