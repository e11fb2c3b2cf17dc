"""Imports from evalscope.perf find ours, and only where nothing else provides them."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfbench_plugins import evalscope
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry

IMPORTS = {
    "evalscope.perf.arguments": "Arguments",
    "evalscope.perf.main": "run_perf_benchmark",
    "evalscope.perf.plugin": "register_api register_dataset ApiRegistry DatasetRegistry",
    "evalscope.perf.plugin.registry": "register_api register_dataset ApiRegistry DatasetRegistry",
    "evalscope.perf.plugin.api.base": "ApiPluginBase",
    "evalscope.perf.plugin.api.default_api": "DefaultApiPlugin StreamedResponseHandler",
    "evalscope.perf.plugin.api.openai_api": "OpenaiPlugin",
    "evalscope.perf.plugin.datasets.base": "DatasetPluginBase",
    "evalscope.perf.utils.benchmark_util": "BenchmarkData",
    "evalscope.utils.logger": "get_logger",
}
"""What plugins written for EvalScope import."""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    evalscope.install()
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "evalscope"]:
        del sys.modules[name]


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_resolve_to_the_same_objects_as_ours(module: str) -> None:
    theirs = importlib.import_module(module)
    ours = importlib.import_module(str(evalscope.OURS.get(module) or evalscope.registered()[module]))
    for name in IMPORTS[module].split():
        assert getattr(theirs, name) is getattr(ours, name)


def test_a_class_registered_by_their_decorator_is_in_our_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetRegistry, "entries", {})
    base = importlib.import_module("evalscope.perf.plugin.datasets.base")
    registry = importlib.import_module("evalscope.perf.plugin.registry")
    plugin = type("Mine", (base.DatasetPluginBase,), {"build_messages": lambda self: iter("a"), "__module__": __name__})
    registry.register_dataset("of_theirs")(plugin)
    assert DatasetRegistry.entries["of_theirs"].plugin is plugin


def test_what_evalscope_has_and_we_do_not_is_an_import_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"evalscope\.report"):
        importlib.import_module("evalscope.report")


def test_installing_twice_adds_one_finder() -> None:
    before = len(sys.meta_path)
    evalscope.install()
    assert len(sys.meta_path) == before


def test_the_real_evalscope_wins_where_it_is_installed(tmp_path: Path) -> None:
    (tmp_path / "evalscope").mkdir()
    (tmp_path / "evalscope" / "__init__.py").write_text("IS_REAL = True\n")
    program = "from perfbench_plugins import evalscope as e; e.install(); import evalscope; print(evalscope.IS_REAL)"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert result.stdout == "True\n"


def test_their_names_of_apis_all_resolve() -> None:
    names = "openai local local_vllm dashscope custom openai_embedding embedding openai_rerank rerank"
    assert set(names.split()) <= set(ApiRegistry.all_classes())
