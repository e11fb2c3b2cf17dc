"""The same plugin files on EvalScope and here: the same requests, the same rows, and the same figures within the clients' error.

EvalScope is no dependency; what it did is recorded. `python tests/contract/record.py PYTHON` records it anew.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.contract.cases import CASES
from tests.contract.compare import differences, digest

HERE = Path(__file__).parent
RECORDED: dict[str, Any] = json.loads((HERE / "recorded" / "evalscope-1.14.1.json").read_text())


def test_there_are_plugins_of_every_kind_and_all_are_tried() -> None:
    files = {file.stem for file in (HERE / "plugins").glob("*.py")}
    assert len(files) >= 20
    assert files == {case["plugin"] for case in CASES.values() if "plugin" in case}
    assert RECORDED.keys() == CASES.keys()


def test_no_plugin_knows_perfbench() -> None:
    assert [file for file in (HERE / "plugins").glob("*.py") if "perfbench" in file.read_text()] == []


@pytest.mark.parametrize("name", CASES)
def test_a_plugin_does_here_what_it_did_on_evalscope(name: str, ours: dict[str, Any]) -> None:
    assert differences(digest(ours[name], CASES[name]), RECORDED[name]) == []


@pytest.mark.parametrize("name", CASES)
def test_what_is_recorded_is_what_evalscope_does(name: str, theirs: dict[str, Any]) -> None:
    assert differences(digest(theirs[name], CASES[name]), RECORDED[name]) == []
