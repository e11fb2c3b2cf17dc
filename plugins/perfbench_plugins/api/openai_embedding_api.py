"""API `openai_embedding`: embeddings of any OpenAI-compatible server (/v1/embeddings)."""

from typing import Any

from perfbench_plugins.api.chat import are_token_ids, as_text
from perfbench_plugins.api.default_api import NOTHING, DefaultApiPlugin, TokenCount, error_text
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import register_api
from perfbench_plugins.tokens import Tokenizer
from perfbench_plugins.urls import ENDPOINTS

DATASET_OPTIONS = ("batch_size", "num_documents", "document_length_ratio")
"""EvalScope's users give these in extra_args; they are meant for the dataset, not for the server."""


def body_args(param: Arguments) -> dict[str, Any]:
    """The run's further fields of the body."""
    return {name: value for name, value in (param.extra_args or {}).items() if name not in DATASET_OPTIONS}


class ScoringPlugin(DefaultApiPlugin):
    """What embedding and reranking have in common: the answer is a list, there is no text and nothing is streamed."""

    generates = False
    answers: tuple[str, ...] = ()
    """Fields that hold the answer."""
    items: tuple[type, ...] = (dict,)
    """What a bare list, which is an answer too, may hold."""

    def read_message(self, message: Any) -> Piece:
        """The whole answer: known by its list, else an error."""
        if isinstance(message, list) and message and type(message[0]) in self.items:
            return NOTHING
        if isinstance(message, dict):
            if message.get("error") or message.get("detail"):
                return Piece(error=error_text(message.get("error") or message["detail"]))
            if any(isinstance(found := message.get(name), (list, dict)) and found for name in self.answers):
                return NOTHING
            if message.get("message"):
                return Piece(error=error_text(message))
        return Piece(error=f"an answer without {' or '.join(self.answers)}")

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Prompt tokens as the server reports them, else by the tokenizer, else unknown; no completion tokens."""
        for message in reversed(responses):
            tokens = self.reported(message) if isinstance(message, dict) else None
            if tokens is not None:
                return TokenCount(tokens, 0, "usage")
        counted = self.estimate(responses, request)
        if counted.source == "tokenizer":
            return TokenCount(counted.prompt, 0, "tokenizer")
        return TokenCount(None, 0, "none")

    def reported(self, message: dict[str, Any]) -> int | None:
        """Prompt tokens that an answer reports."""
        usage = message.get("usage") or {}
        tokens: int | None = usage.get("prompt_tokens") or usage.get("total_tokens")
        return tokens


@register_api(["openai_embedding", "embedding"])
class OpenaiEmbeddingPlugin(ScoringPlugin):
    """One text, a batch of texts, or token ids a request; its latency ends with the last byte of the vectors."""

    suffix = "embeddings"
    endpoints = ENDPOINTS
    takes_token_ids = True
    fields = {}
    answers = ("data", "embeddings", "embedding")
    items = (dict, list, float, int)

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for a text, texts, token ids or chat messages; a whole body from the dataset is completed."""
        param = param or self.param
        body = {"model": param.model, **body_args(param)}
        if isinstance(messages, dict):
            return {**body, **messages}
        if param.tokenize_prompt and not are_token_ids(messages):
            many = isinstance(messages, list) and bool(messages) and isinstance(messages[0], str)
            return {"input": list(map(self.token_ids, messages)) if many else self.token_ids(as_text(messages)), **body}
        is_chat = isinstance(messages, list) and bool(messages) and isinstance(messages[0], dict)
        return {"input": as_text(messages) if is_chat else messages, **body}

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int:
        """Tokens of all inputs together."""
        given = body.get("input") or ""
        if isinstance(given, str):
            return tokenizer.count(given)
        if are_token_ids(given):
            return len(given)
        return sum(len(each) if isinstance(each, list) else tokenizer.count(each) for each in given)
