"""Random heads: prompts that no server can have in its cache, and a connection test that warms nothing."""

from random import Random
from typing import Any

import pytest

from perfbench_plugins.datasets.base import Turn
from perfbench_runner.load.heads import WORDS, NoTextError, head, own_prompt, with_head

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
PARTS = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://h/a.png"}}]}]
PROMPTS: list[Any] = [
    "Why?",
    CHAT,
    PARTS,
    [3, 1, 4, 1, 5],
    ["one text", "another"],
    [Turn(CHAT), Turn([{"role": "user", "content": "And then?"}])],
    {"messages": CHAT, "top_k": 3},
    {"prompt": "Why?"},
    {"input": ["a", "b"], "model": "m"},
    {"query": "Why?", "documents": ["a"]},
    {"system": "Be brief.", "messages": CHAT[1:]},
]


def first_text(prompt: Any) -> Any:
    """What a model reads first."""
    if isinstance(prompt, dict):
        prompt = next(prompt[name] for name in ("system", "messages", "prompt", "input", "query") if name in prompt)
    if isinstance(prompt, list):
        prompt = (
            prompt[0].messages[0]
            if isinstance(prompt[0], Turn)
            else prompt
            if isinstance(prompt[0], int)
            else prompt[0]
        )
    if isinstance(prompt, dict):
        prompt = prompt["content"]
    return (
        prompt[0]["text"]
        if isinstance(prompt, list) and isinstance(prompt[0], dict) and "text" in prompt[0]
        else prompt
    )


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_head_comes_first_and_leaves_the_rest_as_it_is(prompt: Any) -> None:
    before = repr(prompt)
    one, other = (with_head(prompt, Random(seed)) for seed in (1, 2))
    assert repr(prompt) == before
    assert type(one) is type(prompt)
    assert first_text(one) != first_text(other)
    if not isinstance(first_text(one), list):
        assert first_text(one).startswith(head(Random(1)))
    else:
        assert one[4:] == prompt
    assert with_head(prompt, Random(1)) == one


def test_a_head_is_a_few_words() -> None:
    assert all(len(head(Random(seed)).split()) == WORDS for seed in range(100))
    assert len({head(Random(seed)) for seed in range(10_000)}) == 10_000


@pytest.mark.parametrize(
    "prompt", [[], [{"role": "user"}], {"model": "m"}, [{"role": "user", "content": None}], [[1]], 3]
)
def test_what_has_no_text_is_refused(prompt: Any) -> None:
    with pytest.raises(NoTextError, match="there is no"):
        with_head(prompt, Random(0))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_connection_test_s_prompt_shares_nothing_with_a_prompt(prompt: Any) -> None:
    own = own_prompt(prompt, Random(5))
    assert type(own) is type(prompt) or isinstance(prompt[0], Turn)
    assert first_text(own) != first_text(prompt)
    if not isinstance(prompt, dict):
        assert len(str(own)) < 200, "short"
    if isinstance(prompt, list) and isinstance(prompt[0], int):
        assert {*own} <= {*prompt}, "ids that the model knows"


@pytest.mark.parametrize("prompt", [[{"role": "user"}], {"model": "m"}])
def test_a_prompt_of_unknown_shape_is_sent_as_it_is(prompt: Any) -> None:
    assert own_prompt(prompt, Random(0)) == prompt
