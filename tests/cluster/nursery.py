"""Starts operators, each in a process of its own, forked from this one, which has loaded everything: it takes milliseconds.

Reads a line of JSON for each, its environment, and answers with its process id. The tests end them, at any moment.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from perfbench_operator import main


def serve() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that are killed
    for line in sys.stdin:
        environment = json.loads(line)
        pid = os.fork()
        if not pid:
            run(environment)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def run(environment: dict[str, str]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(environment["LOG"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in enumerate((nothing, log, log)):
        os.dup2(target, number)
    os.environ |= environment
    status = 1
    try:
        status = main.main()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve()
