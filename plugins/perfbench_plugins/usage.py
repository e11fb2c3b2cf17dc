"""Numbers of tokens, and who counted them: checked where a server reports them."""

from typing import Any


class UsageError(ValueError):
    """Usage that a server reports and that is none."""


def reported_tokens(name: str, value: Any) -> int | None:
    """A number of tokens as a server reports it; raises UsageError for anything that is none."""
    if value is None or (type(value) is int and value >= 0):
        return value
    if type(value) is float and value >= 0 and value.is_integer():
        return int(value)
    raise UsageError(f"the server reports {str(value)[:40]!r} {name} tokens in usage, which is no number of tokens")


class TokenCount(tuple[int, int]):
    """(prompt, completion) tokens, and who counted them. What nobody knows is 0 in the tuple and None in its attribute.

    What is taken from `usage` is checked: raises UsageError, which makes the request fail as the server's mistake.
    """

    prompt: int | None
    completion: int | None
    source: str
    """usage, tokenizer, chunks, or none."""
    cached: int | None

    def __new__(
        cls, prompt: int | None, completion: int | None, source: str, cached: int | None = None
    ) -> "TokenCount":
        if source == "usage":
            prompt, completion = reported_tokens("prompt", prompt), reported_tokens("completion", completion)
            cached = reported_tokens("cached", cached)
        self = super().__new__(cls, (prompt or 0, completion or 0))
        self.prompt, self.completion, self.source, self.cached = prompt, completion, source, cached
        return self
