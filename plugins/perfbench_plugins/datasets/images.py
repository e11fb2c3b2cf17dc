"""Images of datasets: made here, or out of a row. No dataset itself."""

import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

from perfbench_plugins.datasets.errors import DatasetError
from perfbench_plugins.images import data_url, is_remote

CHANNELS = {"L": (1, 0), "RGB": (3, 2), "RGBA": (4, 6)}
"""Pixel format: bytes of a pixel, PNG's number for it."""


def random_png(width: int, height: int, pixels: str, random: Random) -> bytes:
    """A PNG of noise: no two are alike, so that no server's image cache is of help. Raises DatasetError."""
    if pixels not in CHANNELS:
        raise DatasetError(f"dataset.imageFormat: {pixels!r} is none of {', '.join(CHANNELS)}")
    size, number = CHANNELS[pixels]
    # Each line begins with its filter, 0. Noise cannot be compressed, so it is not tried (level 0).
    lines = b"".join(b"\0" + random.randbytes(width * size) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, number, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def folder_of(path: str | None) -> Path:
    """The folder that a dataset's images are relative to: its file's, or itself if it is one."""
    place = Path(path or "")
    return place if place.is_dir() else place.parent


def image_url(value: Any, folder: Path) -> str:
    """The URL of an image in a row: bytes, Hugging Face's {bytes, path}, a URL, or a file's path. Raises DatasetError."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return data_url(value)
    if not isinstance(value, str) or not value:
        raise DatasetError(
            f"dataset.path: an image is {type(value).__name__}; it must be bytes, a URL or a file's path"
        )
    if is_remote(value):
        return value
    try:
        return data_url((folder / value).read_bytes())
    except OSError as error:
        raise DatasetError(f"dataset.path: cannot read image {value!r}: {error.strerror}") from None
