"""`perfbench show` and `perfbench ls`: runs that are over, from their folders."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from perfbench_runner.cli.commands import main


def command(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def run_in(folder: Path, name: str = "llama", **more: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.yaml").write_text("{}")
    summary = {"name": name, "verdict": None, "started_at": "2026-11-25T10:00:00+00:00", "stages": []}
    (folder / "summary.json").write_text(json.dumps(summary | more))
    return folder


def test_a_run_is_shown_again(tmp_path: Path) -> None:
    folder = run_in(tmp_path / "a")
    assert "llama" in command("show", str(folder)).output
    assert "client: valid" in command("show", str(folder / "summary.json")).output
    assert json.loads(command("show", str(folder), "--json").output)["name"] == "llama"


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("other", "", "there is no run in"),
        ("results.sqlite.partial", "", "perfbench recover"),
        ("summary.json", "{}", "is no summary that this version reads: name: Field required"),
        ("summary.json", "{", "is no summary that this version reads"),
    ],
)
def test_what_is_no_run_is_told(tmp_path: Path, file: str, text: str, words: str) -> None:
    (tmp_path / file).write_text(text)
    found = command("show", str(tmp_path))
    assert found.exit_code == 2
    assert words in found.output.replace("\n", "")


def test_runs_are_listed_by_time_unfinished_ones_too(tmp_path: Path) -> None:
    run_in(tmp_path / "2" / "b", "second", started_at="2026-11-25T11:00:00+00:00", verdict="Passed")
    run_in(tmp_path / "1" / "a", "first")
    broken = run_in(tmp_path / "3" / "c")
    (broken / "summary.json").unlink()
    (broken / "results.sqlite.partial").touch()
    lines = [line for line in command("ls", str(tmp_path)).output.splitlines() if line.startswith(("2026", "-  "))]
    assert len(lines) >= 3
    text = "\n".join(lines)
    assert text.index("first") < text.index("second")
    assert "Passed" in text
    assert "unfinished" in text


def test_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    assert command("ls", str(tmp_path)).output == f"no runs in {tmp_path}\n"
    assert command("ls", str(tmp_path / "none")).exit_code == 2
