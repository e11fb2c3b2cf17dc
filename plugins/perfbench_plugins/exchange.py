"""One HTTP exchange as it was on the wire: bytes and the times of their arrival, not yet understood.

The measuring loop makes it with as little work as possible; `perfbench_plugins.reading` finds out later, in another
process, what it means.
"""

from array import array
from dataclasses import dataclass, field
from typing import Literal, Protocol

ERROR_BYTES = 500
"""How much of an error response is kept as the error's text."""

LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")
"""Content types of NDJSON."""


class FailureKind:
    """Why a request failed; these are the keys of `errors` in the summary. HTTP statuses are kinds of their own: http_429."""

    CONNECT = "connect"
    """No connection: refused, unknown host, TLS failure."""
    TIMEOUT = "timeout"
    """A connect, read or total timeout passed."""
    DISCONNECTED = "disconnected"
    """The connection ended before the answer was complete."""
    PROTOCOL = "protocol"
    """What came is no HTTP, larger than allowed, no answer of the API, or one that counts tokens as nobody can."""
    STREAM = "in_stream"
    """HTTP 200, but an error event in the stream or an error object in the body."""
    TRUNCATED = "truncated"
    """The stream ended without saying that it was complete."""
    EMPTY = "empty"
    """A complete answer without any content."""
    UNFINISHED = "unfinished"
    """Cut off at the end of the grace period: no failure, but a latency that is known only to be longer."""
    PLUGIN = "plugin"
    """A plugin raised an exception."""

    @staticmethod
    def http(status: int) -> str:
        """The kind of an HTTP error status."""
        return f"http_{status}"


@dataclass(slots=True)
class Exchange:
    """A request and its response. Times are seconds of `time.perf_counter()`; 0.0 is not reached."""

    sent_s: float = 0.0
    """When the first byte of the request was handed to the kernel; of one that was sent again, the first time."""
    body_sent_s: float = 0.0
    """When the last byte of the request was handed to the kernel; later than `sent_s` if it did not take all at once."""
    connected_s: float = 0.0
    """When the connection was ready; 0.0 for one that was kept alive."""
    connect_s: float = 0.0
    """Duration of the TCP connect (and name look-up), where the request had to wait for one before it was sent."""
    tls_s: float = 0.0
    """Duration of the TLS handshake."""
    first_byte_s: float = 0.0
    """When the first byte of the response arrived."""
    end_s: float = 0.0
    """When the last byte of the response arrived, or the failure was noticed."""
    status: int = 0
    """HTTP status; 0 without a response."""
    content_type: str = ""
    """Content-Type of the response, in lower case."""
    content_encoding: str = ""
    """Content-Encoding of the response, in lower case; empty where the body is as it is."""
    stamps: "array[float]" = field(default_factory=lambda: array("d"))
    """When each piece of the body arrived."""
    ends: "array[int]" = field(default_factory=lambda: array("Q"))
    """Where in the body each piece ends: the running sum of lengths."""
    body: bytes = b""
    """The body, transfer encoding undone, content encoding not (`decoding`)."""
    stamps_by: Literal["kernel", "program"] = "program"
    """Who took the times of arrival: `kernel` if it was the kernel for every byte, else `program`."""
    merged_segments: int | None = None
    """TCP segments of the response that were read together with a later one and have its time; None: not known."""
    read_delay_s: float = 0.0
    """How long after its arrival, by the kernel's stamp, a part of the response was read at most."""
    resends: int = 0
    """How often it was sent again, its idle connection having been closed before the request could have reached anyone."""
    retry_after: str = ""
    """Retry-After of an answer that is no success; empty without."""
    retries: int = 0
    """How often it was sent again because the target refused it for now (`load.retry`)."""
    refusals: tuple[str, ...] = ()
    """Each time's FailureKind: http_429 or http_503."""
    retry_s: float = 0.0
    """How much later than `sent_s` it was sent for the last time, where it was sent again for that reason."""
    gave_up: str = ""
    """Why a refused request was not sent again, in words, where that is the client's own doing."""
    failure: str = ""
    """A FailureKind, or empty: transport failures only, the body has not been looked at."""
    error: str = ""
    """What happened, for people."""

    @property
    def is_stream(self) -> bool:
        """Whether the body is a stream: of server-sent events, or of lines of JSON."""
        return self.content_type.startswith("text/event-stream") or self.is_lines

    @property
    def is_lines(self) -> bool:
        """Whether the body is lines of JSON, each a message (NDJSON)."""
        return self.content_type.startswith(LINES)


class Transport(Protocol):
    """What sends requests: the runner's own, aiohttp in a plugin author's hands, or a fake in tests."""

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Exchange:
        """Send a POST request and read the whole response; failures are in the Exchange, not raised."""
        ...
