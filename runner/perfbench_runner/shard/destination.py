"""Where requests go: a URL and its headers, rendered once for all requests of a run."""

import os
import re
import sys
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote

from perfbench_plugins.urls import split

USER_AGENT = "perfbench"
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
"""What a socket's address has room for."""


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy that requests are sent through."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)
    """What it wants as Proxy-Authorization; empty for nothing."""

    def __str__(self) -> str:
        return f"http://{host_and_port(self.host, self.port)}"


@dataclass(frozen=True)
class Origin:
    """Where connections go: scheme, host and port, through a proxy or not; or a Unix socket."""

    host: str
    port: int
    is_tls: bool
    proxy: Proxy | None = None
    socket: str = ""
    """Path of a Unix socket; empty for TCP."""

    def __str__(self) -> str:
        if self.socket:
            return f"unix:{self.socket}"
        url = f"{'https' if self.is_tls else 'http'}://{host_and_port(self.host, self.port)}"
        return f"{url} through the proxy {self.proxy}" if self.proxy else url

    @property
    def peer(self) -> tuple[str, int]:
        """Host and port that are connected to: the proxy's, where there is one."""
        return (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)


def host_and_port(host: str, port: int) -> str:
    """As a URL has it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True)
class Destination:
    """A URL and headers, rendered once for all its requests."""

    origin: Origin
    head: bytes
    """Request line and headers up to the value of Content-Length."""

    def request(self, body: bytes) -> bytes:
        """The whole request for a body."""
        return b"%s%d\r\n\r\n%s" % (self.head, len(body), body)


def destination(url: str, headers: dict[str, str], proxy: Proxy | None = None) -> Destination:
    """Render a URL and headers; raises ValueError for a URL that is none, or a header that would break the request."""
    parts = split(url)
    origin, host = _origin(parts, url, proxy)
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="%/:?#[]@!$&'()*+,;=~")
    if origin.proxy and not origin.is_tls:
        path = f"http://{host}{path}"
        headers = headers | ({"Proxy-Authorization": origin.proxy.authorization} if origin.proxy.authorization else {})
    all_headers = {"Host": host, "User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity"}
    all_headers["Content-Type"] = "application/json"
    given = {name.lower() for name in headers}
    all_headers = {name: value for name, value in all_headers.items() if name.lower() not in given} | headers
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in all_headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header contains a line break")
    try:
        return Destination(origin, "\r\n".join([*lines, "Content-Length: "]).encode("latin-1"))
    except UnicodeEncodeError as error:
        raise ValueError(f"a header contains {error.object[error.start]!r}, which HTTP cannot carry") from None


def _origin(parts: SplitResult, url: str, proxy: Proxy | None) -> tuple[Origin, str]:
    """Where to connect, and the header Host. Raises ValueError."""
    if parts.scheme == "unix":
        if len(os.fsencode(parts.netloc)) > SOCKET_PATH_BYTES:
            raise ValueError(f"the path of a Unix socket may have {SOCKET_PATH_BYTES} bytes, this one has more")
        return Origin("localhost", 0, is_tls=False, socket=parts.netloc), "localhost"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http(s) URL")
    is_tls = parts.scheme == "https"
    if parts.port == 0:
        raise ValueError("port 0 is no port to connect to; leave it out for the scheme's own")
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password, which would be stored; give a header Authorization instead")
    if not re.fullmatch(r"[\w.:\[\]%-]+", parts.netloc):
        raise ValueError(f"{parts.netloc!r} is no host")
    return Origin(parts.hostname, parts.port or (443 if is_tls else 80), is_tls, proxy), parts.netloc
