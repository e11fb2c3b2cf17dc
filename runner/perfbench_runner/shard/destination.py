"""Where requests go: a URL and its headers, rendered once for all requests of a run."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

USER_AGENT = "perfbench"


@dataclass(frozen=True)
class Origin:
    """Where connections go: scheme, host and port."""

    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Destination:
    """A URL and headers, rendered once for all its requests."""

    origin: Origin
    head: bytes
    """Request line and headers up to the value of Content-Length."""

    def request(self, body: bytes) -> bytes:
        """The whole request for a body."""
        return b"%s%d\r\n\r\n%s" % (self.head, len(body), body)


def destination(url: str, headers: dict[str, str]) -> Destination:
    """Render a URL and headers; raises ValueError for a URL that is none, or a header that would break the request."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no http(s) URL")
    is_tls = parts.scheme == "https"
    if parts.port == 0:
        raise ValueError("port 0 is no port to connect to; leave it out for the scheme's own")
    origin = Origin(parts.hostname, parts.port or (443 if is_tls else 80), is_tls)
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password, which would be stored; give a header Authorization instead")
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="%/:?#[]@!$&'()*+,;=~")
    host = parts.netloc
    if not re.fullmatch(r"[\w.:\[\]%-]+", host):
        raise ValueError(f"{host!r} is no host")
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
