#!/usr/bin/env python3
"""When does the kernel have a request: where between the moments before and after send() lies its own transmit stamp?

    .venv/bin/python bench/send_time.py

Sends 600 bytes to an echo at the other core and at its own, on a free core and beside a busy loop, and compares both moments
with the kernel's stamp of the segment that left (SO_TIMESTAMPING, TX_SOFTWARE). Needs Linux and two cores. The smaller
error, and the one that is smaller whatever else runs, is the better "sent".
"""

import os
import socket
import struct
import subprocess
import sys
import time

TX_SOFTWARE, RX_SOFTWARE, SOFTWARE, OPT_ID, OPT_TSONLY = 1 << 1, 1 << 3, 1 << 4, 1 << 7, 1 << 11
SO_TIMESTAMPING = 37
CORES = sorted(os.sched_getaffinity(0))
SENDS = 3000


def echo(listener: socket.socket, core: int) -> int:
    """A process that answers each message with a byte."""
    pid = os.fork()
    if pid:
        return pid
    os.sched_setaffinity(0, {core})
    far, _ = listener.accept()
    far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while far.recv(65536):
        far.send(b"x")
    os._exit(0)


def wall_minus_monotonic_ns() -> int:
    samples = []
    for _ in range(200):
        before, wall, after = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
        samples.append((after - before, wall - (before + after) // 2))
    return min(samples)[1]


def left_ns(near: socket.socket) -> int:
    """The kernel's stamp of the segment that was sent last, by the wall clock."""
    while True:
        try:
            _, ancillary, _, _ = near.recvmsg(1, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING):
                seconds, nanoseconds = struct.unpack_from("qq", data)
                return seconds * 1_000_000_000 + nanoseconds


def measure(echo_core: int) -> list[tuple[int, int]]:
    """Nanoseconds from the moment before to the stamp, and from the stamp to the moment after."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pid = echo(listener, echo_core)
        os.sched_setaffinity(0, {CORES[1]})
        near = socket.create_connection(listener.getsockname())
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        near.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, TX_SOFTWARE | SOFTWARE | OPT_ID | OPT_TSONLY)
        offset_ns, found = wall_minus_monotonic_ns(), []
        for _ in range(SENDS):
            time.sleep(0.0005)
            before_ns = time.perf_counter_ns()
            near.send(b"x" * 600)
            after_ns = time.perf_counter_ns()
            stamp_ns = left_ns(near) - offset_ns
            near.recv(1)
            found.append((stamp_ns - before_ns, after_ns - stamp_ns))
        near.close()
        os.waitpid(pid, 0)
        return found


def main() -> int:
    if len(CORES) < 2:
        sys.exit("needs two cores")
    print("| echo | client's core | moment | p50 us | p99 us | p99.9 us | max us |\n|" + " --- |" * 7)
    for is_busy in (False, True):
        loop = (
            subprocess.Popen(["taskset", "-c", str(CORES[1]), sys.executable, "-c", "while True: pass"])
            if is_busy
            else None
        )
        for where, core in (("other core", CORES[0]), ("same core", CORES[1])):
            rows = measure(core)
            for name, values in (("before", sorted(row[0] for row in rows)), ("after", sorted(row[1] for row in rows))):
                cells = [f"{values[int(q * (len(values) - 1))] / 1e3:.0f}" for q in (0.5, 0.99, 0.999, 1)]
                print("|", " | ".join([where, "busy" if is_busy else "free", name, *cells]), "|", flush=True)
        if loop:
            loop.kill()
            loop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
