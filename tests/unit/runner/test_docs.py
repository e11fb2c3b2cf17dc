"""docs/results.md and docs/running.md name everything that there is, and what they show works."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.cli.commands import main
from perfbench_runner.results import client_health as health
from perfbench_runner.results import schema, store
from perfbench_runner.results.result import Result
from perfbench_runner.results.summary import Summary
from perfbench_runner.run.facts import facts

DOCS = Path(__file__).parents[3] / "docs"
RESULTS = (DOCS / "results.md").read_text()
RUNNING = (DOCS / "running.md").read_text()


def section(text: str, title: str) -> str:
    """The text under a heading, up to the next."""
    return text.partition(f"{title}\n")[2].partition("\n#")[0]


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:")
    schema.migrate(db)
    yield db
    db.close()


def test_every_table_and_column_is_documented(db: sqlite3.Connection) -> None:
    missing = []
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall():
        text = section(RESULTS, f"### {table}")
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        missing += [f"{table}.{column}" for column in columns if f"`{column}`" not in text]
    assert missing == []


def test_result_is_documented_in_the_order_of_its_columns() -> None:
    rows = [line.split("`")[1] for line in section(RESULTS, "### result").splitlines() if line.startswith("| `")]
    assert rows == schema.COLUMNS


def test_no_column_is_documented_that_is_not_there() -> None:
    text = section(RESULTS, "### client_health")
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    assert [name for cell in cells for name in cell.split("`")[1::2]] == list(health.COLUMNS)


def test_every_key_of_the_summary_is_documented() -> None:
    text = RESULTS.partition("## summary.json")[2]
    schema = Summary.model_json_schema()
    objects: dict[str, Any] = {"Summary": schema, **schema["$defs"]}
    names = {f"{title}.{name}" for title, kind in objects.items() for name in kind.get("properties", {})}
    assert len(names) > 50
    assert {name for name in names if f"`{name.partition('.')[2]}`" not in text} == set()


def test_every_fact_of_the_run_is_documented() -> None:
    import inspect

    keys = [line.split('"')[1] for line in inspect.getsource(facts).splitlines() if line.startswith('        "')]
    assert len(keys) > 8
    text = section(RESULTS, "### run")
    assert [key for key in [*keys, "message"] if f"`{key}`" not in text] == []


def test_every_command_and_flag_of_our_own_is_documented() -> None:
    assert isinstance(main, click.Group)
    assert [name for name in main.commands if f"perfbench {name}" not in RUNNING] == []
    for option in main.commands["run"].params:
        if isinstance(option, click.Option) and not option.hidden and option.name in OWN:
            assert f"`{option.opts[-1]}" in RUNNING, option.opts


OWN = {"overrides", "outputs_dir", "results_dir", "dry_run", "as_json", "quiet", "plugins", "calibrate", "listen"}


def test_the_reader_in_the_docs_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = store.Store(tmp_path)
    results.add(
        Result(
            0,
            0,
            0,
            0.0,
            BenchmarkData(
                request='{"messages": [{"content": "Why?"}]}',
                response_messages=["{}"],
                success=True,
                first_chunk_latency=0.5,
            ),
        )
    )
    results.close()
    program = section(RESULTS, "## Reading it").partition("```python\n")[2].partition("```")[0]
    program = program.replace("outputs/20261123_101500/llama-8b", str(tmp_path))
    names: dict[str, Any] = {}
    exec(program, names)
    names["db"].close()
    assert capsys.readouterr().out == "Why? 0.5 {}\n"
