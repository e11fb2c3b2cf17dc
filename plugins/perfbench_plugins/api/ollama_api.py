"""API `ollama`: Ollama's own protocol (/api/chat and /api/generate), whose streams are lines of JSON."""

from collections.abc import Mapping
from typing import Any

import orjson

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.chat import are_token_ids, image_of
from perfbench_plugins.api.default_api import UNKNOWN, DefaultApiPlugin, TokenCount, error_text
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.content import content_text
from perfbench_plugins.images import split_data_url
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import register_api
from perfbench_plugins.urls import ends_in

CHAT, GENERATE = "/api/chat", "/api/generate"
OF_BODY = ("format", "keep_alive", "raw", "stream", "suffix", "system", "template", "think", "tools")
"""Fields of the body itself; any other parameter is one of its `options`."""


class OllamaArgs(BaseApiArgs):
    """Options of the API ollama."""

    num_ctx: int | None = None
    """Context length, prompt and answer together; longer prompts are cut without a word. The server's own if not given."""
    keep_alive: str | int | None = None
    """How long the model stays loaded after a request, such as 10m; -1 for ever."""
    think: bool | None = None
    """Whether a model that can think does so."""


@register_api("ollama")
class OllamaPlugin(DefaultApiPlugin):
    """Chat messages to /api/chat; a text to /api/generate, if the URL ends so."""

    suffix = CHAT
    args_schema = OllamaArgs
    reads_lines = True
    fields = {
        "num_predict": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "frequency_penalty": "frequency_penalty",
        "repeat_penalty": "repetition_penalty",
        "seed": "seed",
        "stop": "stop",
    }

    @classmethod
    def takes_chat(cls, url: str) -> bool:
        """All but /api/generate, which takes a text."""
        return not ends_in(url, GENERATE.removeprefix("/"))

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages or a text; a whole body from the dataset is completed, not changed."""
        param = param or self.param
        if are_token_ids(messages):
            raise ValueError("ollama takes no token ids; leave dataset.tokenizePrompt out")
        args = self.api_args
        options = self.parameters(param) | ({} if args.num_ctx is None else {"num_ctx": args.num_ctx})
        own = {"keep_alive": args.keep_alive, "think": args.think}
        body: dict[str, Any] = {"model": param.model, "stream": bool(param.stream), "options": options}
        body |= {name: value for name, value in own.items() if value is not None}
        for name, value in (param.extra_args or {}).items():
            if name in OF_BODY:
                body[name] = value
            else:
                options |= value if name == "options" else {name: value}
        if isinstance(messages, dict):
            return {**body, **messages, "options": {**options, **(messages.get("options") or {})}}
        if isinstance(messages, str):
            return {**body, "prompt": messages}
        return {**body, "messages": [_with_images(message) for message in messages]}

    def read_message(self, message: Any) -> Piece:
        """A line of a stream, or the whole answer, of either path."""
        if not isinstance(message, dict):
            return UNKNOWN
        if message.get("error"):
            return Piece(error=error_text(message["error"]))
        if "done" not in message:
            return UNKNOWN
        said = message.get("message") or {"content": message.get("response"), "thinking": message.get("thinking")}
        text = (said.get("content") or "") + "".join(map(_call, said.get("tool_calls") or ()))
        return Piece(text, said.get("thinking") or "", "", bool(message["done"]))

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the last line reports them; what is not in it by the tokenizer."""
        last = responses[-1] if responses else {}
        completion, prompt = last.get("eval_count"), last.get("prompt_eval_count")
        if completion is None:
            return self.estimate(responses, request)
        if prompt is None and self.counter is not None:  # some versions leave it out where all of it was cached
            return TokenCount(self.estimate(responses, request).prompt, completion, "tokenizer")
        return TokenCount(prompt, completion, "usage")


def _call(call: Mapping[str, Any]) -> str:
    function = call.get("function") or {}
    return (function.get("name") or "") + orjson.dumps(function.get("arguments") or {}).decode()


def _with_images(message: dict[str, Any]) -> dict[str, Any]:
    """A chat message as Ollama has it: its text, and its images as bare base64 beside it."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    images = []
    for url in filter(None, map(image_of, content)):
        data = split_data_url(url)
        if data is None:
            raise ValueError(f"ollama takes no image by its URL: {url[:80]}; give a file or its data")
        images.append(data[1])
    return {**message, "content": content_text(content), **({"images": images} if images else {})}
