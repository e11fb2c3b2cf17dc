"""What the kernel knows of a TCP connection (Linux, TCP_INFO); None where it does not say."""

import socket
import struct
from typing import NamedTuple

_SIZE = 192
_fields = struct.Struct("=68xI48xQ24xI").unpack_from  # tcpi_rtt, tcpi_bytes_acked, tcpi_data_segs_in


class TcpInfo(NamedTuple):
    """A connection as the kernel sees it."""

    rtt_s: float
    """Smoothed round-trip time."""
    acknowledged: int
    """Bytes that the peer's kernel has acknowledged, the connection's SYN counted as one."""
    segments: int
    """Segments with data that came so far."""


def tcp_info(sock: socket.socket) -> TcpInfo | None:
    """What the kernel says of this connection, also after its end."""
    try:
        data = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    except (AttributeError, OSError):  # not Linux, or the socket is closed
        return None
    if len(data) < _SIZE:  # a kernel before 4.19, or a sandbox's
        return None
    rtt_us, acknowledged, segments = _fields(data)
    return TcpInfo(rtt_us / 1e6, acknowledged, segments)
