"""What APIs that take chat messages share: their text, and their images. No API itself.

A dataset's images are URLs in `image_url` parts, as OpenAI has them: `https://…`, `data:…`, and of local ones
`file:…`, a path or bare base64. Servers cannot read our disk, so local images become data URLs.
"""

from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Message = dict[str, Any]
LONGEST_PATH = 4096
IMAGES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
    b"BM": "image/bmp",
}
"""What the files of image types begin with."""


def are_token_ids(messages: Any) -> bool:
    """Whether a dataset yielded token ids: a list of whole numbers."""
    return isinstance(messages, list) and bool(messages) and isinstance(messages[0], int)


def as_messages(messages: Any, api: str) -> list[Message]:
    """Chat messages, of a text too; raises ValueError for token ids, which `api` does not take."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if are_token_ids(messages):
        raise ValueError(f"{api} takes no token ids; leave dataset.tokenizePrompt out")
    return list(messages)


def as_text(messages: Any) -> str:
    """The text of chat messages (or a text itself), one after the other."""
    if isinstance(messages, str):
        return messages
    return "\n".join(filter(None, (content_text(message.get("content")) for message in messages)))


def content_text(content: Any) -> str:
    """The text of a message's content: text, or a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content or ""


def image_of(part: Any) -> str | None:
    """The URL of an image part, a local image as data URL; None for other parts."""
    if not isinstance(part, dict) or part.get("type") != "image_url":
        return None
    image = part.get("image_url")
    return data_url(image.get("url") or "" if isinstance(image, dict) else str(image))


def with_images(messages: list[Message]) -> list[Message]:
    """The messages, local images in them as data URLs."""
    return [_with_images(message) if isinstance(message.get("content"), list) else message for message in messages]


def _with_images(message: Message) -> Message:
    return {**message, "content": [_inlined(part) for part in message["content"]]}


def _inlined(part: Any) -> Any:
    url = image_of(part)
    if url is None:
        return part
    image = part["image_url"]
    return {**part, "image_url": {**image, "url": url} if isinstance(image, dict) else {"url": url}}


@lru_cache(maxsize=256)
def data_url(url: str) -> str:
    """A URL that a server can use: http(s) and data as they are; raises ValueError for a local image that is not there."""
    if url.startswith(("http://", "https://", "data:")):
        return url
    path = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else Path(url)
    if len(url) <= LONGEST_PATH and path.is_file():
        data = path.read_bytes()
        return f"data:{_type(data, str(path))};base64,{b64encode(data).decode()}"
    try:
        return f"data:{_type(b64decode(url[:64]), url[:40])};base64,{url}"
    except (NoBase64, ValueError):
        raise ValueError(f"image {url[:200]!r} is no http(s) or data URL, no file that is there, no base64") from None


def _type(data: bytes, name: str) -> str:
    found = next((kind for start, kind in IMAGES.items() if data.startswith(start)), None)
    if found is None:
        raise ValueError(f"image {name!r} is no PNG, JPEG, GIF, WebP or BMP")
    return found


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a data URL; None for another URL."""
    if not url.startswith("data:"):
        return None
    head, _, data = url.partition(",")
    return head.removeprefix("data:").removesuffix(";base64") or "image/png", data
