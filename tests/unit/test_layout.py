"""The layout keeps what it promises."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["operator", "runner", "plugins", "crds"])
def test_folders_are_no_packages(folder: str) -> None:
    """With operator/__init__.py, `python -m …` from the root would import it instead of the standard library's operator."""
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize(
    "package",
    ["operator/perfbench_operator", "runner/perfbench_runner", "plugins/perfbench_plugins", "crds/perfbench_api"],
)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "__init__.py").exists()
    assert (ROOT / package / "py.typed").exists()
