"""The seed document's programs as scripts: with one line put before them, with two imports changed, or run by perfbench."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings

SEED = Path(__file__).parents[1] / "data" / "seed"
PROGRAMS = ("custom_api.py", "custom_dataset.py", "run_custom_api.py")
OURS = {"evalscope.perf.arguments": "perfbench_plugins.arguments", "evalscope.perf.main": "perfbench_runner.main"}
"""The two imports that docs/plugins.md names."""
WAYS = {
    "one line before it": [sys.executable],
    "two imports changed": [sys.executable],
    "python -m perfbench_runner": [sys.executable, "-m", "perfbench_runner"],
    "perfbench": [sys.executable, "-c", "from perfbench_runner.__main__ import main; main()"],
}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.002)) as mock:
        yield f"{mock.base_url}/v1/chat/completions"


def written(way: str, program: str, url: str, folder: Path) -> Path:
    """The program, its names of places made real, as it is run this way."""
    (folder / "lines.txt").write_text("first\nsecond\n")
    (folder / ".env").write_text("YOUR_API_KEY=sk-secret\n")
    text = (SEED / program).read_text()
    places = {"https://your-endpoint": url, "https://your-api-endpoint": url, "path/to/your/dataset.txt": "lines.txt"}
    for place, real in places.items():
        text = text.replace(place, real)
    text = text.replace("dataset='custom',  # Custom", "dataset='custom', number=4, max_tokens=8,  # Custom")
    if way == "one line before it":
        text = f"import perfbench_plugins\n{text}"
    if way == "two imports changed":
        text = re.sub("|".join(map(re.escape, OURS)), lambda found: OURS[found[0]], text)
    (folder / program).write_text(text)
    return folder / program


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("way", WAYS)
def test_a_program_of_the_seed_runs_as_a_script(way: str, program: str, url: str, tmp_path: Path) -> None:
    file = written(way, program, url, tmp_path)
    command = [*WAYS[way], str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = list(tmp_path.glob("outputs/*/*/results.sqlite"))
    assert len(results) == ("run_perf_benchmark" in file.read_text())
    for found in results:
        with sqlite3.connect(found) as db:
            rows = db.execute("SELECT count(*), min(success) FROM result").fetchone()
        db.close()
        assert rows == ({"custom_dataset.py": 4, "run_custom_api.py": 1}[program], 1)
        assert "TTFT" in done.stderr
        assert done.stderr.rstrip().endswith(f"results: {found.relative_to(tmp_path)}")
        assert done.stdout == ""


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_byte_for_byte_and_a_mistake_in_it_is_one_line(program: str, tmp_path: Path) -> None:
    """Its places are not real: what is wrong with them is told, and nothing else."""
    command = [sys.executable, "-m", "perfbench_runner", str(SEED / program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert "ModuleNotFoundError" not in done.stderr
    if program == "custom_api.py":
        assert done.returncode == 0, done.stderr
    if program == "custom_dataset.py":
        assert done.returncode == 2
        assert done.stderr.endswith(
            "error: dataset.path: cannot read 'path/to/your/dataset.txt': No such file or directory\n"
        )


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "perfbench_runner", "nothing.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "error: there is no file nothing.py\n")


def test_a_program_has_its_arguments_and_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("WORD = 'beside'\n")
    (tmp_path / "program.py").write_text("import sys, beside\nprint(__name__, beside.WORD, sys.argv[1:])\n")
    command = [sys.executable, "-m", "perfbench_runner", str(tmp_path / "program.py"), "--a", "b"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "__main__ beside ['--a', 'b']\n"
