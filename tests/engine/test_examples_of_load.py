"""Each manifest in examples/ that asks a question about load runs as it stands, and gives its answer."""

from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("burst", {"calm": "5 requests/s", "burst": "bursts of 50"}),
        ("carries-20", {"twenty": "20 requests/s"}),
        ("mixed", {"both": "20 requests/s"}),
    ],
)
def test_an_example_runs_and_says_what_load_it_made(perfbench: Any, name: str, stages: dict[str, str]) -> None:
    run = perfbench(None, str(EXAMPLES / f"{name}.yaml"), "--no-fail")
    assert run.wait(90) == 0
    found = {stage["name"]: stage["load"] for stage in run.summary["stages"]}
    assert found.keys() == stages.keys()
    for stage, words in stages.items():
        assert words in found[stage]
    assert all(stage["requests"]["failed"] == 0 for stage in run.summary["stages"])
    assert run.summary["verdict"] is not None
