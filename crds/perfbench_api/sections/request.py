"""`spec.request`: the parameters of every request."""

from typing import Self

from pydantic import Field, model_validator

from perfbench_api.values import Free, Section, Tokens


class Request(Section):
    """The parameters of every request, under EvalScope's names."""

    max_tokens: Tokens | list[Tokens] | None = Field(
        2048, json_schema_extra={"x-kubernetes-preserve-unknown-fields": True}
    )
    """Maximum length of an answer: a number of tokens, or [min, max] to draw one for each request."""
    min_tokens: Tokens | None = Field(None, ge=0)
    """Minimum length of an answer, if the server supports min_tokens."""
    temperature: float | None = Field(0.0, ge=0)
    """Sampling temperature."""
    top_p: float | None = None
    """Nucleus sampling."""
    top_k: int | None = None
    """Sampling among the k most likely tokens."""
    frequency_penalty: float | None = None
    """Penalty on frequent tokens."""
    repetition_penalty: float | None = None
    """Penalty on repeated tokens."""
    logprobs: bool | None = None
    """Ask for log probabilities."""
    n_choices: int | None = Field(None, ge=1)
    """Answers per request (`n`); the first is timed."""
    seed: int | None = None
    """Sampling seed sent in the body."""
    stop: list[str] | None = None
    """Texts that end an answer."""
    stop_token_ids: list[int] | None = None
    """Tokens that end an answer."""
    stream: bool | None = True
    """Stream the answer; without it there is no TTFT or ITL."""
    extra_args: Free | None = None
    """Further fields of the body, added last."""
    query_template: str | None = None
    """Body (JSON, or @FILE with it) that messages and parameters are put into, for APIs in OpenAI's shape."""

    @model_validator(mode="after")
    def _range_is_a_range(self) -> Self:
        length = self.max_tokens
        if isinstance(length, list) and (len(length) != 2 or not 0 < length[0] <= length[1]):
            raise ValueError(f"maxTokens {length} is not a range; write [min, max]")
        if isinstance(length, int) and length < 1:
            raise ValueError("maxTokens must be at least 1")
        most = length[0] if isinstance(length, list) else length
        if self.min_tokens is not None and most is not None and self.min_tokens > most:
            raise ValueError(f"minTokens {self.min_tokens} is above maxTokens {most}; no answer can have both")
        return self
