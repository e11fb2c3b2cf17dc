"""A server that is killed and started again during a run, and one that closes connections which it said it would keep."""

import os
import time
from typing import Any

import pytest


def test_a_server_that_is_killed_and_comes_back_costs_what_was_under_way_and_what_met_nobody(
    serve: Any, measured: Any
) -> None:
    server = serve()
    process, folder = measured.begin(
        server.url, {"rate": 20, "arrival": "constant", "duration": "6s"}, load={"maxFailedShare": 0.9}
    )
    until_s = time.monotonic() + 30
    while server.counters()["tokens_predicted_total"] < 16 * 20:  # the load is under way
        assert time.monotonic() < until_s
        time.sleep(0.1)
    server.kill()
    time.sleep(0.5)
    server.start()
    run = measured.end(process, folder)
    counts, errors = run.stage["requests"], run.stage["errors"]
    assert run.code == 0, run.stderr
    assert counts["total"] == 120
    assert counts["succeeded"] + counts["failed"] == 120
    assert errors.get("connect", 0) > 0
    assert errors.keys() <= {"connect", "disconnected", "http_503"}, "503 while it loads its model"
    tokens = run.stage["server"]["generation_tokens"]["increase"]
    assert tokens is None or tokens <= 16 * counts["total"], "its counters began at zero again"


@pytest.mark.alone
def test_connections_that_end_against_the_announcement_are_noticed(serve: Any, measured: Any) -> None:
    server = serve()
    run = measured(
        server.url, {"concurrency": 3, "requests": 90}, target={"keepAlive": True}, load={"maxFailedShare": 1}
    )
    counts = run.stage["requests"]
    assert counts["succeeded"] + counts["failed"] == 90
    assert run.stage["errors"].keys() <= {"disconnected"}
    # What the server's kernel took before the server closed is lost; on a machine that is busy that is more often so.
    if run.summary["client"]["state"] == "valid" and os.getloadavg()[0] <= (os.cpu_count() or 1) + 1:
        assert counts["failed"] <= 9, run.stage["errors"]
