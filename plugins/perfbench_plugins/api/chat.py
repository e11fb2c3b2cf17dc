"""What APIs that take chat messages share: their text, and their images. No API itself.

A dataset's images are URLs in `image_url` parts, as OpenAI has them: `https://…`, `data:…`, and of local ones
`file:…`, a path or bare base64. Servers cannot read our disk, so local images become data URLs.
"""

import base64
from math import ceil
from typing import Any

from perfbench_plugins.content import message_text
from perfbench_plugins.images import image_url, servable_url, size_of, split_data_url

Message = dict[str, Any]


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
    return "\n".join(filter(None, map(message_text, messages)))


def image_of(part: Any) -> str | None:
    """The URL of an image part, a local image as data URL; None for other parts."""
    url = image_url(part)
    return None if url is None else servable_url(url)


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


def image_tokens(messages: Any, patch_size: int) -> int | None:
    """Tokens of the images in chat messages, one for each patch; None where an image's size cannot be seen from here."""
    if not isinstance(messages, list):
        return 0
    contents = [message.get("content") for message in messages if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    counts = [_patches(url, patch_size) for part in parts if (url := image_url(part)) is not None]
    return None if None in counts else sum(filter(None, counts))


def _patches(url: str, patch_size: int) -> int | None:
    data = split_data_url(url)
    size = size_of(base64.b64decode(data[1])) if data else None
    return ceil(size[0] / patch_size) * ceil(size[1] / patch_size) if size else None
