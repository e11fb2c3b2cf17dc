"""Reranking, answered after ttft: Jina's and vLLM's /v1/rerank, Cohere's /v2/rerank, TEI's /rerank (texts, not documents)."""

from typing import Any

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_COHERE = "/v2/rerank"


class Rerank:
    paths = ("/v1/rerank", "/v1/reranks", _COHERE, "/rerank")

    def plan(self, call: Call) -> Plan:
        query, is_tei = call.body.get("query"), "texts" in call.body
        name = "texts" if is_tei else "documents"
        documents = call.body.get(name)
        if not isinstance(query, str) or not query:
            raise BadRequestError("query must be a string, and not empty")
        if not isinstance(documents, list) or not documents:
            raise BadRequestError(f"{name} must be a list with at least one text")
        # A cross encoder reads the query with each document.
        tokens = len(documents) * words.count_tokens(query) + words.count_tokens(documents)
        order = _ranked(len(documents), call.positive("top_n"))
        if is_tei:
            answer: Any = [{"index": index, "score": score} for index, score in order]
        else:
            answer = _cohere(call, order, tokens) if call.path == _COHERE else _jina(call, documents, order, tokens)
        return Plan.json(answer, prompt_tokens=tokens, tokens=0)

    def error(self, status: int, message: str) -> bytes:
        return openai.error_body(status, message)


def _ranked(size: int, top: int | None) -> list[tuple[int, float]]:
    """Indices of the documents and their scores, the best first: the last document is the best."""
    order = [(index, (index + 1) / size) for index in reversed(range(size))]
    return order[:top]


def _jina(call: Call, documents: list[Any], order: list[tuple[int, float]], tokens: int) -> dict[str, Any]:
    results = [
        {"index": index, "document": _document(documents[index]), "relevance_score": score} for index, score in order
    ]
    answer: dict[str, Any] = {"id": call.id("rerank-"), "model": call.model, "results": results}
    if call.settings.usage != "never":
        answer["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer


def _document(document: Any) -> Any:
    return {"text": document} if isinstance(document, str) else document


def _cohere(call: Call, order: list[tuple[int, float]], tokens: int) -> dict[str, Any]:
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    if call.settings.usage != "never":
        meta["tokens"] = {"input_tokens": tokens}
    results = [{"index": index, "relevance_score": score} for index, score in order]
    return {"id": call.id("rerank-"), "results": results, "meta": meta}
