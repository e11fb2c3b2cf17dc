"""DefaultApiPlugin: any API that takes JSON and answers with JSON or server-sent events.

A plugin that inherits it implements `build_request` and `parse_responses`; perfbench sends the body with its own
transport and reads the answer here, outside the measuring loop. A plugin for an API whose messages are not shaped like
OpenAI's also overrides `read_message`, so that content, errors and the end of a stream are recognised.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from perfbench_api.sections import Request
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.chat import are_token_ids, image_tokens
from perfbench_plugins.api.said import chunk_tokens, http_error, model_of, words_of
from perfbench_plugins.api.session import SessionTransport as SessionTransport
from perfbench_plugins.api.streamed import (
    StreamedResponseHandler as StreamedResponseHandler,
)  # plugins import it from here
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData, time_per_output_token, whole
from perfbench_plugins.blame import is_signal
from perfbench_plugins.content import content_text, json_of
from perfbench_plugins.counting import AnswerCounter
from perfbench_plugins.decoding import decoded
from perfbench_plugins.exchange import Exchange, FailureKind, Transport
from perfbench_plugins.logger import get_logger
from perfbench_plugins.messages import Messages, Piece, look_at_all, look_at_each
from perfbench_plugins.reading import error_text as error_text
from perfbench_plugins.reading import read_in_steps, reported_error
from perfbench_plugins.registry import BUILTIN, PluginError
from perfbench_plugins.tokens import Tokenizer, TokenizerError, as_tokenizer, load_tokenizer
from perfbench_plugins.usage import TokenCount as TokenCount  # plugins import it from here
from perfbench_plugins.usage import UsageError

if TYPE_CHECKING:
    import aiohttp

NOTHING = Piece()
UNKNOWN = Piece(is_known=False)
NO_LINES = "reads no lines of JSON; Ollama's own API writes them: give target.api: ollama"
BESIDE = ("system", "instructions", "tools")
"""Fields of a body that are part of the prompt, beside its messages."""
SAMPLING = (
    "max_tokens min_tokens temperature top_p top_k frequency_penalty repetition_penalty logprobs n_choices seed stop"
    " stop_token_ids"
).split()
"""Fields of Arguments that say how an answer is made; not every API knows all of them."""


class DefaultApiPlugin(ApiPluginBase):
    """JSON and SSE over HTTP. Only `build_request` and `parse_responses` are left to implement."""

    transport: Transport | None = None
    """What sends requests; the runner puts its own here. Without one the aiohttp session does it."""
    fields: ClassVar[Mapping[str, str] | None] = None
    """Field of the body: field of Arguments, for `parameters`; None where the plugin builds its body otherwise."""

    knows_answers: ClassVar[bool | None] = None
    """Whether `read_message` knows every answer, so that one of which it knows no message (`Piece.is_known`) is none but
    a failure. None: where tokens are counted by perfbench's own `parse_responses`; a plugin that understands messages
    there, as EvalScope's do, may know more than `read_message`, and each message of such an answer is content."""
    reads_lines: ClassVar[bool] = False
    """Whether streams of this API are lines of JSON rather than events."""
    takes_template: ClassVar[bool] = False
    """Whether `query_template` can be done."""
    takes_token_ids: ClassVar[bool] = False
    """Whether `tokenize_prompt` can be done: the API takes token ids in place of text."""

    def __init__(self, param: Arguments) -> None:
        super().__init__(param)
        if param.tokenize_prompt and not self.takes_token_ids and type(self).__module__.startswith(BUILTIN):
            raise PluginError(
                f"dataset.tokenizePrompt: API {param.api} takes no token ids; use openai, or leave it out"
            )
        if param.query_template and not self.takes_template and type(self).__module__.startswith(BUILTIN):
            raise PluginError(
                f"request.queryTemplate: API {param.api} takes none; the API `template` has one of its own"
            )
        if self.fields is not None and self.generates:
            self._warn_of_unsent(set(self.fields.values()))

    def _warn_of_unsent(self, sent: set[str]) -> None:
        """Say which parameters this API does not know, rather than drop them silently."""
        defaults = Request.model_fields
        unsent = [
            name
            for name in SAMPLING
            if name not in sent and getattr(self.param, name) not in (None, defaults[name].default)
        ]
        if unsent:
            get_logger().warning("API %s does not know %s: not sent", self.param.api, ", ".join(unsent))

    def parameters(self, param: Arguments) -> dict[str, Any]:
        """The fields of the body that `fields` names and that have a value."""
        fields = (self.fields or {}).items()
        return {name: value for name, field in fields if (value := getattr(param, field)) is not None}

    async def process_request(
        self, client_session: "aiohttp.ClientSession", url: str, headers: dict[str, str], body: dict[str, Any]
    ) -> BenchmarkData:
        """Send the body, read the whole answer, and say what came of it; failures are in the result, not raised."""
        headers, request_id = self.extract_body_meta(body, headers)
        content = json_of(body)
        transport = self.transport or SessionTransport(client_session)
        exchange = await transport.post(url, {"Content-Type": "application/json", **headers}, content)
        data = self.read(exchange, content.decode())
        data.request_id = request_id
        return data

    def read(self, exchange: Exchange, request: str) -> BenchmarkData:
        """The flat result of an exchange: latencies, content, failure, tokens."""
        steps = self.read_in_steps(exchange, request)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                data: BenchmarkData = end.value
                break
        if data.success:
            self._count_tokens(data)
            data.model = model_of(data.response_messages)
            if data.is_stream and isinstance(data.response_messages, Messages) and (self.param.n_choices or 1) == 1:
                tokens = chunk_tokens(data.response_messages, self.read_message)
                data.gap_tokens = tokens if len(tokens) == len(data.inter_chunk_latency) else []
        return data

    def read_in_steps(self, exchange: Exchange, request: str) -> Generator[None, None, BenchmarkData]:
        """The same without tokens, a little at a time."""
        exchange = yield from decoded(exchange)
        if exchange.is_lines and not self.reads_lines and type(self).__module__.startswith(BUILTIN):
            error = exchange.error or f"API {self.param.api} {NO_LINES}"
            exchange = replace(exchange, failure=exchange.failure or FailureKind.PROTOCOL, error=error)
        is_plain = type(self).read_message is DefaultApiPlugin.read_message
        look_at = look_at_all if is_plain else look_at_each
        data = yield from read_in_steps(
            exchange, request, self.read_message, self.generates, look_at, self._knows_answers
        )
        if data.failure.startswith("http_"):
            data.error = http_error(exchange.body) or data.error
        if data.failure == FailureKind.EMPTY:
            self._accept_hidden_tokens(data)
        return data

    @property
    def _knows_answers(self) -> bool:
        return self._counts_as_ours if self.knows_answers is None else self.knows_answers

    @property
    def _counts_as_ours(self) -> bool:
        return type(self).parse_responses.__module__.startswith(BUILTIN)

    def _accept_hidden_tokens(self, data: BenchmarkData) -> None:
        """Let a finished answer be a success without content where its server counts tokens that it did not show.

        Such as the one that ends an answer, or the ones that some models begin with."""
        try:
            is_finished = any(self.read_message(message).is_last for message in data.response_messages)
            tokens = self.parse_responses(data.response_messages, request=data.request)
        except Exception:  # noqa: BLE001  # a plugin's own code: the answer stays empty
            return
        if is_finished and isinstance(tokens, TokenCount) and tokens.source == "usage" and tokens.completion:
            data.failure, data.error, data.success, data.no_content = "", None, True, True

    def read_message(self, message: Any) -> Piece:
        """What one message (an event, or the whole body) says. This one knows the shapes of OpenAI's APIs."""
        if not isinstance(message, dict):
            return UNKNOWN
        choices = message.get("choices")
        if choices:
            choice = choices[0]
            if choice.get("index"):  # of several answers, the first is timed
                return NOTHING
            delta = choice.get("delta") or choice.get("message")
            is_last = choice.get("finish_reason") is not None
            if not delta:
                return Piece(choice.get("text") or "", "", "", is_last)
            text = delta.get("content")
            if type(text) is str and text and len(delta) <= 2:  # nearly every event of a stream
                return Piece(text, "", "", is_last)
            return read_delta(delta, is_last)
        reported = reported_error(message)
        if reported:
            return Piece(error=reported)
        return NOTHING if choices is not None or message.get("usage") else UNKNOWN

    @cached_property
    def tokenizer(self) -> Any:
        """Loaded when first needed: never, where the server reports usage. A plugin may put another one here."""
        return load_tokenizer(self.model_path, self.param.data_source) if self.model_path else None

    @property
    def counter(self) -> Tokenizer | None:
        """The tokenizer to count with, whatever kind of one the plugin has."""
        return None if self.tokenizer is None else as_tokenizer(self.tokenizer)

    def token_ids(self, messages: Any) -> list[int]:
        """Token ids of what a dataset yielded: chat messages by the chat template, a text as it is, ids as they are."""
        tokenizer = self.counter
        if are_token_ids(messages):
            return list(messages)
        if tokenizer is None:
            raise PluginError("dataset.tokenizePrompt: needs a tokenizer; give dataset.tokenizerPath")
        if isinstance(messages, str):
            return tokenizer.encode(messages, add_special_tokens=False)
        ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        return ids

    def estimate(self, responses: list[Any], request: str | None) -> TokenCount:
        """Tokens of an answer without usage: by the tokenizer, else one for each chunk with content."""
        pieces = [self.read_message(message) for message in responses]
        tokenizer = self.counter
        if tokenizer is None:
            return TokenCount(None, sum(bool(piece.text or piece.reasoning) for piece in pieces), "chunks")
        prompt = self.count_prompt(tokenizer, orjson.loads(request) if request else {})
        completion = self._answers.count(piece.reasoning + piece.text for piece in pieces)
        return TokenCount(prompt, completion, "tokenizer")

    @cached_property
    def _answers(self) -> AnswerCounter:
        return AnswerCounter(as_tokenizer(self.tokenizer))

    def asked_tokens(self, body: dict[str, Any]) -> int | None:
        """Length of a body's prompt as it is asked for, to compare with what the server reports.

        Tokens with a tokenizer; else words, of which there are never more. None where all of it is not where it is looked for.
        """
        if not self.generates or not (body.get("messages") or body.get("prompt")):
            return None
        tokenizer = self.counter
        if tokenizer is None:
            return words_of(body)
        return None if any(body.get(name) for name in BESIDE) else self.count_prompt(tokenizer, body)

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int | None:
        """Prompt tokens of a body, where the server does not say; None where they cannot be known, as of images by URL."""
        prompt = body.get("prompt")
        if are_token_ids(prompt):
            return len(prompt or ())
        messages = body.get("messages") or prompt or ""
        images = image_tokens(messages, self.param.image_patch_size)
        return None if images is None else tokenizer.count_messages(messages) + images

    def _count_tokens(self, data: BenchmarkData) -> None:
        try:
            tokens = self._tokens(data)
            data.prompt_tokens, data.completion_tokens = tokens
        except (Exception, SystemExit) as error:  # a plugin's own code: whatever it raised is this request's failure
            if is_signal(error):
                raise
            data.success = False
            data.prompt_tokens = data.completion_tokens = None
            data.failure, data.error = self._uncounted(error)
            return
        if isinstance(tokens, TokenCount):
            _note_count(data, self._believed(tokens, data))
        else:
            data.token_source = "plugin"  # noqa: S105  # no password
        data.time_per_output_token = time_per_output_token(
            data.query_latency or 0.0, data.first_chunk_latency, data.completion_tokens
        )

    def _believed(self, tokens: TokenCount, data: BenchmarkData) -> TokenCount:
        """The count, unless a server says that a text has no tokens: then it has not counted, and we do."""
        is_counted = tokens.completion != 0 or tokens.source != "usage" or not self.generates
        if is_counted or not data.generated_text:
            return tokens
        return self.estimate(data.response_messages, data.request)

    def _tokens(self, data: BenchmarkData) -> tuple[int | None, int | None]:
        """What `parse_responses` counts; raises what it raises, and TypeError for what are no numbers.

        EvalScope asks it only where the server reports no usage, so that its plugins' ways of counting need not be able
        to read such an answer: where they fail or find nothing, usage it is.
        """
        if self._counts_as_ours:
            return self.parse_responses(data.response_messages, request=data.request)
        try:
            tokens = self.parse_responses(list(data.response_messages), request=data.request)
        except Exception:
            usage = reported_usage(data.response_messages)
            if usage is None:
                raise
            return usage
        if isinstance(tokens, TokenCount):
            given = (tokens.prompt, tokens.completion, tokens.cached)
            if not all(count is None or type(count) is int for count in given):
                raise TypeError(f"{tuple(tokens)!r} are no numbers of tokens")
            return tokens
        prompt, completion = tokens
        if not prompt and not completion and (usage := reported_usage(data.response_messages)):
            return usage
        counts = whole(prompt), whole(completion)
        if any(count is None and given is not None for count, given in zip(counts, (prompt, completion), strict=True)):
            raise TypeError(f"{(prompt, completion)!r} are no numbers of tokens")
        return counts

    def _uncounted(self, error: BaseException) -> tuple[str, str]:
        """Kind and text of the failure to count tokens: the server's, where it is our own code that cannot."""
        if isinstance(error, UsageError):
            return FailureKind.PROTOCOL, str(error)
        if self._counts_as_ours and not isinstance(error, (PluginError, TokenizerError)):
            return FailureKind.PROTOCOL, f"the answer's usage has an unexpected shape: {type(error).__name__}: {error}"
        return FailureKind.PLUGIN, f"{type(self).__name__}.parse_responses: {type(error).__name__}: {error}"


