"""API `anthropic`: Anthropic's Messages API (/v1/messages), also as vLLM, LiteLLM and others serve it."""

from typing import Any, Literal

import orjson

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.chat import Message, as_messages, image_of
from perfbench_plugins.api.default_api import NOTHING, UNKNOWN, DefaultApiPlugin, TokenCount, error_text
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.content import message_text
from perfbench_plugins.images import split_data_url
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import register_api
from perfbench_plugins.usage import reported_tokens

COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
KNOWN = ("message_start", "content_block_start", "content_block_stop", "message_delta", "ping")


class AnthropicArgs(BaseApiArgs):
    """Options of the API anthropic."""

    version: str = "2023-06-01"
    """Header anthropic-version."""
    beta: list[str] = []
    """Header anthropic-beta."""
    auth: Literal["x-api-key", "bearer"] = "x-api-key"
    """Header that carries the API key: x-api-key, or Authorization as vLLM and some gateways want it."""


@register_api("anthropic")
class AnthropicPlugin(DefaultApiPlugin):
    """Chat messages; thinking counts for TTFT and is no part of the answer, cached tokens are part of the prompt."""

    suffix = "messages"
    args_schema = AnthropicArgs
    chats = True
    fields = {
        "max_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "stop_sequences": "stop",
        "stream": "stream",
    }

    def headers(self, api_key: str | None) -> dict[str, str]:
        """The version, and the key where Anthropic looks for it."""
        headers = {"anthropic-version": self.api_args.version}
        if self.api_args.beta:
            headers["anthropic-beta"] = ",".join(self.api_args.beta)
        if api_key and self.api_args.auth == "x-api-key":
            return {"x-api-key": api_key, **headers}
        return {**super().headers(api_key), **headers}

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages or a text; a whole body from the dataset is completed, not changed."""
        param = param or self.param
        body = {"model": param.model, **self.parameters(param), **(param.extra_args or {})}
        if isinstance(messages, dict):
            body |= messages
        else:
            chat = as_messages(messages, "anthropic")
            system = "\n\n".join(message_text(each) for each in chat if each.get("role") == "system")
            turns = [_turn(message) for message in chat if message.get("role") != "system"]
            body = {"messages": turns, **({"system": system} if system else {}), **body}
        if "max_tokens" not in body:
            raise ValueError("anthropic needs a longest answer; give request.maxTokens")
        return body

    def read_message(self, message: Any) -> Piece:
        """An event by its type, or the whole message."""
        if not isinstance(message, dict):
            return UNKNOWN
        kind = message.get("type")
        if kind == "content_block_delta":
            delta = message["delta"]
            return Piece(delta.get("text") or delta.get("partial_json") or "", delta.get("thinking") or "")
        if kind == "message_stop" or (kind == "message_delta" and (message.get("delta") or {}).get("stop_reason")):
            return Piece(is_last=True)
        if kind == "error" or message.get("error"):
            return Piece(error=error_text(message.get("error") or message))
        if kind == "content_block_start":
            return Piece((message.get("content_block") or {}).get("name") or "")  # of a tool that is called
        if kind == "message" and "content" in message:
            return _whole(message["content"])
        return NOTHING if kind in KNOWN else UNKNOWN

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the message, or its first and last events, report them; else estimated."""
        usage: dict[str, int] = {}
        for message in responses:
            if isinstance(message, dict) and message.get("type") != "content_block_delta":
                reported = (message.get("message") or message).get("usage") or {}
                counts = {name: reported_tokens(name, reported.get(name)) or 0 for name in COUNTS if name in reported}
                # Counts are cumulative, yet some servers say 0 in one of the events for what they do not know there.
                usage |= {name: max(count, usage.get(name, 0)) for name, count in counts.items()}
        if not usage.get("output_tokens") and not usage.get("input_tokens"):
            return self.estimate(responses, request)
        return _count(usage)


def _count(usage: dict[str, int]) -> TokenCount:
    """Anthropic's input_tokens leave out what was read from or written to the cache; the prompt is all of them."""
    cached = usage.get("cache_read_input_tokens")
    prompt = usage.get("input_tokens", 0) + usage.get("cache_creation_input_tokens", 0) + (cached or 0)
    return TokenCount(prompt, usage.get("output_tokens", 0), "usage", cached)


def _whole(blocks: list[dict[str, Any]]) -> Piece:
    text = reasoning = ""
    for block in blocks:
        text += block.get("text") or ""
        reasoning += block.get("thinking") or ""
        if block.get("type") == "tool_use":
            text += (block.get("name") or "") + orjson.dumps(block.get("input")).decode()
    return Piece(text, reasoning, "", True)


def _turn(message: Message) -> Message:
    """A chat message as Anthropic has them: results of tools are the user's, calls are blocks."""
    role, content = message.get("role", "user"), message.get("content")
    if role == "tool":
        result = {"type": "tool_result", "tool_use_id": message.get("tool_call_id") or "", "content": content or ""}
        return {"role": "user", "content": [result]}
    blocks = [_block(part) for part in content] if isinstance(content, list) else content
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    if calls:
        before = [{"type": "text", "text": blocks}] if isinstance(blocks, str) and blocks else blocks or []
        blocks = [*before, *calls]
    return {"role": role, "content": blocks or ""}


def _block(part: Any) -> Any:
    url = image_of(part)
    if url is None:
        return part
    data = split_data_url(url)
    if data is None:
        return {"type": "image", "source": {"type": "url", "url": url}}
    return {"type": "image", "source": {"type": "base64", "media_type": data[0], "data": data[1]}}


def _call(call: dict[str, Any]) -> Message:
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    given = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    return {"type": "tool_use", "id": call.get("id") or "", "name": function.get("name") or "", "input": given}
