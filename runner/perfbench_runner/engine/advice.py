"""What a failed request means for the person who started the run, and what to do."""

import signal

from perfbench_plugins.exchange import FailureKind

REDIRECTIONS = ("http_301", "http_302", "http_303", "http_307", "http_308")
ADVICE = {
    FailureKind.CONNECT: "check that target.url names its host and port",
    FailureKind.TIMEOUT: "check that the server is up and not overloaded, or raise target.{limit}",
    FailureKind.DISCONNECTED: "the server closed the connection; look into its log",
    FailureKind.PROTOCOL: "check that target.url names an endpoint of the API that target.api speaks (and http or https)",
    FailureKind.STREAM: "the server reports an error of its own; look into its log",
    FailureKind.TRUNCATED: "the server ended the stream too early; look into its log",
    FailureKind.EMPTY: "the model answers nothing; check dataset, request.maxTokens and the api plugin",
    FailureKind.PLUGIN: "mend the plugin; `perfbench run --dry-run` shows the body it builds",
    **dict.fromkeys(REDIRECTIONS, "the server sends requests elsewhere; give that address as target.url"),
    "http_400": "the server rejects the body; compare `perfbench run --dry-run` with its API",
    "http_401": "the API key is missing or wrong; set PERFBENCH_API_KEY, or target.apiKey",
    "http_403": "the API key may not use this model or endpoint",
    "http_404": "no such path or model; check target.url (…/v1/chat/completions?) and target.model (GET /v1/models)",
    "http_405": "this path takes no POST; check target.url",
    "http_422": "the server rejects the body; compare `perfbench run --dry-run` with its API",
    "http_429": "the server limits the rate of requests; lower the load, raise the limit, or see load.retry",
    "http_503": "the server is not ready yet; give target.waitFor",
}
FATAL = (
    FailureKind.CONNECT, FailureKind.PROTOCOL, FailureKind.PLUGIN, *REDIRECTIONS,
    "http_400", "http_401", "http_403", "http_404", "http_405", "http_422", "http_429",
)  # fmt: skip
"""Failures that every further request would share."""
NOT_WORTH_WAITING = (FailureKind.PLUGIN, *REDIRECTIONS, "http_400", "http_401", "http_403", "http_405", "http_422")
"""Failures that do not go away while a server starts."""
REASONS = {FailureKind.PLUGIN: "PluginFailed", "http_401": "Unauthorized", "http_403": "Unauthorized"}


def advice(url: str, kind: str, error: str | None) -> str:
    """One line: what happened at which URL, and the way out."""
    what = f"HTTP {kind.removeprefix('http_')}" if kind.startswith("http_") else kind
    text, url = in_one_line(error or ""), in_one_line(url)
    hint = "" if ": certificate" in text or "certificate is not trusted" in text else _hint(kind, text)
    return "; ".join([f"target.url {url}: {what}{': ' + text if text else ''}", *([hint] if hint else [])])


def in_one_line(text: str, most: int = 300) -> str:
    """A text of the server's or the user's own, cut, and without what would move a terminal's cursor."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
    return plain if len(plain) <= most else f"{plain[:most]}…"


LIMITS = ("totalTimeout", "readTimeout", "connectTimeout")


def _hint(kind: str, text: str) -> str:
    """The way out, where the error has none of its own."""
    if kind == FailureKind.CONNECT and ("?" in text or ";" in text):
        return ""
    limit = next((name for name in LIMITS if name in text), "connectTimeout/readTimeout")
    return ADVICE.get(kind, "look into the server's log").format(limit=limit)


def lost(number: int, exit_code: int) -> str:
    """What to say of a load-generating process that is gone; a negative code is the signal that killed it."""
    text = f"load-generating process {number} ended unexpectedly"
    if exit_code == -signal.SIGKILL:
        return f"{text}, killed; what was measured is kept (out of memory? lower the load or give more memory)"
    if exit_code < 0:
        return f"{text}, by {signal.Signals(-exit_code).name}; what was measured is kept"
    return f"{text}, with exit code {exit_code} (does a plugin end the process?); what was measured is kept"


def reason(kind: str) -> str:
    """A CamelCase word for conditions."""
    return REASONS.get(kind, "TargetUnreachable" if kind == FailureKind.CONNECT else "TargetFailing")
