"""What the control process and its shards say to each other, and what a shard knows from its start."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.exchange import Exchange
from perfbench_runner.shard.destination import Proxy
from perfbench_runner.shard.request import PreparedConversation
from perfbench_runner.shard.retrying import RetryRule
from perfbench_runner.shard.transport import Limits


@dataclass(frozen=True)
class Wiring:
    """What a shard needs to know of the target, and the plugin where the plugin itself sends requests."""

    url: str
    headers: dict[str, str]
    limits: Limits
    tls: dict[str, Any] = field(default_factory=dict)
    """Arguments of `tls_context`."""
    plugin: Any = None
    """An API plugin that overrides `process_request`; None where the transport does all."""
    api: Any = None
    """The API plugin, to build the turns of conversations and to read their replies."""
    proxy: Proxy | None = None
    """What requests are sent through."""
    others: tuple["Wiring", ...] = ()
    """Those of the run's other kinds of requests, by their number from 1 on."""

    @property
    def all(self) -> tuple["Wiring", ...]:
        """Of every kind of requests, by its number."""
        return (self, *self.others)

    @property
    def urls(self) -> list[str]:
        """Where requests of each kind are sent."""
        return [each.url for each in self.all]


class Lanes(NamedTuple):
    """One shard's part of a closed loop's lanes: when they come, and when they go. Seconds from the start of the stage."""

    come_s: list[float]
    """One for each lane, in order; most loads have all of them come at once."""
    go_s: list[float]
    """From when on one lane after the other takes no further request; empty where they all stay."""


@dataclass(frozen=True)
class StageShare:
    """One shard's part of a stage."""

    index: int
    """Number of the stage; -1 is the warm-up."""
    lanes: Lanes | None
    """This shard's lanes of a closed loop; None for an open loop."""
    is_limited: bool = False
    """Open loop: a request needs a place of those that all shards share."""
    duration_s: float | None = None
    grace_s: float = 30.0
    """How long requests may still take when the duration is over."""
    retry: RetryRule | None = None
    """When requests are sent again that the target refuses for now; None: never."""
    sides: int = 1
    """Closed loop: so many targets have the lanes each for itself."""
    by_turn: bool = False
    """Closed loop of several kinds: which comes next is settled when it is sent (`shard.turns`)."""


class Assignment(NamedTuple):
    """One request, or conversation, that a shard is to send."""

    seq: int
    at_s: float | None
    """Open loop: when to send it, from the start of the stage."""
    body: bytes | PreparedConversation
    headers: dict[str, str] | None = None
    """Headers of this request alone."""
    kind: int = 0
    """Number of the wiring that it is sent by."""


class Measurement(NamedTuple):
    """One request's measurement, as a shard hands it over."""

    seq: int
    scheduled_s: float
    exchange: Exchange | BenchmarkData | None
    """None: a conversation's turn that was due and was not sent, since the stage was stopped."""
    turn: int = 0
    """Of a conversation: 1 for its first turn; 0 for a single request."""
    is_last: bool = True
    """Nothing more comes of this assignment."""
    body: bytes = b""
    """Of a conversation: the body that was sent."""


class Unsent(NamedTuple):
    """An assignment that was not sent before its stage was over."""

    seq: int
    scheduled_s: float | None = None
    """When it was due; None where it was not."""


def arrived_s(measured: Exchange | BenchmarkData) -> float:
    """When an answer had arrived, by the kernel's stamp where there is one; 0.0 where nobody says.

    A plugin that sends by itself is not asked: what it says is no time that a place became free.
    """
    return measured.end_s if isinstance(measured, Exchange) else 0.0
