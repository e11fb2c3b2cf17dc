"""The way through a proxy to a server that speaks TLS: the proxy is asked to pass on bytes, with CONNECT."""

import asyncio
import socket

from perfbench_runner.shard.destination import USER_AGENT, Origin, Proxy, host_and_port

HEAD_BYTES = 64 * 2**10


class TunnelError(OSError):
    """The proxy does not let us through."""


async def open_tunnel(sock: socket.socket, origin: Origin, proxy: Proxy) -> None:
    """Have the proxy at the other end of a connected socket pass on bytes to `origin`. Raises OSError."""
    loop, to = asyncio.get_running_loop(), host_and_port(origin.host, origin.port)
    lines = [f"CONNECT {to} HTTP/1.1", f"Host: {to}", f"User-Agent: {USER_AGENT}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    await loop.sock_sendall(sock, "\r\n".join([*lines, "", ""]).encode("latin-1"))
    head = b""
    while b"\r\n\r\n" not in head:  # the server says nothing before we do, so that no byte of it can be in here
        data = await loop.sock_recv(sock, 2**12)
        head += data
        if not data or len(head) > HEAD_BYTES:
            raise TunnelError("the proxy did not answer CONNECT as an HTTP proxy does; is it one?")
    refuse_unless_open(head)


def refuse_unless_open(head: bytes) -> None:
    """Raises TunnelError, with the way out, unless the head of a proxy's answer says that the tunnel is open."""
    version, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/") or not status.isdigit():
        raise TunnelError("the proxy did not answer CONNECT as an HTTP proxy does; is it one?")
    if status == "407":
        raise TunnelError("the proxy wants a user name and password; give them as http://NAME:${VARIABLE}@HOST:PORT")
    if not status.startswith("2"):
        raise TunnelError(f"the proxy answered CONNECT with {rest.strip()[:200]}; does it allow this host and port?")
