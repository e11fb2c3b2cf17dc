"""How shard processes are started: forked where that is safe, else as new processes that are told what they need.

A fork is quick and takes along whatever plugins there are. But it copies the locks that other threads hold, and nobody
releases them; on macOS, system libraries do not survive it at all. A notebook has threads of its own.
"""

import gc
import os
import socket
import subprocess
import sys
import threading
from functools import partial

from perfbench_runner import event_loop
from perfbench_runner.engine.supervisor import ShardProcess
from perfbench_runner.shard import shard
from perfbench_runner.shard.messages import Wiring
from perfbench_runner.shard.places import Places
from perfbench_runner.shard.wired import pack

SOCKET_BYTES = 2**21


def is_fork_safe(platform: str = sys.platform) -> bool:
    """Whether a child made by `fork` can be relied on here and now."""
    return platform != "darwin" and threading.active_count() == 1


def start_shards(count: int, wiring: Wiring, places: Places) -> list[ShardProcess]:
    """Start shard processes, before the event loop starts; raises PluginError when a plugin cannot be taken along."""
    if is_fork_safe():
        return fork_shards(count, wiring, places)
    packed = pack(wiring)
    return [_spawned(number, packed, places) for number in range(count)]


def fork_shards(count: int, wiring: Wiring, places: Places) -> list[ShardProcess]:
    """Fork them. No thread and no event loop may have started: a fork takes neither along.

    What is loaded until now is frozen: a collector that looked through it would take as long in every process, and write
    to its pages, of which each process would get a copy. The engine thaws it at its end.
    """
    event_loop.load()
    gc.freeze()
    shards: list[ShardProcess] = []
    for number in range(count):
        ours, theirs = _sockets()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for end in [ours, *(other.sock for other in shards)]:
                    end.close()  # else nobody would notice when the control process dies
                shard.main(number, wiring, places, theirs)
                code = 0
            finally:
                os._exit(code)
        theirs.close()
        shards.append(ShardProcess(number, pid, ours, partial(_exit_code_of, pid)))
    return shards


def _exit_code_of(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:  # somebody has asked already
        return 0


def _spawned(number: int, packed: bytes, places: Places) -> ShardProcess:
    ours, theirs = _sockets()
    handed_over = [theirs.fileno(), *places.descriptors]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-m", "perfbench_runner.shard", str(number), *map(str, handed_over)],
        stdin=subprocess.PIPE,
        pass_fds=handed_over,
        process_group=0,  # a terminal's Ctrl-C is for the control process
    )
    theirs.close()
    if process.stdin is not None:
        with process.stdin as stdin:
            stdin.write(packed)
    return ShardProcess(number, process.pid, ours, process.wait)


def _sockets() -> tuple[socket.socket, socket.socket]:
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        end.setblocking(False)
    return ends
