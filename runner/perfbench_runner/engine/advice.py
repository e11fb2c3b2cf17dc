"""What a failed request means for the person who started the run, and what to do."""

from perfbench_plugins.exchange import FailureKind

REDIRECTIONS = ("http_301", "http_302", "http_303", "http_307", "http_308")
ADVICE = {
    FailureKind.CONNECT: "check that the server runs and that target.url names its host and port",
    FailureKind.TIMEOUT: "check that the server is up and not overloaded, or raise target.connectTimeout/readTimeout",
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
    "http_429": "the server limits the rate of requests; lower the load or raise the limit",
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
    text = " ".join((error or "").split())[:300]
    hint = ADVICE.get(kind, "look into the server's log")
    return f"target.url {url}: {what}{': ' + text if text else ''}; {hint}"


def reason(kind: str) -> str:
    """A CamelCase word for conditions."""
    return REASONS.get(kind, "TargetUnreachable" if kind == FailureKind.CONNECT else "TargetFailing")
