"""`perfbench plan` measures this machine and says what a manifest needs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COMMAND = [str(Path(sys.executable).parent / "perfbench")]


def test_a_plan_follows_from_a_ceiling_that_was_measured_here(tmp_path: Path) -> None:
    load = {"stages": [{"concurrency": 10, "requests": 100}, {"rate": 1_000_000, "duration": "10s"}]}
    target, request = {"url": "http://127.0.0.1:9", "model": "m"}, {"maxTokens": 16}
    spec = {"target": target, "request": request, "load": load, "dataset": {"prompt": "x" * 5000}}
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump({"kind": "PerfBenchmark", "metadata": {"name": "x"}, "spec": spec}))
    options = ["--seconds", "1s", "--json"]
    done = subprocess.run([*COMMAND, "plan", str(file), *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    ceiling = found["ceiling"]
    ceiling_rps, paced = ceiling["requests_per_s"], ceiling["paced"]
    assert ceiling_rps > 0
    one_by_one_rps = 1000 / max(paced["shard_ms"], paced["control_ms"])
    assert ceiling_rps == pytest.approx(min(ceiling["instant_rps"], one_by_one_rps)), "the lower one counts"
    small, large = found["stages"]
    assert small["requests_per_s"] == pytest.approx(10 / (0.2 + 15 * 0.02)), "of as many tokens as are asked for"
    assert small["replicas"] == 1
    assert large["replicas"] == found["replicas"] >= 1_000_000 / ceiling_rps
    assert 5100 < ceiling["body_bytes"] < 5300, "of what was sent"
    assert found["disk_reason"] == ""
    assert found["disk_mb"] > 10_000_100 * 5000 * 4 / 3 / 1e6
