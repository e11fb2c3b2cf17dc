"""The chart as helm renders it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).resolve().parents[3] / "charts" / "perfbench"
Helm = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_helm(helm: str) -> Helm:
    """Run helm with arguments."""
    return lambda *arguments: subprocess.run(
        [helm, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def render(run_helm: Helm, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """The objects of a release `perfbench` in the namespace `home` with some values."""

    def rendered(**values: Any) -> list[dict[str, Any]]:
        file = tmp_path / "values.json"
        file.write_text(json.dumps(values))
        done = run_helm("template", "perfbench", str(CHART), "--namespace", "home", "--values", str(file))
        assert done.returncode == 0, done.stderr
        return [item for item in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if item]

    return rendered
