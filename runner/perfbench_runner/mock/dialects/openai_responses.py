"""OpenAI responses: /v1/responses. One message, before it a reasoning item if reasoning_tokens says so."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import orjson

from perfbench_runner.mock import words
from perfbench_runner.mock.dialects import openai
from perfbench_runner.mock.plan import BadRequestError, Call, Plan

_EVENTS_BETWEEN = 4  # reasoning closed (2), message opened (2)


class OpenAIResponses:
    paths = ("/v1/responses",)

    def plan(self, call: Call) -> Plan:
        given = call.body.get("input")
        if not isinstance(given, (str, list)) or not given:
            raise BadRequestError("input must be a string or a list of items, and not empty")
        tokens, cut = call.length("max_output_tokens")
        reply = _Reply(call, words.count_tokens(given), tokens, cut)
        if not call.body.get("stream"):
            return Plan.json(reply.document(), prompt_tokens=reply.prompt_tokens, tokens=tokens)
        head, content, tail, error = reply.events()
        return Plan.stream(
            content,
            prompt_tokens=reply.prompt_tokens,
            tokens=tokens,
            head=(head,),
            tail=(tail,),
            error=error,
        )

    def error(self, status: int, message: str) -> bytes:
        return openai.error_body(status, message)


class _Reply:
    """One answer: its items, and the events that tell of them, numbered through."""

    def __init__(self, call: Call, prompt_tokens: int, tokens: int, cut: bool) -> None:
        self.call, self.prompt_tokens, self.tokens, self.cut = call, prompt_tokens, tokens, cut
        self.reasoning = min(call.settings.reasoning_tokens, tokens)
        self._number = count()

    def document(self, status: str = "", output: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The response object; finished unless a status says otherwise."""
        call, cut = self.call, self.cut and not status
        document: dict[str, Any] = {
            "id": call.id("resp_"),
            "object": "response",
            "created_at": call.created,
            "status": status or ("incomplete" if cut else "completed"),
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": None,
            "metadata": {},
            "model": call.model,
            "output": self._items() if output is None else output,
            "parallel_tool_calls": True,
            "temperature": call.body.get("temperature"),
            "tool_choice": "auto",
            "tools": [],
            "top_p": call.body.get("top_p"),
            "usage": None,
        }
        if not status and call.settings.usage != "never":
            document["usage"] = {
                "input_tokens": self.prompt_tokens,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": self.tokens,
                "output_tokens_details": {"reasoning_tokens": self.reasoning},
                "total_tokens": self.prompt_tokens + self.tokens,
            }
        return document

    def event(self, kind: str, **fields: Any) -> bytes:
        return b"event: %b\n" % kind.encode() + openai.event(
            {"type": kind, **fields, "sequence_number": next(self._number)}
        )

    def events(self) -> tuple[bytes, Iterator[bytes], bytes, bytes]:
        """What comes before the first token, with each token, after the last, and in place of the rest if it fails."""
        kinds = "response.created", "response.in_progress"
        head = b"".join(self.event(kind, response=self.document("in_progress", [])) for kind in kinds)
        head += self._open_reasoning() if self.reasoning else self._open_message()
        first = next(self._number)
        self._number = count(first + self.tokens // 2)
        error = self.event("error", code="server_error", message=openai.SPOILT, param=None)
        between = _EVENTS_BETWEEN if 0 < self.reasoning < self.tokens else 0
        self._number = count(first + self.tokens + between)
        tail = b"".join(self._tail())
        self._number = count(first)  # for the content, which is made as it is sent
        return head, self._content(), tail, error

    def _content(self) -> Iterator[bytes]:
        if self.reasoning:
            yield from self._deltas("response.reasoning_text.delta", self._place("rs_", 0), self.reasoning)
        change = self._close_reasoning() + self._open_message() if 0 < self.reasoning < self.tokens else b""
        for event in self._deltas(
            "response.output_text.delta", self._message_place, self.tokens - self.reasoning, logprobs=[]
        ):
            yield change + event
            change = b""

    def _deltas(self, kind: str, place: dict[str, Any], tokens: int, **more: Any) -> Iterator[bytes]:
        fields = orjson.dumps({"type": kind, **place, **more})[:-1]
        start = b"event: %b\ndata: " % kind.encode() + fields + b',"delta":"'
        for word in words.pieces(tokens):
            yield start + word + b'","sequence_number":%d}\n\n' % next(self._number)

    def _tail(self) -> Iterator[bytes]:
        if self.reasoning == self.tokens:
            yield self._close_reasoning()
        else:
            message, part = self._items()[-1], _text(self._message_words)
            yield self.event("response.output_text.done", **self._message_place, text=part["text"], logprobs=[])
            yield self.event("response.content_part.done", **self._message_place, part=part)
            yield self.event("response.output_item.done", output_index=self._message_index, item=message)
        document = self.document()
        yield self.event(f"response.{document['status']}", response=document)

    def _open_reasoning(self) -> bytes:
        item = self._reasoning_item([])
        return self.event("response.output_item.added", output_index=0, item=item)

    def _close_reasoning(self) -> bytes:
        text = words.text(self.reasoning)
        done = self.event("response.reasoning_text.done", **self._place("rs_", 0), text=text)
        return done + self.event("response.output_item.done", output_index=0, item=self._items()[0])

    def _open_message(self) -> bytes:
        item = self._message_item([], "in_progress")
        added = self.event("response.output_item.added", output_index=self._message_index, item=item)
        return added + self.event("response.content_part.added", **self._message_place, part=_text(""))

    # ------------------------------------------------------------ items

    @property
    def _message_index(self) -> int:
        return 1 if self.reasoning else 0

    @property
    def _message_words(self) -> str:
        return words.text(self.tokens - self.reasoning)

    @property
    def _message_place(self) -> dict[str, Any]:
        return self._place("msg_", self._message_index)

    def _place(self, prefix: str, index: int) -> dict[str, Any]:
        return {"item_id": self.call.id(prefix), "output_index": index, "content_index": 0}

    def _items(self) -> list[dict[str, Any]]:
        items = []
        if self.reasoning:
            items.append(self._reasoning_item([{"type": "reasoning_text", "text": words.text(self.reasoning)}]))
        if self.tokens > self.reasoning:
            items.append(self._message_item([_text(self._message_words)], "incomplete" if self.cut else "completed"))
        return items

    def _reasoning_item(self, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self.call.id("rs_"), "type": "reasoning", "summary": [], "content": content}

    def _message_item(self, content: list[dict[str, Any]], status: str) -> dict[str, Any]:
        role = {"type": "message", "role": "assistant"}
        return {"id": self.call.id("msg_"), **role, "status": status, "content": content}


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
