"""What the control process makes of signals; whole runs are in tests/engine."""

from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark
from perfbench_runner.engine.engine import Engine


@pytest.mark.parametrize(
    ("phase", "state"), [("warmup", "interrupted"), ("running", "interrupted"), ("storing", "complete")]
)
async def test_a_signal_interrupts_the_load_and_not_what_comes_after_it(phase: Any, state: str) -> None:
    spec = PerfBenchmark.read({"metadata": {"name": "m"}, "spec": {"target": {"mock": {}}}}).spec
    nothing: Any = None
    engine = Engine(spec, nothing, [], nothing, nothing, "http://x")
    engine.state.phase = phase
    engine.on_signal("SIGTERM")
    assert engine.state.end.state == state
    assert engine.state.interrupted.is_set(), "whoever lingers ends"
