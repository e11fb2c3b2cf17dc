"""Which proxy requests are sent through: the one that `target.proxy` names, or that the environment does."""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from perfbench_api.redaction import KNOWN
from perfbench_api.resource import SpecError
from perfbench_runner.run.secrets import PROXY_PASSWORD
from perfbench_runner.shard.destination import Proxy

ENVIRONMENT = "environment"
FIELD = "spec.target.proxy"


def proxy_of(given: str | None, url: str, env: Mapping[str, str]) -> Proxy | None:
    """The proxy for requests to a URL; raises SpecError for one that cannot be spoken to."""
    if not given or url.startswith("unix:"):
        return None
    if given != ENVIRONMENT:
        return _read(given, FIELD)
    name, found = of_environment(url, env)
    return _read(found if "://" in found else f"http://{found}", f"{FIELD}: {name}") if found else None


def ignored(given: str | None, url: str, env: Mapping[str, str]) -> str:
    """What to say of a proxy that the environment has for this URL and that is not used; empty where there is none."""
    name = "" if given or url.startswith("unix:") else of_environment(url, env)[0]
    return f"{name} is set and not used; with target.proxy: environment (--proxy environment) it is" if name else ""


def of_environment(url: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Name and value of the variable that has a proxy for this URL, as curl takes them; empty texts where none has.

    What NO_PROXY lists goes without one, and so does this machine's own loopback.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    without = env.get("no_proxy") or env.get("NO_PROXY") or ""
    if is_loopback(host) or any(goes_without(host, entry.strip()) for entry in without.split(",")):
        return "", ""
    own = f"{parts.scheme}_proxy"
    for name in (own, own.upper(), "all_proxy", "ALL_PROXY"):
        if value := env.get(name, "").strip():
            return name, value
    return "", ""


def goes_without(host: str, entry: str) -> bool:
    """Whether an entry of NO_PROXY is about a host: its name or address, a domain that it is in, a network, or `*`."""
    if entry == "*":
        return True
    with suppress(ValueError):
        address = ip_address(host)
        with suppress(ValueError):
            return address in ip_network(entry.strip("[]"), strict=False)
        return False
    domain = entry.lower().removeprefix("*").lstrip(".").rstrip(".")
    return bool(domain) and f".{host.rstrip('.')}".endswith(f".{domain}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _read(url: str, where: str) -> Proxy:
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise SpecError([f"{where}: {error}; write it as http://HOST:PORT, or {ENVIRONMENT}"]) from None
    password = unquote(parts.password or "")
    KNOWN.add(password or None, PROXY_PASSWORD)
    if parts.scheme != "http" or not parts.hostname:
        kind = f"of scheme {parts.scheme}" if parts.scheme and parts.hostname else "no URL"
        raise SpecError([f"{where}: is {kind}; proxies are spoken to by http: http://HOST:PORT, or {ENVIRONMENT}"])
    if parts.username is None:
        return Proxy(parts.hostname, port)
    token = b64encode(f"{unquote(parts.username)}:{password}".encode()).decode()
    KNOWN.add(token)
    return Proxy(parts.hostname, port, f"Basic {token}")
