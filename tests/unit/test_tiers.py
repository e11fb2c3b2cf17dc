"""What `scripts/test` runs: every test once, some beside others, and whatever fails is told by the exit code."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

import tiers  # noqa: E402


def test_every_folder_of_tests_is_in_one_tier() -> None:
    listed = [folder for tier in (*tiers.TIERS, tiers.BESIDE) for folder in tier.folders]
    assert sorted(listed) == sorted({path.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py")})


def test_what_is_to_run_alone_runs_once() -> None:
    """A mark in another folder would leave a test out, or have it run beside others all the same."""
    assert all("not alone" in tier.options for tier in tiers.TIERS)
    assert "alone" in tiers.ALONE.options
    others = [path for path in TESTS.rglob("test_*.py") if path != Path(__file__)]
    marked = {path.relative_to(TESTS).parts[0] for path in others if "mark.alone" in path.read_text()}
    assert marked == {*tiers.ALONE.folders}


def programs(monkeypatch: pytest.MonkeyPatch, **code: str) -> None:
    """Let each tier run a small program, by default one that prints its name."""

    def command(tier: tiers.Tier, _: Path) -> list[str]:
        return [sys.executable, "-c", code.get(tier.name, f"print('{tier.name}')")]

    monkeypatch.setattr(tiers.Tier, "command", command)


@pytest.mark.parametrize("failing", [[], ["unit"], ["cluster"], ["engine", "alone"]])
def test_all_tiers_run_and_each_failure_is_told(monkeypatch: pytest.MonkeyPatch, failing: list[str]) -> None:
    programs(monkeypatch, **dict.fromkeys(failing, "raise SystemExit(1)"))
    codes = tiers.run_tiers()
    assert list(codes) == ["unit", "engine", "servers", "cluster", "alone"]
    assert [name for name, code in codes.items() if code] == [name for name in codes if name in failing]


def test_what_runs_beside_is_printed_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    slow = "import time\nfor part in 'abc': print(part, flush=True); time.sleep(0.3)"
    programs(monkeypatch, cluster=slow, engine="import time; time.sleep(0.5); print('engine')")
    tiers.run_tiers()
    said = capfdbinary.readouterr().out
    assert b"a\nb\nc\n" in said
    assert said.index(b"\nengine\n") < said.index(b"a\nb\nc\n") < said.index(b"\nalone\n")


FLAKY = """
import pathlib

def test_that_fails_at_first():
    file = pathlib.Path({path!r})
    was_there = file.exists()
    file.touch()
    assert was_there
"""
WRONG = "\ndef test_that_always_fails(): assert False\n"


@pytest.mark.parametrize(("text", "code"), [(FLAKY, 0), (FLAKY + WRONG, 1), (FLAKY + "import none", 2)])
def test_what_failed_among_others_runs_once_more_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str, code: int
) -> None:
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:asyncio\n")
    file = tmp_path / "tests" / "unit" / "test_some.py"
    file.write_text(f"def test_that_passes(): pass\n{text.replace('{path!r}', repr(str(tmp_path / 'been')))}")
    monkeypatch.setattr(tiers, "ROOT", tmp_path)
    real = tiers.Tier.command

    def command(tier: tiers.Tier, failed: Path) -> list[str]:
        own = tiers.Tier(tier.name, ("unit",))
        return real(own, failed) if tier.name == "unit" else [sys.executable, "-c", ""]

    monkeypatch.setattr(tiers.Tier, "command", command)
    assert tiers.run_tiers() == {"unit": code, "engine": 0, "servers": 0, "cluster": 0, "alone": 0}
    told = "passed, but failed beside others:\n  tests/unit/test_some.py::test_that_fails_at_first"
    assert (told in capfd.readouterr().out) == (text == FLAKY)


def test_many_failures_are_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "unit" / "v" / "cache" / "lastfailed"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({f"test_{number}": True for number in range(tiers.MOST_AGAIN + 1)}))
    monkeypatch.setattr(tiers, "run", lambda _: pytest.fail("it was run again"))
    assert tiers._run_again({"unit": 1}, tmp_path) == {"unit": 1}


SLOW = """
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1]).touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.3)  # takes away what it has made
    pathlib.Path(sys.argv[1]).write_text("ended in order")
"""
DRIVER = """
import sys
import tiers
tiers.Tier.command = lambda tier, failed: [sys.executable, "-c", {slow!r}, tier.name]
tiers.ROOT = {folder!r}
tiers.run = lambda command, run=tiers.run: 0 if command[0] == "scripts/check" or "programs" in command else run(command)
try:
    tiers.main()
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_that_runs_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Once: pytest takes a second one as a wish to leave everything as it is."""
    (tmp_path / "tests" / "servers").mkdir(parents=True)
    (tmp_path / "tests" / "servers" / "llama_build.py").write_text("import time; time.sleep(60)")
    code = DRIVER.format(slow=SLOW, folder=str(tmp_path))
    process: Any = subprocess.Popen(
        [sys.executable, "-c", code], cwd=TESTS, stdout=subprocess.PIPE, start_new_session=True
    )
    with process:
        deadline_s = time.monotonic() + 30
        while not ((tmp_path / "unit").exists() and (tmp_path / "cluster").exists()):
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        os.killpg(process.pid, number)
        assert process.wait(20) == 130
        process.stdout.read()  # to its end: nobody holds it any more
    assert {(tmp_path / name).read_text() for name in ("unit", "cluster")} == {"ended in order"}
