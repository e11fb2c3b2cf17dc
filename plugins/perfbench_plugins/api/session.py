"""A Transport for plugins that run outside perfbench's engine. No API itself."""

from time import perf_counter
from typing import TYPE_CHECKING

from perfbench_plugins.exchange import ERROR_BYTES, Exchange, FailureKind

if TYPE_CHECKING:
    import aiohttp


class SessionTransport:
    """A Transport over an aiohttp session: for plugins that run outside perfbench's engine, in tests for example."""

    def __init__(self, session: "aiohttp.ClientSession") -> None:
        self.session = session

    async def post(self, url: str, headers: dict[str, str], body: bytes) -> Exchange:
        """Send a POST request and read the whole response; failures are in the Exchange, not raised."""
        import aiohttp

        exchange, parts, length = Exchange(sent_s=perf_counter()), [], 0
        try:
            async with self.session.post(url, headers=headers, data=body) as response:
                exchange.first_byte_s, exchange.status = perf_counter(), response.status
                exchange.content_type = response.headers.get("Content-Type", "").lower()
                async for part in response.content.iter_any():
                    parts.append(part)
                    length += len(part)
                    exchange.stamps.append(perf_counter())
                    exchange.ends.append(length)
        except TimeoutError as error:
            exchange.failure, exchange.error = FailureKind.TIMEOUT, str(error) or "timed out"
        except aiohttp.ClientConnectorError as error:
            exchange.failure, exchange.error = FailureKind.CONNECT, str(error)
        except aiohttp.ClientError as error:
            exchange.failure, exchange.error = FailureKind.DISCONNECTED, str(error) or type(error).__name__
        exchange.end_s, exchange.body = perf_counter(), b"".join(parts)
        if exchange.status >= 400 and not exchange.failure:
            exchange.failure = FailureKind.http(exchange.status)
            exchange.error = exchange.body[:ERROR_BYTES].decode(errors="replace")
        return exchange
