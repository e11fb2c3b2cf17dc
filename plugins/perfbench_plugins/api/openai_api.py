"""API `openai`: chat and text completions of any OpenAI-compatible server."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

from perfbench_plugins.api.chat import are_token_ids, with_images
from perfbench_plugins.api.default_api import DefaultApiPlugin, TokenCount
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.registry import PluginError, register_api
from perfbench_plugins.urls import CHAT, COMPLETIONS, ENDPOINTS, redirected

LOCAL = ("local", "local_vllm")


def with_usage(body: dict[str, Any]) -> dict[str, Any]:
    """The body, which asks for usage if its answer is streamed, in its own way or in the usual one, and else does not."""
    if body.get("stream") is True:
        return body if body.get("stream_options") else {**body, "stream_options": {"include_usage": True}}
    return {name: value for name, value in body.items() if name != "stream_options"}


@cache
def read_template(text: str) -> dict[str, Any]:
    """The body in a template's text, or in the file that @FILE names; raises PluginError."""
    try:
        body = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except (OSError, ValueError) as error:
        raise PluginError(f"request.queryTemplate: {text[:80]!r}: {error}") from None
    if not isinstance(body, dict):
        raise PluginError(f"request.queryTemplate: a JSON {type(body).__name__}, no object")
    return body


def template_of(param: Arguments) -> dict[str, Any]:
    """A copy of the body that the run's messages and parameters are put into; empty if it has none."""
    return copy.deepcopy(read_template(param.query_template)) if param.query_template else {}


@register_api(["openai", *LOCAL])
class OpenaiPlugin(DefaultApiPlugin):
    """Chat completions for messages, text completions for text or token ids; a whole body is completed, not changed."""

    suffix = CHAT
    endpoints = ENDPOINTS
    takes_template = takes_token_ids = True
    fields = {
        "max_tokens": "max_tokens",
        "min_tokens": "min_tokens",
        "frequency_penalty": "frequency_penalty",
        "repetition_penalty": "repetition_penalty",
        "logprobs": "logprobs",
        "n": "n_choices",
        "seed": "seed",
        "stop": "stop",
        "stop_token_ids": "stop_token_ids",
        "stream": "stream",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
    }

    def __init__(self, param: Arguments) -> None:
        super().__init__(param)
        if param.api in LOCAL:
            raise PluginError(
                f"target.api: perfbench starts no model for api {param.api}; start the server yourself (vllm serve"
                f" {param.model or 'MODEL'} --port {param.port}), then give its URL and leave --api out:"
                f" --url http://127.0.0.1:{param.port}/v1/chat/completions"
            )

    @classmethod
    def redirect(cls, url: str, param: Arguments) -> str:
        """Token ids go to completions."""
        return redirected(url, CHAT, COMPLETIONS) if param.tokenize_prompt else url

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages, a text, token ids, or a whole body from the dataset, whose own fields win."""
        param = param or self.param
        whole = isinstance(messages, dict)
        body = self._body(messages, param)
        parameters = {"model": param.model, **self.parameters(param), **(param.extra_args or {})}
        if whole:
            return with_usage({**body, **{name: parameters[name] for name in parameters if name not in body}})
        body.pop("stream_options", None)  # a template's; the run's own win, as for all parameters
        return with_usage({**body, **parameters})

    def _body(self, messages: Any, param: Arguments) -> dict[str, Any]:
        if isinstance(messages, dict):
            body = dict(messages)
            if param.tokenize_prompt and "messages" in body:
                body["prompt"] = self.token_ids(body.pop("messages"))
            return body
        if param.tokenize_prompt or are_token_ids(messages):
            return {"prompt": self.token_ids(messages)}
        if param.query_template:
            return {**template_of(param), "messages": messages}
        return {"prompt": messages} if isinstance(messages, str) else {"messages": with_images(messages)}

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the server reports them, else by the tokenizer, else one for each chunk with content."""
        for message in reversed(responses):
            usage = message.get("usage") if isinstance(message, dict) else None
            if usage:
                is_of_several = (self.param.n_choices or 1) > 1
                return usage_of_choices(responses, _usage(usage)) if is_of_several else _usage(usage)
        return self.estimate(responses, request)


def _usage(usage: dict[str, Any]) -> TokenCount:
    details = usage.get("prompt_tokens_details") or {}
    prompt, completion = (usage.get(name, 0) for name in ("prompt_tokens", "completion_tokens"))
    return TokenCount(prompt, completion, "usage", details.get("cached_tokens"))


def usage_of_choices(responses: list[Any], last: TokenCount) -> TokenCount:
    """Tokens of all choices together, given the last usage of an answer with several choices.

    vLLM and SGLang count all of them in one usage. llama.cpp streams one for each choice; in a whole answer its usage is
    of one choice alone, and the others' tokens are known only where each was as long as it might be.
    """
    ends = [message["usage"] for message in responses if _is_end_of_choice(message)]
    if len(ends) > 1:
        counts = [_usage(usage) for usage in ends]
        cached = [count.cached for count in counts if count.cached is not None]
        completion = sum(count.completion or 0 for count in counts)
        return TokenCount(last.prompt, completion, "usage", min(cached) if cached else None)
    message = responses[-1]
    choices = message.get("choices") or ()
    if "timings" not in message or len(choices) < 2:
        return last
    are_cut = all(choice.get("finish_reason") == "length" for choice in choices)
    return TokenCount(last.prompt, (last.completion or 0) * len(choices) if are_cut else None, "usage", last.cached)


def _is_end_of_choice(message: Any) -> bool:
    """Whether an event has usage and no content: its choice, or all of them, is complete."""
    return isinstance(message, dict) and bool(message.get("usage")) and not message.get("choices")
