"""`python -m perfbench_runner.shard NUMBER SOCKET DESCRIPTOR…`: a shard that was not forked. Its wiring comes on stdin."""

from perfbench_runner import signals

signals.ignore()  # the control process says when to end

import socket  # noqa: E402
import sys  # noqa: E402

from perfbench_runner.shard.places import Places  # noqa: E402
from perfbench_runner.shard.shard import main  # noqa: E402
from perfbench_runner.shard.wired import unpack  # noqa: E402

if __name__ == "__main__":
    number, sock, *descriptors = map(int, sys.argv[1:])
    main(number, unpack(sys.stdin.buffer.read()), Places(descriptors), socket.socket(fileno=sock))
