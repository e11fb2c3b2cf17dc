"""`evalscope.perf.plugin.datasets.utils`: texts of a wanted number of tokens."""

from collections.abc import Callable
from random import Random
from typing import Any

from perfbench_plugins.tokens import as_tokenizer
from perfbench_plugins.tokens import load_tokenizer as load_tokenizer


def tokenize_chat_messages(
    tokenizer: Any, messages: list[dict[str, Any]], add_generation_prompt: bool = True
) -> list[int]:
    """Token ids of chat messages, by the chat template; raises TokenizerError (a ValueError) without one."""
    ids: list[int] = as_tokenizer(tokenizer).apply_chat_template(messages, add_generation_prompt=add_generation_prompt)
    return ids


def converge_to_token_len(
    tokenizer: Any,
    token_ids: list[int],
    target_len: int,
    fill: Callable[[int], list[int]],
    add_special_tokens: bool = False,
    skip_special_tokens: bool = False,
    max_retry: int = 10,
) -> tuple[str, list[int], int]:
    """Text whose own token ids are `target_len`, those ids, and by how many they miss it.

    Text made of ids may have another number of ids; it is cut, or filled up with what `fill` gives, and tried again.
    """
    ids = list(token_ids)
    while True:
        text = tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        ids = list(tokenizer.encode(text, add_special_tokens=add_special_tokens))
        surplus = len(ids) - target_len
        if surplus == 0 or max_retry <= 0:
            return text, ids, surplus
        max_retry -= 1
        ids = ids[:target_len] if surplus > 0 else ids + list(fill(-surplus))


def gen_prompt_decode_to_target_len(
    tokenizer: Any,
    token_sequence: list[int],
    target_token_len: int,
    max_retry: int = 10,
    add_special_tokens: bool = False,
    allowed_tokens: Any = None,
) -> tuple[str, list[int], int]:
    """The same, filled up with random ids: of `allowed_tokens`, else of all that are no special ones."""
    special = set(tokenizer.all_special_ids)
    allowed = (
        [each for each in range(len(tokenizer)) if each not in special] if allowed_tokens is None else allowed_tokens
    )
    choices, random = [int(each) for each in allowed], Random(len(token_sequence))

    def fill(count: int) -> list[int]:
        return random.choices(choices, k=count)

    return converge_to_token_len(
        tokenizer, token_sequence, target_token_len, fill, add_special_tokens, False, max_retry
    )


def truncate_text_to_token_len(text: str, target_len: int, tokenizer: Any, add_special_tokens: bool = False) -> str:
    """The start of a text: at most so many tokens."""
    ids = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    return text if len(ids) <= target_len else str(tokenizer.decode(ids[:target_len], skip_special_tokens=True))


def fit_text_to_token_len(
    text: str, target_len: int, mode: str, tokenizer: Any, add_special_tokens: bool = False
) -> str | None:
    """The text, cut to so many tokens; None for a shorter one with mode `drop`."""
    if mode == "drop" and len(tokenizer.encode(text, add_special_tokens=add_special_tokens)) < target_len:
        return None
    return truncate_text_to_token_len(text, target_len, tokenizer, add_special_tokens)


def fit_prefix_to_budget(prefix_ids: list[int], budget: int, tokenizer: Any, max_retry: int = 10) -> str:
    """Text of so many tokens, from the start of a prefix, which is repeated where it is shorter."""
    if budget <= 0 or not prefix_ids:
        return ""
    pool = list(prefix_ids) * (budget // len(prefix_ids) + 2)
    used = budget

    def fill(count: int) -> list[int]:
        nonlocal used
        more = [pool[(used + index) % len(pool)] for index in range(count)]
        used += count
        return more

    return converge_to_token_len(tokenizer, pool[:budget], budget, fill, False, True, max_retry)[0]
