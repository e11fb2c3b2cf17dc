"""docs/evalscope.md says what every flag of EvalScope does, and has the inventory of its names."""

import re
from pathlib import Path

from tests.contract.commands import REFUSED as REFUSED_COMMANDS
from tests.contract.commands import RUN

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.foreign import FOLDED, REFUSED, WITHOUT_EFFECT

DOCS = (Path(__file__).parents[2] / "docs" / "evalscope.md").read_text(encoding="utf-8")
OURS = (
    "api_args insecure ca_file arrival grace_period max_failed_share random_seed workers messages unique measure_cache"
    " keep_alive cert_file key_file wait_for proxy objectives search_rate search_concurrency search_precision"
    " cv profile until goodput retry repeat"
).split()
"""Flags that EvalScope has not."""


def rows() -> dict[str, str]:
    """Flag: what the table says of it."""
    table = DOCS.partition("## Flags")[2].partition("\n## ")[0]
    lines = [line.strip("| ").split(" | ", 1) for line in table.splitlines() if line.startswith("| `--")]
    return {flag: text for flags, text in lines for flag in re.findall(r"--([a-z-]+)", flags)}


def test_the_table_has_every_flag_and_no_other() -> None:
    fields = {*Arguments.model_fields, *WITHOUT_EFFECT, *REFUSED, *FOLDED} - {*OURS, "model_id"}
    assert rows().keys() == {name.replace("_", "-") for name in fields}


def test_the_table_says_what_is_refused_and_what_has_no_effect() -> None:
    found = rows()
    assert all(found[name.replace("_", "-")].startswith("refused") for name in REFUSED)
    assert all(found[name.replace("_", "-")].startswith("without effect") for name in {*WITHOUT_EFFECT} - {"model_id"})


def test_it_counts_the_commands() -> None:
    numbers = {9: "nine"}
    assert f"{len(RUN)} run, {numbers[len(REFUSED_COMMANDS)]} are refused" in DOCS


def test_the_inventory_is_in_it() -> None:
    assert "Made by `bench/evalscope_inventory.py` from EvalScope 1.14.1" in DOCS
