"""A socket to serve on: a pod may have IPv4, IPv6 or both."""

import socket

ANY = ("", "::")
"""Hosts that mean all addresses, of both families."""


def server_socket(host: str, port: int, backlog: int | None = None) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. Raises OSError when the address cannot be had."""
    if host not in ANY:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("", port), backlog=backlog)
    return socket.create_server(("", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True)
