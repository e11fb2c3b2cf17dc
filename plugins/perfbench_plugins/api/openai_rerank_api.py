"""API `openai_rerank`: reranking, in the shapes of Jina, Cohere and vLLM (one shape), and of Hugging Face's TEI."""

from typing import Any, Literal

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.openai_embedding_api import ScoringPlugin, body_args
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import register_api
from perfbench_plugins.tokens import Tokenizer
from perfbench_plugins.urls import ENDPOINTS

PATHS = {"jina": "rerank", "cohere": "/v2/rerank", "tei": "/rerank"}


class RerankArgs(BaseApiArgs):
    """Options of the API openai_rerank."""

    dialect: Literal["jina", "cohere", "tei"] = "jina"
    """jina: query and documents to /v1/rerank, as vLLM and Infinity too; cohere: the same to /v2/rerank; tei: query and
    texts to /rerank, as Text Embeddings Inference."""


@register_api(["openai_rerank", "rerank"])
class OpenaiRerankPlugin(ScoringPlugin):
    """A query and its documents a request; its latency ends with the last byte of the scores."""

    fields = {}
    endpoints = ENDPOINTS
    answers = ("results", "data")
    args_schema = RerankArgs

    @classmethod
    def path(cls, param: Arguments) -> str:
        """By the dialect."""
        return PATHS[cls.read_args(param).dialect]

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for {query, documents}, what is beside them completed; raises ValueError for anything else."""
        param = param or self.param
        if not isinstance(messages, dict) or "query" not in messages or not messages.keys() & {"documents", "texts"}:
            raise ValueError("reranking needs a query and documents; use the dataset rerank or random_rerank")
        given = dict(messages)
        documents = given.pop("documents", None) or given.pop("texts", None)
        if self.api_args.dialect == "tei":
            return {"texts": documents, **body_args(param), **given}
        return {"model": param.model, "documents": documents, **body_args(param), **given}

    def reported(self, message: dict[str, Any]) -> int | None:
        """Prompt tokens by Jina's usage or Cohere's meta.tokens; its billed search units are no tokens."""
        counted: int | None = ((message.get("meta") or {}).get("tokens") or {}).get("input_tokens")
        return super().reported(message) or counted

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int:
        """The query is read with each document."""
        documents = body.get("documents") or body.get("texts") or []
        texts = [each.get("text") or "" if isinstance(each, dict) else each for each in documents]
        return len(texts) * tokenizer.count(body.get("query") or "") + sum(map(tokenizer.count, texts))
