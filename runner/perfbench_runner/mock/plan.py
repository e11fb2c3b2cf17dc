"""The seam between an API's dialect, which knows bytes, and the server, which knows time.

A dialect turns a `Call` into a `Plan`; the server paces the plan, spoils it where its settings say so, and counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from perfbench_runner.mock.settings import UNSET_OUTPUT_TOKENS, MockSettings

JSON = "application/json"
EVENTS = "text/event-stream; charset=utf-8"


class BadRequestError(Exception):
    """The request makes no sense to this API: becomes status 400 with the message in the dialect's error body."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as a dialect sees it."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: Mapping[str, Any]
    settings: MockSettings
    number: int  # of this request since the start, from 1
    created: int  # epoch seconds

    @property
    def model(self) -> str:
        """The model the request asks for: whatever it is, it exists."""
        model = self.body.get("model", self.settings.model)
        if not isinstance(model, str):
            raise BadRequestError("model must be a string")
        return model

    def id(self, prefix: str) -> str:
        """The reply's id: unique, of constant length."""
        return f"{prefix}{self.number:016x}"

    def length(self, *names: str) -> tuple[int, bool]:
        """Tokens of the reply, and whether it was cut by the request's limit: the first given of the fields `names`."""
        limit = self.positive(*names)
        natural = None if self.body.get("ignore_eos") else self.settings.output_tokens
        if limit is None:
            return self.settings.output_tokens or UNSET_OUTPUT_TOKENS, False
        if natural is None or limit <= natural:
            return limit, True
        return natural, False

    def positive(self, *names: str) -> int | None:
        """The first of these fields that is given, a whole number of at least 1."""
        for name in names:
            value = self.body.get(name)
            if value is not None:
                if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                    raise BadRequestError(f"{name} must be at least 1, not {value!r}")
                return value
        return None

    @property
    def usage_wanted(self) -> bool:
        """Whether this reply carries token counts: the OpenAI rule, as the setting `usage` bends it."""
        if self.settings.usage != "request":
            return self.settings.usage == "always"
        options = self.body.get("stream_options")
        return not self.body.get("stream") or (isinstance(options, dict) and bool(options.get("include_usage")))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to answer under status 200. `Plan.stream(...)` and `Plan.json(...)` make the two kinds."""

    content_type: str
    prompt_tokens: int
    tokens: int  # of the reply: they decide how long it takes
    streamed: bool
    head: tuple[bytes, ...] = ()  # written with the first token
    content: Iterable[bytes] = ()  # one piece a token, each written when it is due; may be lazy, is read once
    tail: tuple[bytes, ...] = ()  # written with the last token
    error: bytes = b""  # what stands in place of the rest when the stream is to fail
    body: bytes = b""  # of a reply that is not streamed: written when its last token is due

    @classmethod
    def json(cls, value: Any, *, prompt_tokens: int, tokens: int) -> "Plan":
        """One JSON document."""
        return cls(JSON, prompt_tokens, tokens, streamed=False, body=orjson.dumps(value))

    @classmethod
    def stream(
        cls,
        content: Iterable[bytes],
        *,
        prompt_tokens: int,
        tokens: int,
        head: tuple[bytes, ...] = (),
        tail: tuple[bytes, ...] = (),
        error: bytes = b"",
        content_type: str = EVENTS,
    ) -> "Plan":
        """As many pieces as `tokens`, at least one. Each is a whole event; each becomes one HTTP chunk."""
        return cls(content_type, prompt_tokens, tokens, True, head, content, tail, error)


class Dialect(Protocol):
    """One API: which paths it answers POST on, how it replies, and how it says that it will not."""

    @property
    def paths(self) -> tuple[str, ...]: ...

    def plan(self, call: Call) -> Plan:
        """Raises BadRequestError."""
        ...

    def error(self, status: int, message: str) -> bytes:
        """The JSON body of an error status."""
        ...
