"""The docs name everything that the operator reports."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from perfbench_api.resource import PerfBenchmark
from perfbench_operator import creator
from perfbench_operator.metrics import OperatorMetrics
from perfbench_operator.status import compute, observed, over, troubles, under_way
from perfbench_plugins.exchange import FailureKind
from perfbench_runner.engine import advice

ROOT = Path(__file__).resolve().parents[3]
DOCS = (ROOT / "docs" / "kubernetes.md").read_text()


def test_every_reason_is_documented() -> None:
    found: set[str] = set()
    for module in (troubles, compute, observed, over, under_way, creator):
        found |= set(re.findall(r'Trouble\(\s*"([A-Z]\w+)"', Path(module.__file__).read_text()))
    for table in (troubles._SCHEDULING, troubles._MOUNTING, troubles._CREATING, troubles._CONFIG):
        found |= {reason for _, reason, _ in table}
    assert len(found) > 15
    assert [reason for reason in sorted(found) if f"`{reason}`" not in DOCS] == []


def test_every_reason_of_a_runner_is_documented() -> None:
    found = {*advice.REASONS.values(), advice.reason(FailureKind.CONNECT), advice.reason("http_500")}
    runner = ROOT / "runner" / "perfbench_runner"
    for file in (file for part in ("engine", "run", "observe") for file in (runner / part).rglob("*.py")):
        found |= set(re.findall(r'End\(\s*"\w+",\s*"([A-Z]\w+)"', file.read_text()))
        found |= set(re.findall(r'"failed", "([A-Z]\w+)"', file.read_text()))
    assert {"Unauthorized", "DatasetFailed", "TooManyFailures", "CannotStore"} < found
    assert [reason for reason in sorted(found) if f"`{reason}`" not in DOCS] == []


def fragments() -> list[dict[str, Any]]:
    """Parts of specs that the page shows; whole manifests are applied by tests/cluster."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", DOCS, flags=re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in blocks if not block.startswith("# ")]


@pytest.mark.parametrize("fragment", fragments())
def test_every_fragment_is_part_of_a_spec(fragment: dict[str, Any]) -> None:
    PerfBenchmark.read({"metadata": {"name": "a"}, "spec": fragment})


def test_every_metric_of_ours_is_documented() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    metrics = OperatorMetrics()
    names = {family.name for family in metrics.registry.collect() if family.name.startswith("perfbench")}
    assert [name for name in sorted(names) if name not in page] == []
