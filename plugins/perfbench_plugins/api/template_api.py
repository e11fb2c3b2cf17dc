"""API `template`: any API that takes JSON and answers with JSON or server-sent events, without code.

The body is a Jinja template; where content, reasoning, errors, usage and the end of a stream are is said by JMESPath
expressions, which see one message: the data of an event, or the whole answer. Jinja and JMESPath are the optional extra
`template`. A template cannot reach anything but its variables: it is rendered in Jinja's sandbox.
"""

import json
import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import orjson
from pydantic import ConfigDict, model_validator

from perfbench_plugins.api.base import BaseApiArgs
from perfbench_plugins.api.chat import are_token_ids, as_text, with_images
from perfbench_plugins.api.default_api import SAMPLING, DefaultApiPlugin, TokenCount
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.chat_template import line_of_template
from perfbench_plugins.reading import Piece
from perfbench_plugins.registry import PluginError, register_api
from perfbench_plugins.tokens import Tokenizer
from perfbench_plugins.usage import reported_tokens

EXPRESSIONS = ("content", "reasoning", "error", "end", "prompt_tokens", "completion_tokens", "cached_tokens")
PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*|\[\d+\])*", re.ASCII)
STEP = re.compile(r"([A-Za-z_]\w*)|\[(\d+)\]", re.ASCII)
FALSE: tuple[Any, ...] = (None, False, "", [], {})


class TemplateArgs(BaseApiArgs):
    """Options of the API template."""

    model_config = ConfigDict(extra="forbid")

    body: str
    """Jinja template of the body, which must come out as a JSON object. Variables: messages (chat messages), prompt
    (their text, or the text), token_ids, model, stream, and the parameters of the request by their names of
    `perfbench run`: max_tokens, temperature, top_p, …; those that are not given are none."""
    content: str | None = None
    """Where the text is: choices[0].delta.content."""
    reasoning: str | None = None
    """Where the reasoning is."""
    error: str = "error.message || error"
    """Where an error's text is."""
    end: str | None = None
    """True in the message that ends a stream; without it any stream counts as complete."""
    prompt_tokens: str | None = None
    """Where the number of prompt tokens is; the last message that has one counts."""
    completion_tokens: str | None = None
    """Where the number of completion tokens is."""
    cached_tokens: str | None = None
    """Where the number of cached prompt tokens is."""
    headers: dict[str, str] = {}
    """Headers of every request, Jinja templates with the variable api_key; without them the key is a Bearer token."""
    path: str = ""
    """Path for a URL that has none."""
    generates: bool = True
    """False for answers without text, such as embeddings: then content is not needed."""

    @model_validator(mode="after")
    def _content_is_somewhere(self) -> "TemplateArgs":
        if self.generates and not self.content and not self.reasoning:
            raise ValueError("give content, the JMESPath expression of the answer's text (or generates: false)")
        return self


