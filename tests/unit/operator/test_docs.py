"""The docs name everything that the operator reports."""

import re
from pathlib import Path

from perfbench_operator import creator
from perfbench_operator.metrics import OperatorMetrics
from perfbench_operator.status import compute, observed, over, troubles, under_way

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


def test_every_metric_of_ours_is_documented() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    metrics = OperatorMetrics()
    names = {family.name for family in metrics.registry.collect() if family.name.startswith("perfbench")}
    assert [name for name in sorted(names) if name not in page] == []
