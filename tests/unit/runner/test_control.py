"""What the control process makes of signals; whole runs are in tests/engine."""

from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark
from perfbench_runner.engine.control import Control


@pytest.mark.parametrize(
    ("phase", "state"), [("warmup", "interrupted"), ("running", "interrupted"), ("storing", "complete")]
)
async def test_a_signal_interrupts_the_load_and_not_what_comes_after_it(phase: Any, state: str) -> None:
    spec = PerfBenchmark.read({"metadata": {"name": "m"}, "spec": {"target": {"mock": {}}}}).spec
    nothing: Any = None
    control = Control(spec, nothing, [], nothing, "http://x")
    control.phase = phase
    control._on_signal("SIGTERM")
    assert control.end.state == state
    assert control.interrupted.is_set(), "whoever lingers ends"
