"""What the control process makes of signals; whole runs are in tests/engine."""

from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_runner.engine.engine import Engine
from perfbench_runner.load.feed import Feed
from perfbench_runner.shard.places import Places


@pytest.mark.parametrize(
    ("phase", "state"), [("warmup", "interrupted"), ("running", "interrupted"), ("storing", "complete")]
)
async def test_a_signal_interrupts_the_load_and_not_what_comes_after_it(phase: Any, state: str) -> None:
    spec = PerfBenchmark.read({"metadata": {"name": "m"}, "spec": {"target": {"mock": {}}}}).spec
    nothing: Any = None
    arguments = Arguments(url="http://x/v1/chat/completions", model="m")
    feed = Feed(arguments, DatasetPluginBase, OpenaiPlugin(arguments))
    places = Places()
    engine = Engine(spec, feed, [], places, nothing, "http://x")
    engine.state.phase = phase
    engine.on_signal("SIGTERM")
    assert engine.state.end.state == state
    assert engine.state.interrupted.is_set(), "whoever lingers ends"
    places.close()