@register_api("template")
class TemplatePlugin(DefaultApiPlugin):
    """A body by template, an answer by expressions."""

    args_schema = TemplateArgs
    chats = takes_token_ids = True

    def __init__(self, param: Arguments) -> None:
        super().__init__(param)
        self.generates = self.api_args.generates
        self._body = self._jinja("body", self.api_args.body)
        self._headers = {name: self._jinja(f"headers.{name}", text) for name, text in self.api_args.headers.items()}
        self._find = {
            name: self._jmespath(name, text) for name in EXPRESSIONS if (text := getattr(self.api_args, name))
        }

    @classmethod
    def path(cls, param: Arguments) -> str:
        """As the options say."""
        path: str = cls.read_args(param).path
        return f"/{path.lstrip('/')}" if path else ""

    def headers(self, api_key: str | None) -> dict[str, str]:
        """As the options say, else the key as a Bearer token."""
        if not self._headers:
            return super().headers(api_key)
        return {name: template.render(api_key=api_key or "") for name, template in self._headers.items()}

    def build_request(self, messages: Any, param: Arguments | None = None) -> dict[str, Any]:
        """The rendered template, extra_args added; a whole body from the dataset is sent as it is."""
        if isinstance(messages, dict):
            return dict(messages)
        param = param or self.param
        ids = self.token_ids(messages) if param.tokenize_prompt else messages
        text = self._rendered(ids, param)
        try:
            body = json.loads(text)
        except ValueError as error:
            raise PluginError(f"target.apiArgs.body: renders to no JSON ({error}): {text[:200]!r}") from None
        if not isinstance(body, dict):
            raise PluginError(f"target.apiArgs.body: renders to a JSON {type(body).__name__}, not an object")
        return {**body, **(param.extra_args or {})}

    def _rendered(self, messages: Any, param: Arguments) -> str:
        """The body's text; raises PluginError that names the line of the user's template, which is the plugin here."""
        variables = _variables(messages, param)
        try:
            return str(self._body.render(variables))
        except Exception as error:  # an expression of the template may raise anything
            line = line_of_template(error)
            where = f" line {line}" if line else ""
            raise PluginError(f"target.apiArgs.body{where}: {type(error).__name__}: {error}") from error

    def read_message(self, message: Any) -> Piece:
        """What the expressions find in it."""
        error = self._search("error", message)
        return Piece(
            text=_text(self._search("content", message)),
            reasoning=_text(self._search("reasoning", message)),
            error=_text(error) if error else "",
            # Without an expression for the end nobody knows whether a stream was cut short: each message may be the last.
            is_last="end" not in self._find or bool(self._search("end", message)),
        )

    def parse_responses(self, responses: list[Any], request: str | None = None, **kwargs: Any) -> tuple[int, int]:
        """Tokens where the expressions find them, else by the tokenizer, else one for each message with content."""
        prompt, completion, cached = (self._last(name, responses) for name in EXPRESSIONS[-3:])
        if not self.generates:
            completion = 0
        if completion is not None and prompt is not None:
            return TokenCount(prompt, completion, "usage", cached)
        estimate = self.estimate(responses, request)
        if completion is None:
            return TokenCount(
                estimate.prompt if prompt is None else prompt, estimate.completion, estimate.source, cached
            )
        if estimate.source == "tokenizer":
            return TokenCount(estimate.prompt, completion, "tokenizer", cached)
        return TokenCount(None, completion, "usage" if self.generates else "none", cached)

    def count_prompt(self, tokenizer: Tokenizer, body: dict[str, Any]) -> int:
        """The text of all values of the body: where the prompt is in it, only the template knows."""
        return tokenizer.count(" ".join(_texts(body)))

    def _last(self, name: str, responses: list[Any]) -> int | None:
        if name not in self._find:
            return None
        found = (self._search(name, message) for message in reversed(responses))
        return next((reported_tokens(name, value) for value in found if value is not None), None)

    def _search(self, name: str, message: Any) -> Any:
        expression = self._find.get(name)
        return None if expression is None else expression(message)

    @cached_property
    def _environment(self) -> Any:
        try:
            from jinja2 import StrictUndefined
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise _missing() from None
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        environment.filters["tojson"] = lambda value: orjson.dumps(value).decode()  # Jinja's own is for HTML
        return environment

    def _jinja(self, name: str, text: str) -> Any:
        environment = self._environment
        from jinja2 import TemplateSyntaxError

        try:
            return environment.from_string(text)
        except TemplateSyntaxError as error:
            raise PluginError(
                f"target.apiArgs.{name}: no Jinja template: {error.message} (line {error.lineno})"
            ) from None

    def _jmespath(self, name: str, text: str) -> Callable[[Any], Any]:
        try:
            import jmespath  # type: ignore[import-untyped]
        except ImportError:
            raise _missing() from None
        try:
            search: Callable[[Any], Any] = jmespath.compile(text).search
        except jmespath.exceptions.JMESPathError as error:
            raise PluginError(f"target.apiArgs.{name}: no JMESPath expression: {str(error).splitlines()[0]}") from None
        return _paths(text) or search


def _paths(text: str) -> Callable[[Any], Any] | None:
    """Plain paths and their alternatives, a.b[0] || c, without JMESPath: every event of a stream is searched for each
    expression, and this takes a tenth of the time. None for anything else."""
    alternatives = [alternative.strip() for alternative in text.split("||")]
    if not all(PATH.fullmatch(alternative) for alternative in alternatives):
        return None
    paths = [
        [int(index) if index else name for name, index in STEP.findall(alternative)] for alternative in alternatives
    ]

    def search(message: Any) -> Any:
        found = None
        for path in paths:
            found = _follow(path, message)
            if found not in FALSE or type(found) in (int, float):  # to JMESPath, 0 is as good as any number
                return found
        return found

    return search


def _follow(path: list[str | int], value: Any) -> Any:
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and step < len(value) else None
        if value is None:
            return None
    return value


def _missing() -> PluginError:
    return PluginError("API template needs the extra `template`; run pip install 'perfbench-operator[template]'")


def _variables(messages: Any, param: Arguments) -> dict[str, Any]:
    ids = messages if are_token_ids(messages) else None
    is_batch = isinstance(messages, list) and bool(messages) and isinstance(messages[0], str)
    chat = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return {
        "messages": None if ids or is_batch else with_images(chat),
        "prompt": None if ids else "\n".join(messages) if is_batch else as_text(messages),
        "prompts": messages if is_batch else None,
        "token_ids": ids,
        "model": param.model,
        "stream": bool(param.stream),
        **{name: getattr(param, name) for name in SAMPLING},
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, list):
        return "".join(map(_text, value))
    return orjson.dumps(value).decode()


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in inner for text in _texts(each)]
