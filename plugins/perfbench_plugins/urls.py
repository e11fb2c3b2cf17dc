"""Where requests go: URLs completed with an API's usual path, as EvalScope completes them.

A server behind a Unix socket has the URL `unix:SOCKET:PATH`, such as unix:/run/vllm.sock:/v1/chat/completions.
"""

from urllib.parse import SplitResult, urlsplit, urlunsplit

CHAT, COMPLETIONS = "chat/completions", "completions"
ENDPOINTS = (CHAT, COMPLETIONS, "responses", "embeddings", "reranks", "rerank", "systemone", "decide")
"""Paths of OpenAI-like APIs: a URL that ends in one of them is complete."""
DEFAULT_URL = "http://127.0.0.1:8877/v1/chat/completions"
"""EvalScope's, where none is given."""
WRONG = SplitResult("", "", "", "", "")
SUFFIXES = {
    "openai": CHAT,
    **dict.fromkeys(("openai_responses", "openai_response", "responses"), "responses"),
    **dict.fromkeys(("openai_embedding", "embedding"), "embeddings"),
    **dict.fromkeys(("openai_rerank", "rerank"), "rerank"),
}
"""EvalScope's APIs, and what is added to their URLs."""


def completed(url: str, suffix: str, endpoints: tuple[str, ...] = ()) -> str:
    """The URL with the suffix: where it ends in the host or in /v1, and where it ends in none of `endpoints`, if given.

    A suffix that begins with a slash goes after the host; another one after /v1, or after the path that there is.
    """
    parts = _parts(url)
    path = parts.path.rstrip("/")
    if not suffix or parts is WRONG or (path not in ("", "/v1") and (not endpoints or ends_in(url, *endpoints))):
        return url
    if suffix.startswith("/"):
        return joined(parts._replace(path=suffix))
    return joined(parts._replace(path=f"{path or '/v1'}/{suffix}"))


def ends_in(url: str, *endpoints: str) -> bool:
    """Whether a URL's path ends in one of these."""
    path = _parts(url).path.rstrip("/")
    return any(path.endswith(f"/{endpoint}") for endpoint in endpoints)


def redirected(url: str, endpoint: str, to: str) -> str:
    """The URL with another endpoint, where its path ends in this one."""
    parts = _parts(url)
    path = parts.path.rstrip("/")
    return joined(parts._replace(path=path.removesuffix(endpoint) + to)) if ends_in(url, endpoint) else url


def split(url: str) -> SplitResult:
    """The parts of a URL; in one of a Unix socket the socket's path takes the host's place. Raises ValueError."""
    scheme, _, rest = url.partition(":")
    if scheme != "unix":
        return urlsplit(url)
    socket, _, address = rest.partition(":")
    path, _, query = address.partition("?")
    return SplitResult(scheme, socket, path, query, "")


def joined(parts: SplitResult) -> str:
    """The URL of these parts."""
    if parts.scheme != "unix":
        return urlunsplit(parts)
    query = f"?{parts.query}" if parts.query else ""
    return f"unix:{parts.netloc}:{parts.path}{query}"


def _parts(url: str) -> SplitResult:
    """The parts of a URL; none of one that is wrong, which is told where it is used."""
    try:
        return split(url)
    except ValueError:
        return WRONG


def is_for_chat(url: str, api: str = "") -> bool:
    """Whether chat messages are sent to a URL, not yet completed if `api` is one of EvalScope's."""
    return ends_in(completed(url, SUFFIXES.get(api, ""), ENDPOINTS), CHAT)
