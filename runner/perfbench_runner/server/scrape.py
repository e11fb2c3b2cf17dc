"""Reading a Prometheus endpoint once: fetch the text, keep the lines that are asked for, read them.

Plain asyncio and llhttp, both here already: a run that watches its server needs no HTTP client library, and one whose
server has no metrics pays a single small request. prometheus_client is imported with the first text to read.
"""

import asyncio
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import httptools

from perfbench_api.redaction import KNOWN

TIMEOUT_S = 2.0
"""Longest time of one look, connecting included."""
LARGEST_BYTES = 16 * 2**20
"""A longer page is no metrics page."""
ACCEPT = "text/plain;version=0.0.4, */*;q=0.1"


default_tls = cache(ssl.create_default_context)


class ScrapeError(Exception):
    """The page could not be had; it may be later."""


class NoPageError(ScrapeError):
    """There is no metrics page."""


STARTED = b"process-start-time-unix"
"""Header in which llama.cpp says when it started; others have it among their metrics."""


class Fetched(NamedTuple):
    """A page as it came."""

    text: str
    started: str = ""
    """When the server's process started, as its head says; empty where it does not."""


class Reading(NamedTuple):
    """One sample of a metrics page."""

    name: str
    labels: str
    """As JSON, keys sorted."""
    value: float


@dataclass(frozen=True)
class Page:
    """Where a metrics page is; one host may have several addresses, each with a page of its own."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: Callable[[], ssl.SSLContext] = default_tls

    @property
    def host(self) -> str:
        """Name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Given, or the scheme's."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def origin(self) -> tuple[str, str, int]:
        """Who would get our headers."""
        return urlsplit(self.url).scheme, self.host, self.port

    def request(self) -> bytes:
        """The request, the same for all addresses."""
        parts = urlsplit(self.url)
        path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="%/:?#[]@!$&'()*+,;=~")
        own = {"Host": parts.netloc.rpartition("@")[2], "User-Agent": "perfbench", "Accept": ACCEPT}
        own |= {"Accept-Encoding": "identity", "Connection": "close"}
        ours = {name.lower() for name in own}
        headers = own | {name: value for name, value in self.headers.items() if name.lower() not in ours}
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def addresses(page: Page) -> list[list[str]]:
    """All addresses behind the page's host (the pods of a headless Service), by family: each family reaches all pods.

    Raises ScrapeError when there are none.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = await loop.getaddrinfo(page.host, page.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise ScrapeError(f"{page.host}: not looked up within {TIMEOUT_S:g} s") from None
    except (OSError, UnicodeError) as error:
        raise ScrapeError(f"{page.host}: {getattr(error, 'strerror', None) or error}") from None
    families: dict[int, dict[str, None]] = {}
    for family, *_, address in sorted(found, key=lambda one: one[0]):
        families.setdefault(family, {})[str(address[0])] = None
    return [list(family) for family in families.values()]


class _Answer:
    """What httptools tells of an answer."""

    def __init__(self) -> None:
        self.body: list[bytes] = []
        self.has_length = self.is_complete = False
        self.started = ""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == STARTED:
            self.started = value.decode("latin-1")
        self.has_length = self.has_length or name.lower() in (b"content-length", b"transfer-encoding")

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.is_complete = True


async def fetch(page: Page, address: str) -> Fetched:
    """The page at one address; raises ScrapeError."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await _fetch(page, address)
    except TimeoutError:
        raise ScrapeError(f"no answer within {TIMEOUT_S:g} s") from None
    except (OSError, ValueError, httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise ScrapeError(str(error) or type(error).__name__) from None


async def _fetch(page: Page, address: str) -> Fetched:
    is_tls = urlsplit(page.url).scheme == "https"
    reader, writer = await asyncio.open_connection(
        address, page.port, ssl=page.tls() if is_tls else None, server_hostname=page.host if is_tls else None
    )
    try:
        writer.write(page.request())
        answer, size = _Answer(), 0
        parser = httptools.HttpResponseParser(answer)
        while not answer.is_complete and (data := await reader.read(2**16)):
            parser.feed_data(data)
            size += len(data)
            if size > LARGEST_BYTES:
                raise ScrapeError(f"more than {LARGEST_BYTES // 2**20} MiB")
        status = parser.get_status_code()
    finally:
        writer.transport.abort()
    if not size:
        raise ScrapeError("no answer")
    if status != 200:
        raise (NoPageError if status < 500 else ScrapeError)(f"HTTP {status}")
    if answer.has_length and not answer.is_complete:
        raise ScrapeError("the answer was cut off")
    text = KNOWN.masked(b"".join(answer.body)).decode(errors="replace")
    # Without a length nobody knows whether the last line is whole; a number without its end would be another number.
    return Fetched(text if answer.has_length else text[: text.rfind("\n") + 1], answer.started)


def is_exposition(text: str) -> bool:
    """Whether a page looks like Prometheus text: a comment of that format, or a sample first."""
    for line in filter(None, map(str.strip, text.split("\n", 100))):
        if line.startswith(("# HELP ", "# TYPE ", "# UNIT ", "# EOF")):
            return True
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            return bool(re.match(r"[a-zA-Z_:][\w:]*([{ ]|$)", name)) and _is_number(value)
    return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def readings(text: str, patterns: tuple[str, ...]) -> Iterator[Reading]:
    """The samples whose names match; lines that cannot be read are left out.

    Lines are chosen before they are parsed: of the thousands on a page a dozen are wanted.
    """
    from prometheus_client.parser import text_string_to_metric_families

    for line in text.split("\n"):
        if line.startswith("#") or not _is_wanted(line.partition("{")[0].partition(" ")[0], patterns):
            continue
        try:
            for family in text_string_to_metric_families(line):
                for sample in family.samples:
                    yield Reading(sample.name, json.dumps(sample.labels, sort_keys=True), float(sample.value))
        except (ValueError, KeyError, IndexError):
            continue


@cache
def _is_wanted(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
