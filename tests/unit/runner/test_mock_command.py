"""What `perfbench mock` says where it cannot listen."""

import errno
import socket

import pytest

from perfbench_runner.cli.mock_command import unheard


@pytest.mark.parametrize(
    ("error", "host", "port", "expected"),
    [
        (
            OSError(errno.EADDRINUSE, "in use (while attempting …)"),
            None,
            80,
            "its address, port 80: Address already in use;",
        ),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "a.invalid", None, "a.invalid: Name not known;"),
    ],
)
def test_a_mock_that_cannot_listen_says_where_and_the_way_out(
    error: OSError, host: str | None, port: int | None, expected: str
) -> None:
    said = unheard(error, host, port)
    assert said.startswith(f"mock: cannot listen on {expected}")
    assert said.endswith("give --host an address of this machine, and --port a free one")
