"""Images: their type and size by their bytes, and what they are estimated to cost in tokens."""

import json
import struct
from random import Random
from typing import Any

import pytest

from perfbench_plugins.api.chat import image_tokens
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.images import random_png
from perfbench_plugins.images import data_url, media_type, size_of, split_data_url

JPEG = b"\xff\xd8\xff\xe0\x00\x04ab" + b"\xff\xc4\x00\x03x" + b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 30, 70)
IMAGES = {
    "image/png": random_png(70, 30, "RGB", Random(1)),
    "image/gif": b"GIF89a" + struct.pack("<HH", 70, 30),
    "image/bmp": b"BM" + bytes(16) + struct.pack("<ii", 70, -30),
    "image/jpeg": JPEG,
    "image/webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + (69).to_bytes(3, "little") + (29).to_bytes(3, "little"),
}
LOSSY = b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 70, 30)
LOSSLESS = b"RIFF\0\0\0\0WEBPVP8L" + bytes(5) + struct.pack("<I", 69 | 29 << 14)


@pytest.mark.parametrize("kind", IMAGES)
def test_type_and_size_are_in_an_images_first_bytes(kind: str) -> None:
    image = IMAGES[kind]
    assert media_type(image) == kind
    assert size_of(image) == (70, 30)
    assert split_data_url(data_url(image)) is not None
    assert data_url(image).startswith(f"data:{kind};base64,")


@pytest.mark.parametrize("image", [LOSSY, LOSSLESS])
def test_webp_has_three_kinds(image: bytes) -> None:
    assert size_of(image) == (70, 30)


@pytest.mark.parametrize("image", [b"", b"text", *(image[:9] for image in IMAGES.values()), b"RIFF\0\0\0\0WEBPXXXX"])
def test_what_is_cut_short_has_no_size(image: bytes) -> None:
    assert size_of(image) is None


def message(*urls: str) -> list[dict[str, Any]]:
    images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": "what"}, *images]}]


@pytest.mark.parametrize(
    ("messages", "patch", "tokens"),
    [
        ("text", 28, 0),
        ([1, 2, 3], 28, 0),
        ([{"role": "user", "content": "text"}], 28, 0),
        (message(data_url(IMAGES["image/png"])), 28, 3 * 2),
        (message(data_url(IMAGES["image/png"])), 14, 5 * 3),
        (message(*[data_url(image) for image in IMAGES.values()]), 28, 5 * 6),
        (message(data_url(IMAGES["image/png"]), "https://h/a.png"), 28, None),
        (message(data_url(b"\xff\xd8\xff")), 28, None),
    ],
)
def test_an_image_costs_a_token_for_each_patch_and_one_not_seen_is_unknown(
    messages: Any, patch: int, tokens: int | None
) -> None:
    assert image_tokens(messages, patch) == tokens


def test_the_patch_size_counts_where_the_server_reports_no_usage(tokenizer_folder: Any) -> None:
    answer = {"choices": [{"message": {"content": "a"}}]}
    url = data_url(IMAGES["image/png"])
    counts = []
    for patch, image in ((28, url), (14, url), (14, "https://h/a.png")):
        param = Arguments(model="m", url="http://h", tokenizer_path=str(tokenizer_folder), image_patch_size=patch)
        plugin = OpenaiPlugin(param)
        body = plugin.build_request(message(image))
        counts.append(plugin.estimate([answer], json.dumps(body)).prompt)
    assert counts[1] == counts[0] + (5 * 3 - 3 * 2)
    assert counts[2] is None