def reported_usage(messages: Sequence[Any]) -> TokenCount | None:
    """The last usage in OpenAI's shape that an answer has, if it has both numbers."""
    for message in reversed(messages):
        usage = message.get("usage") if isinstance(message, dict) else None
        if isinstance(usage, dict) and None not in (usage.get("prompt_tokens"), usage.get("completion_tokens")):
            details = usage.get("prompt_tokens_details")
            cached = details.get("cached_tokens") if isinstance(details, dict) else None
            return TokenCount(usage["prompt_tokens"], usage["completion_tokens"], "usage", cached)
    return None


def _note_count(data: BenchmarkData, tokens: TokenCount) -> None:
    if tokens.source == "chunks" and not data.is_stream:
        tokens = TokenCount(None, None, "none")  # a whole answer is no token
    data.prompt_tokens, data.completion_tokens = tokens.prompt, tokens.completion
    data.token_source = tokens.source
    data.real_cached_tokens = data.cached_tokens = tokens.cached


def read_delta(delta: dict[str, Any], is_last: bool) -> Piece:
    text = content_text(delta.get("content")) + (delta.get("refusal") or "")
    for call in delta.get("tool_calls") or ():
        function = call.get("function") or {}
        text += (function.get("name") or "") + (function.get("arguments") or "")
    return Piece(text, delta.get("reasoning_content") or delta.get("reasoning") or "", "", is_last)


def add_extra_args(body: dict[str, Any], extra: Mapping[str, Any] | None) -> dict[str, Any]:
    """Further fields for a body that keeps its parameters in `parameters`: there, unless they name a field of the body."""
    for name, value in (extra or {}).items():
        if isinstance(value, dict) and isinstance(body.get(name), dict):
            body[name].update(value)
        elif name in body or name == "stream":
            body[name] = value
        else:
            body["parameters"][name] = value
    return body
