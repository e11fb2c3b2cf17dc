"""Keys by which EvalScope's datasets say in a body what only that request needs; they never reach a server.

A dataset of ours yields an `Item` instead.
"""

PREFIX = "__evalscope_"
HEADERS = PREFIX + "headers"
"""HTTP headers of the request."""
REQUEST_ID = PREFIX + "request_id"
ARRIVAL_OFFSET = PREFIX + "arrival_offset"
"""When to send it: seconds from the start of the stage."""
IS_WARMUP = PREFIX + "is_warmup"
"""True: the request is not counted."""

OF_A_CONNECTION = frozenset(
    "connection content-length host keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer"
    " trailers transfer-encoding upgrade".split()
)
"""Headers that belong to a recorded connection and would break ours."""


def is_of_request(header: str) -> bool:
    """Whether a recorded header is the request's own, and not its connection's."""
    return header.lower() not in OF_A_CONNECTION
