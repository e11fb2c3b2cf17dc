"""A server that stalls: an open loop shows it in every request that was due meanwhile, whatever the client's limit."""

import os
import signal
import time
from typing import Any

import pytest

STALL_S = 2.0


@pytest.mark.parametrize(("limit", "slow_at_most"), [(None, None), (4, 12)])
def test_a_stall_shows_in_scheduled_latencies_and_goodput(
    mock: Any, perfbench: Any, spec_for: Any, limit: int | None, slow_at_most: int | None
) -> None:
    """Twenty requests a second for four seconds; the server stands still for two of them."""
    server = mock()
    stage = {"rate": 20, "arrival": "constant", "duration": "4s"} | ({"maxConcurrency": limit} if limit else {})
    run = perfbench(spec_for(server, stage, goodput={"scheduledLatency": "300ms"}))
    run.wait_for_rows(5)
    os.kill(server.pid, signal.SIGSTOP)
    time.sleep(STALL_S)
    os.kill(server.pid, signal.SIGCONT)
    assert run.wait() == 0
    found = run.stage
    assert found["scheduled_latency_s"]["max"] > 0.9 * STALL_S
    (slow,) = run.query("SELECT count(*) FROM requests WHERE completed_time - scheduled_time > 0.3")[0]
    assert slow >= 20 * (STALL_S - 0.3) - 5
    assert found["goodput"]["good"] == found["goodput"]["total"] - slow
    assert found["goodput"]["share"] < 0.7
    if slow_at_most is not None:  # requests that a limit held hide the stall from their own latency
        (late,) = run.query("SELECT count(*) FROM requests WHERE completed_time - start_time > 0.3")[0]
        assert late <= slow_at_most
