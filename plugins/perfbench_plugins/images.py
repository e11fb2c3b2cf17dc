"""Images as chat messages carry them: `image_url` parts with an http(s) or a data URL.

Datasets name images by URL, by file, or bring their bytes; servers cannot read our disk, so what is local becomes a data
URL.
"""

import base64
import struct
from binascii import Error as NoBase64
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LONGEST_PATH = 4096
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
"""What the files of image types begin with."""


def is_remote(url: str) -> bool:
    """Whether a server can use a URL as it is."""
    return url.startswith(("http://", "https://", "data:"))


def media_type(image: bytes) -> str | None:
    """The media type of an image file by its first bytes; None for one that is not known."""
    return next((kind for start, kind in SIGNATURES.items() if image.startswith(start)), None)


def data_url(image: bytes, kind: str | None = None) -> str:
    """The bytes of an image file as a data URL; JPEG where neither `kind` nor its first bytes say otherwise."""
    return f"data:{kind or media_type(image) or 'image/jpeg'};base64,{base64.b64encode(image).decode()}"


@lru_cache(maxsize=256)
def servable_url(url: str) -> str:
    """A URL that a server can use: of a local image (`file:…`, a path, bare base64) its data URL.

    Raises ValueError for a local image that is not there, and for what is no image.
    """
    if is_remote(url):
        return url
    path = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else Path(url)
    if len(url) <= LONGEST_PATH and path.is_file():
        image = path.read_bytes()
        return data_url(image, _known_type(image, str(path)))
    try:
        return f"data:{_known_type(base64.b64decode(url[:64]), url[:40])};base64,{url}"
    except (NoBase64, ValueError):
        raise ValueError(f"image {url[:200]!r} is no http(s) or data URL, no file that is there, no base64") from None


def _known_type(image: bytes, name: str) -> str:
    found = media_type(image)
    if found is None:
        raise ValueError(f"image {name!r} is no PNG, JPEG, GIF, WebP or BMP")
    return found


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a data URL; None for another URL."""
    if not url.startswith("data:"):
        return None
    head, _, data = url.partition(",")
    return head.removeprefix("data:").removesuffix(";base64") or "image/png", data


def image_url(part: Any) -> str | None:
    """The URL in an `image_url` part as it stands there; None for other parts."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return None
    image = part.get("image_url")
    return str(image.get("url") or "") if isinstance(image, dict) else str(image)


def size_of(image: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, JPEG, GIF, WebP or BMP in pixels, from its head; None where they are not found."""
    try:
        return _size(image)
    except (struct.error, IndexError, StopIteration):
        return None


def _size(image: bytes) -> tuple[int, int] | None:
    kind = media_type(image)
    if kind == "image/png":
        return _pair(">II", image, 16)
    if kind == "image/gif":
        return _pair("<HH", image, 6)
    if kind == "image/bmp":
        width, height = _pair("<ii", image, 18)
        return width, abs(height)
    if kind == "image/webp":
        return _webp_size(image)
    if kind == "image/jpeg":
        return next(_jpeg_sizes(image))
    return None


def _pair(form: str, image: bytes, at: int) -> tuple[int, int]:
    first, second = struct.unpack_from(form, image, at)
    return first, second


def _webp_size(image: bytes) -> tuple[int, int] | None:
    """WebP has three kinds of first chunk (Google's container specification)."""
    chunk = image[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(image[at : at + 3], "little") + 1 for at in (24, 27))
        return width, height
    if chunk == b"VP8 ":
        width, height = _pair("<HH", image, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", image, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _jpeg_sizes(image: bytes) -> Iterator[tuple[int, int]]:
    """Sizes in the frame headers: markers C0 to CF, but for C4, C8 and CC, which are tables."""
    at = 2
    while at < len(image):
        marker, length = image[at + 1], int.from_bytes(image[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = _pair(">HH", image, at + 5)
            yield width, height
        at += 2 + max(length, 2)
