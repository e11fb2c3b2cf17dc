"""What the mock endpoint can be told: one frozen dataclass, its help texts beside the fields.

`FIELDS` lists them for whoever makes options of them (`perfbench mock`) or documents them.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

UNSET_OUTPUT_TOKENS = 64


def _setting(default: Any, text: str, unit: str = "", kind: type | None = None, **more: Any) -> Any:
    metadata = {"help": text, "unit": unit, "kind": kind or type(default), **more}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class MockSettings:
    """How the mock behaves. Times are seconds, rates are shares of requests, from 0 to 1.

    Raises ValueError, naming the setting, for what makes no sense. Three rules worth knowing:

    Length: `max_tokens` is the length of a reply (finish_reason "length"); a request without it gets 64 tokens
    ("stop"). Once `output_tokens` is set it is where the model stops by itself: the reply has min(max_tokens,
    output_tokens) tokens, unless the request says `ignore_eos`.

    Load: with `slots` the mock has a limit, and a queue before it; mock/service.py says how it is computed.

    Randomness: what happens to the n-th request depends on `seed` and n only, not on timing.
    """

    ttft_s: float = _setting(0.05, "time from a request's last byte to the first token", "s")
    itl_s: float = _setting(0.01, "time between two tokens", "s")
    ttft_jitter_s: float = _setting(0.0, "the first token's time varies by up to this, both ways, uniformly", "s")
    itl_jitter_s: float = _setting(0.0, "each time between tokens varies by up to this, both ways, uniformly", "s")
    output_tokens: int | None = _setting(
        None, "where the model stops by itself (unset: at max_tokens, or at 64 without it)", "tokens", int
    )
    reasoning_tokens: int = _setting(
        0, "how many tokens of a chat reply are reasoning_content, before the content", "tokens"
    )
    tool_call: bool = _setting(False, "answer chats with a tool call instead of text")
    usage: Literal["request", "always", "never"] = _setting(
        "request",
        "token counts: when the request asks (stream_options.include_usage; always if not streamed), always, or never",
        choices=("request", "always", "never"),
    )
    slots: int | None = _setting(
        None, "serve at most so many requests at a time; others wait in a queue (unset: nobody waits)", "requests", int
    )
    prefill_speed: float | None = _setting(
        None, "the first token takes the time of so many prompt tokens a second longer", "tokens/s", float
    )
    batch_slowdown: float = _setting(
        0.0, "with slots: each further request being served makes all of them this share slower (0.05: 5 %)"
    )
    error_rate: float = _setting(0.0, "share of requests answered with error_status", "share")
    error_status: int = _setting(500, "HTTP status of these")
    stall_rate: float = _setting(0.0, "share of replies that pause for stall_s half-way", "share")
    stall_s: float = _setting(1.0, "length of that pause", "s")
    broken_rate: float = _setting(0.0, "share of replies whose connection is cut half-way", "share")
    stream_error_rate: float = _setting(
        0.0, "share of streams that turn into an error event half-way, under HTTP 200", "share"
    )
    truncate_rate: float = _setting(0.0, "share of streams that end without finish_reason, usage and [DONE]", "share")
    rate_limit: int | None = _setting(None, "answer 429 beyond this many requests at a time", "requests", int)
    api_key: str | None = _setting(None, "answer 401 to requests without this key", "", str, secret=True)
    model: str = _setting("mock", "the model's name in /v1/models; requests may ask for any")
    seed: int = _setting(0, "of everything random")
    host: str = _setting("127.0.0.1", "address to listen on; :: is all, of IPv4 and IPv6")
    port: int = _setting(0, "port to listen on; 0 takes a free one")

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            _check(setting, getattr(self, setting.name))
        for jitter, mean in (("ttft_jitter_s", "ttft_s"), ("itl_jitter_s", "itl_s")):
            if getattr(self, jitter) > getattr(self, mean):
                raise ValueError(f"mock: {jitter} must not exceed {mean}, or a token would come before its cause")
        if not 400 <= self.error_status <= 599:
            raise ValueError(f"mock: error_status must be from 400 to 599, not {self.error_status}")
        if self.port > 65535:
            raise ValueError(f"mock: port must be from 0 to 65535, not {self.port}")
        for name in ("output_tokens", "rate_limit", "slots"):
            if getattr(self, name) == 0:
                raise ValueError(f"mock: {name} must be at least 1 when set")
        if self.prefill_speed == 0:
            raise ValueError("mock: prefill_speed must be more than 0 when set")
        if self.batch_slowdown and self.slots is None:
            raise ValueError("mock: batch_slowdown is of requests in slots; set slots, too")

    @property
    def random(self) -> bool:
        """Whether anything differs between requests."""
        return any(getattr(self, setting.name) for setting in FIELDS if setting.name.endswith(("_rate", "_jitter_s")))

    def base_url(self, port: int) -> str:
        """Where this machine reaches a mock that listens on this port: http://host:port."""
        host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MockSettings":
        """From plain data, such as a manifest's `target.mock`. ValueError names an unknown setting."""
        known = {setting.name for setting in FIELDS}
        for name in values:
            if name not in known:
                raise ValueError(f"mock: unknown setting {name!r}; there are {', '.join(sorted(known))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class SettingField:
    """A setting as an option needs it. `kind` is bool, int, float or str; `optional` ones may be None."""

    name: str
    kind: type
    default: Any
    help: str
    unit: str
    choices: tuple[str, ...] = ()
    secret: bool = False

    @property
    def optional(self) -> bool:
        return self.default is None


FIELDS = tuple(
    SettingField(setting.name, default=setting.default, **setting.metadata)
    for setting in dataclasses.fields(MockSettings)
)


def _check(setting: "dataclasses.Field[Any]", value: Any) -> None:
    kind: Any = setting.metadata["kind"]
    if value is None and setting.default is None:
        return
    if not isinstance(value, (int, float) if kind is float else kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"mock: {setting.name} must be {_NOUN[kind]}, not {value!r}")
    choices = setting.metadata.get("choices")
    if choices and value not in choices:
        raise ValueError(f"mock: {setting.name} must be one of {', '.join(choices)}, not {value!r}")
    if kind in (int, float) and setting.name != "seed" and not 0 <= value < float("inf"):
        raise ValueError(f"mock: {setting.name} must be a number from 0 on, not {value}")
    if setting.name.endswith("_rate") and value > 1:
        raise ValueError(f"mock: {setting.name} is a share of requests, from 0 to 1, not {value}")


_NOUN = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
