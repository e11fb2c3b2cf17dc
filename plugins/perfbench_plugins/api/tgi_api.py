"""API `tgi`: the native protocol of Hugging Face's Text Generation Inference (/generate and /generate_stream)."""

from typing import Any

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.chat import are_token_ids, as_text, image_of
from perfbench_plugins.api.default_api import UNKNOWN, DefaultApiPlugin, TokenCount, add_extra_args, error_text
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import register_api
from perfbench_plugins.tokens import Tokenizer, TokenizerError

PLAIN, STREAMED = "/generate", "/generate_stream"


class TgiArgs(BaseApiArgs):
    """Options of the API tgi."""

    decoder_input_details: bool = False
    """Ask for the prompt's tokens, to count them in whole answers without a tokenizer; streams have the count anyway.
    It costs the server time."""


@register_api("tgi")
class TgiPlugin(DefaultApiPlugin):
    """Text in, text out: chat messages are put through the tokenizer's chat template if it has one, else joined."""

    args_schema = TgiArgs
    chats = True
    fields = {
        "max_new_tokens": "max_tokens",
        "temperature": "temperature",
        "top_p": "top_p",
        "top_k": "top_k",
        "frequency_penalty": "frequency_penalty",
        "repetition_penalty": "repetition_penalty",
        "seed": "seed",
        "stop": "stop",
    }

    @classmethod
    def path(cls, param: Arguments) -> str:
        """By whether answers are streamed."""
        return STREAMED if param.stream else PLAIN

    @classmethod
    def complete_url(cls, url: str, param: Arguments) -> str:
        """With the path that streams, or the one that does not, as the request says."""
        for path in (PLAIN, STREAMED):
            if url.endswith(path):
                return url.removesuffix(path) + cls.path(param)
        return super().complete_url(url, param)

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The body for chat messages or a text; a whole body from the dataset is completed, not changed."""
        param = param or self.param
        parameters = {**_valid(self.parameters(param)), "details": True}
        if self.api_args.decoder_input_details and not param.stream:
            parameters["decoder_input_details"] = True
        if isinstance(messages, dict):
            return {**messages, "parameters": {**parameters, **messages.get("parameters", {})}}
        if are_token_ids(messages):
            raise ValueError("tgi takes no token ids; leave dataset.tokenizePrompt out")
        return add_extra_args({"inputs": self._prompt(messages), "parameters": parameters}, param.extra_args)

    def _prompt(self, messages: Any) -> str:
        if isinstance(messages, str):
            return messages
        chat = [{**each, "content": _with_markdown(each.get("content"))} for each in messages]
        try:
            template = self.counter.template if self.counter else None
            if template is not None:
                return template.render(chat, add_generation_prompt=True)
        except TokenizerError as error:
            raise ValueError(str(error)) from None
        return as_text(chat)

    def read_message(self, message: Any) -> Piece:
        """A token, or the whole answer; special tokens such as the end of the answer are no content."""
        if isinstance(message, list) and message:
            message = message[0]
        if not isinstance(message, dict):
            return UNKNOWN
        if message.get("error"):
            return Piece(error=error_text(message["error"]))
        token = message.get("token")
        if token is not None:
            text = "" if token.get("special") else token.get("text") or ""
            return Piece(text, is_last=message.get("generated_text") is not None)
        if "generated_text" in message:
            return Piece(message["generated_text"] or "", is_last=True)
        return UNKNOWN

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens as the last event's or the answer's details have them; what is not in them by the tokenizer."""
        last = responses[-1] if responses else {}
        details = (last[0] if isinstance(last, list) else last).get("details") or {}
        completion = details.get("generated_tokens")
        prompt = details.get("input_length") or len(details.get("prefill") or ()) or None
        if completion is None:
            return self.estimate(responses, request)
        if prompt is None and self.counter is not None:
            return TokenCount(self.estimate(responses, request).prompt, completion, "tokenizer")
        return TokenCount(prompt, completion, "usage")

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int:
        """Tokens of the text that was sent, which has been through the chat template already."""
        return tokenizer.count(body.get("inputs") or "")


def _valid(parameters: dict[str, Any]) -> dict[str, Any]:
    """Without values that TGI refuses: it takes no temperature of 0, but samples only when told to, and no top_p of 1."""
    temperature, top_p = parameters.get("temperature"), parameters.get("top_p")
    left_out = {"temperature" if not temperature else "", "top_p" if top_p is not None and top_p >= 1 else ""}
    kept = {name: value for name, value in parameters.items() if name not in left_out}
    return kept | {"do_sample": True} if temperature else kept


def _with_markdown(content: Any) -> Any:
    """Images as TGI takes them, in the text: ![](URL)."""
    if not isinstance(content, list):
        return content
    return "".join(f"![]({url})" if (url := image_of(part)) else str(part.get("text") or "") for part in content)
