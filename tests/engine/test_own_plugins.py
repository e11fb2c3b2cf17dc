"""Plugins of the user's own, end to end: the seed document's, the examples, and what goes wrong with them."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.results.encoding import decode

ROOT = Path(__file__).parents[2]
SEED = ROOT / "tests" / "data" / "seed"
PLUGINS = ROOT / "examples" / "plugins"
HEAD = """\
from perfbench_plugins.api.base import ApiPluginBase
from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.datasets.base import DatasetPluginBase
from perfbench_plugins.registry import register_api, register_dataset
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with MockProcess(MockSettings(ttft_s=0.02, itl_s=0.002)) as mock:
        yield f"{mock.base_url}/v1/chat/completions"


def python(
    *args: str | Path, folder: Path = ROOT, path: Path | None = None, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    variables = {**os.environ, **({"PYTHONPATH": str(path)} if path else {}), **(env or {})}
    command = [sys.executable, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder, env=variables, check=False)


def perfbench(*args: str | Path, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return python("-c", "from perfbench_runner.cli.commands import main; main()", *args, path=path)


def run(folder: Path, *args: str | Path, path: Path | None = None) -> dict[str, Any]:
    """The summary of a run that succeeds; its files are in `folder`/results."""
    result = perfbench("run", *args, "--json", "-q", "--results-dir", folder / "results", path=path)
    assert result.returncode == 0, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary | {"stderr": result.stderr}


def rows(folder: Path, columns: str) -> list[Any]:
    db = sqlite3.connect(folder / "results" / "results.sqlite")
    try:
        return db.execute(f"SELECT {columns} FROM result ORDER BY seq").fetchall()
    finally:
        db.close()


def file_of(folder: Path, body: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(HEAD + dedent(body))
    return folder / name


# The seed document's programs.


def test_the_seed_programs_are_those_of_the_document_byte_for_byte() -> None:
    document = (SEED / "document.txt").read_bytes()
    programs = sorted(SEED.glob("*.py"))
    assert [program.name for program in programs] == [
        "analysis.py",
        "custom_api.py",
        "custom_dataset.py",
        "run_custom_api.py",
    ]
    assert all(program.read_bytes().rstrip(b"\n") in document for program in programs)


def test_evalscope_is_not_installed_here() -> None:
    result = python("-c", "import evalscope")
    assert "No module named 'evalscope'" in result.stderr


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_the_documents_api_runs_unmodified(url: str, stream: str, tmp_path: Path) -> None:
    flags = ["--url", url, "--model", "m", "--api", "custom", "-n", "5", "--max-tokens", "8", stream]
    summary = run(tmp_path, "--plugin", SEED / "custom_api.py", *flags)
    stage = summary["stages"][0]
    assert stage["requests"].items() >= {"total": 5, "succeeded": 5, "failed": 0}.items()
    assert stage["output_tokens"]["mean"] == 8
    assert stage["ttft_s"]["count"] == (5 if stream == "--stream" else 0)
    assert re.findall(
        r"API plugin 'custom' of .*custom_api\.py:CustomPlugin replaces the built-in one", summary["stderr"]
    )
    assert summary["stderr"].count("replaces") == 1


def test_the_documents_dataset_runs_unmodified(url: str, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("first\n\n  second  \n")
    flags = ["--url", url, "--model", "m", "--dataset", "custom", "--dataset-path", tmp_path / "lines.txt", "-n", "3"]
    run(tmp_path, "--plugin", SEED / "custom_dataset.py", *flags, "--max-tokens", "2")
    sent = [decode(request)["messages"][0]["content"] for (request,) in rows(tmp_path, "request")]
    assert sent == ["first", "second", "first"]


def test_the_documents_program_runs_with_the_users_values_in_it(url: str, tmp_path: Path) -> None:
    """`run_perf_benchmark(Arguments(...))`, as in the document; only names of places are changed."""
    program = (SEED / "run_custom_api.py").read_text()
    (tmp_path / "run.py").write_text(program.replace("https://your-endpoint", url))
    (tmp_path / ".env").write_text("YOUR_API_KEY=sk-secret\n")
    start = (
        "from perfbench_plugins.loading import load_plugins; import runpy;"
        f" load_plugins([{str(SEED / 'custom_api.py')!r}]); runpy.run_path('run.py', run_name='__main__')"
    )
    result = python("-c", start, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    (file,) = tmp_path.glob("outputs/*/*/results.sqlite")
    db = sqlite3.connect(file)
    assert db.execute("SELECT count(*), min(success), max(completion_tokens) FROM result").fetchone() == (1, 1, 16)
    db.close()
    assert b"sk-secret" not in file.read_bytes()


def test_the_documents_analysis_reads_what_was_stored(url: str, tmp_path: Path) -> None:
    run(tmp_path, "--url", url, "--model", "m", "-n", "3", "--max-tokens", "2")
    program = (SEED / "analysis.py").read_text().replace("your db path", str(tmp_path / "results" / "results.sqlite"))
    program = program.replace("first_chunk_latency > 1", "first_chunk_latency > 0.001")
    result = python("-c", program)
    assert "len(rows): 3" in result.stdout, result.stderr
    assert len(re.findall(r"^request_id: \S+, first_chunk_latency: 0\.\d+$", result.stdout, re.MULTILINE)) == 3


# The examples.


def test_the_example_manifest_runs(tmp_path: Path) -> None:
    summary = run(tmp_path, PLUGINS / "manifest.yaml")
    assert summary["stages"][0]["requests"].items() >= {"total": 12, "succeeded": 12, "failed": 0}.items()
    bodies = [decode(request) for (request,) in rows(tmp_path, "request")]
    assert {body["priority"] for body in bodies} == {5}
    assert {body["messages"][0]["content"] for body in bodies} == {
        f"Explain {word} to a child." for word in ("a tide", "a comet", "a glacier", "an eclipse")
    }


def test_an_api_that_sends_by_itself_with_aiohttp_is_measured(url: str, tmp_path: Path) -> None:
    flags = ["--url", url, "--model", "m", "--api", "session", "-n", "8", "--parallel", "2", "--max-tokens", "6"]
    stage = run(tmp_path, "--plugin", PLUGINS / "session_api.py", *flags)["stages"][0]
    assert stage["requests"]["succeeded"] == 8
    assert stage["output_tokens"]["mean"] == 6
    assert 0.02 <= stage["ttft_s"]["p50"] < 0.2
    assert stage["itl_s"]["count"] == 8 * 5
    assert stage["token_sources"] == {"plugin": 8}
    assert stage["tpot_s"]["count"] == 8


def test_an_api_that_sends_by_itself_reports_failures(url: str, tmp_path: Path) -> None:
    wrong = url.replace("/v1/", "/v9/")
    flags = ["--url", wrong, "--model", "m", "--api", "session", "-n", "2", "--no-test-connection", "--json", "-q"]
    result = perfbench("run", "--plugin", PLUGINS / "session_api.py", *flags, "-o", tmp_path)
    assert result.returncode == 1
    assert json.loads(result.stdout)["stages"][0]["errors"] == {"http_404": 2}


def test_the_cluster_example_is_valid_and_says_where_it_runs() -> None:
    result = perfbench("run", PLUGINS / "cluster.yaml", "--dry-run")
    assert result.returncode == 2
    assert result.stderr == "error: spec.plugins[0].configMap: works in a cluster only; give file or module here\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed as a user would, but into a folder of its own and without the network."""
    target = tmp_path_factory.mktemp("site")
    flags = "-q --no-deps --no-build-isolation --no-index --disable-pip-version-check --no-compile --target".split()
    result = python("-m", "pip", "install", *flags, target, ROOT / "examples" / "plugin-package")
    assert result.returncode == 0, result.stderr
    return target


def test_a_third_party_package_is_found_by_its_entry_points(installed: Path, url: str, tmp_path: Path) -> None:
    flags = ["--url", url, "--model", "m", "--api", "priority_class", "--dataset", "colours", "-n", "7"]
    options = ["--dataset-args", '{"things": 2}', "--api-args", '{"short_up_to": 4}', "--max-tokens", "5"]
    stage = run(tmp_path, *flags, *options, path=installed)["stages"][0]
    assert stage["requests"].items() >= {"total": 7, "succeeded": 7, "failed": 0}.items()
    bodies = [decode(request) for (request,) in rows(tmp_path, "request")]
    assert {body["priority"] for body in bodies} == {1}
    assert len({body["messages"][0]["content"] for body in bodies}) == 7
    assert bodies[0]["messages"][0]["content"].startswith("Name 2 ")


def test_a_third_party_package_is_listed_with_its_name(installed: Path) -> None:
    shown = perfbench("plugins", "show", "colours", path=installed).stdout
    assert shown.startswith("dataset colours  [package perfbench-priority]\n")


def test_ones_own_file_and_a_package_cannot_share_a_name(installed: Path, tmp_path: Path) -> None:
    body = "@register_dataset('colours')\nclass Mine(DatasetPluginBase):\n    def build_messages(self): yield 'a'\n"
    file = file_of(tmp_path, body)
    result = perfbench("plugins", "--plugin", file, path=installed)
    assert result.returncode == 2
    assert "two dataset plugins are named 'colours': " in result.stderr
    assert "perfbench_priority/dataset.py:ColoursDataset" in result.stderr
    assert f"{file}:Mine; rename one of them" in result.stderr


# What goes wrong.

DATASET = "@register_dataset('mine')\nclass {name}(DatasetPluginBase):\n    def build_messages(self): {line}\n"


def test_two_files_with_one_name_are_an_error_that_names_both(tmp_path: Path) -> None:
    first = file_of(tmp_path, DATASET.format(name="First", line="yield 'a'"), "first.py")
    second = file_of(tmp_path, DATASET.format(name="Second", line="yield 'a'"), "second.py")
    flags = ["--url", "http://127.0.0.1", "--model", "m", "--plugin", first, "--plugin", second]
    result = perfbench("run", *flags)
    assert (result.returncode, result.stderr) == (
        2,
        f"error: plugin file {second} line 6: two dataset plugins are named 'mine': {first}:First and {second}:Second;"
        " rename one of them\n",
    )


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("1 +\n", "plugin file {file} line 6: SyntaxError: invalid syntax"),
        ("import nothing_such\n", "plugin file {file} line 6: ModuleNotFoundError: No module named 'nothing_such'"),
        ("@register_api('x')\nclass A(OpenaiPlugin): build_request = None\n", "has no build_request"),
        ("@register_api('x')\nclass A(DatasetPluginBase): pass\n", "must inherit ApiPluginBase or DefaultApiPlugin"),
        ("@register_dataset('x')\nclass A: pass\n", "line 6: dataset plugin 'x' ({file}:A) has no build_messages"),
        (
            DATASET.format(name="A", line="yield 'a'") + "    def __init__(self, given): self.x = given.nothing\n",
            "plugin A: {file} line 9: AttributeError: 'Arguments' object has no attribute 'nothing'",
        ),
        (
            DATASET.format(name="A", line="yield {}['a']"),
            "dataset plugin A: build_messages: {file} line 8: KeyError: 'a'",
        ),
        (
            DATASET.format(name="A", line="yield from ()"),
            "dataset: 'mine' yields nothing; is its file empty, or do minPromptLength and maxPromptLength leave everything",
        ),
        (DATASET.format(name="A", line="yield object()"), "dataset: yields the object "),
    ],
)
def test_a_plugins_mistake_is_one_line_before_anything_is_sent(body: str, words: str, tmp_path: Path) -> None:
    file = file_of(tmp_path, body)
    result = perfbench("run", "--url", "http://127.0.0.1:9", "--model", "m", "--dataset", "mine", "--plugin", file)
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert words.format(file=file) in result.stderr


def test_a_dataset_that_breaks_later_ends_the_run_with_what_was_measured(url: str, tmp_path: Path) -> None:
    body = """\
    @register_dataset('mine')
    class Mine(DatasetPluginBase):
        def build_messages(self):
            for number in range(200):
                yield [self.create_message('a')]
            raise KeyError('gone')
    """
    flags = ["--url", url, "--model", "m", "--dataset", "mine", "-n", "400", "--parallel", "8", "--max-tokens", "1"]
    file = file_of(tmp_path, body)
    result = perfbench("run", "--plugin", file, *flags, "--json", "-q", "-o", tmp_path)
    summary = json.loads(result.stdout)
    assert (result.returncode, summary["state"]) == (1, "failed")
    assert summary["message"] == f"dataset plugin Mine: build_messages: {file} line 11: KeyError: 'gone'"
    assert summary["stages"][0]["requests"]["succeeded"] > 0


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("return None", "TypeError: process_request returned None, no BenchmarkData"),
        ("return self.nothing", "line 9: AttributeError: 'Mine' object has no attribute 'nothing'"),
        ("return BenchmarkData(error='no luck')", "no luck"),
    ],
)
def test_an_api_that_breaks_while_sending_fails_its_requests(url: str, line: str, words: str, tmp_path: Path) -> None:
    body = f"""\
    @register_api('mine')
    class Mine(OpenaiPlugin):
        async def process_request(self, session, url, headers, body):
            {line}
    """
    flags = ["--url", url, "--model", "m", "--api", "mine", "-n", "2", "--no-test-connection"]
    result = perfbench(
        "run", "--plugin", file_of(tmp_path, body), *flags, "--json", "-q", "--results-dir", tmp_path / "results"
    )
    assert result.returncode == 1
    assert json.loads(result.stdout)["stages"][0]["errors"] == {"plugin": 2}
    ((error,), _) = rows(tmp_path, "error")
    assert words in error


def test_an_api_that_sends_by_itself_is_refused_retries_that_nobody_would_make(url: str, tmp_path: Path) -> None:
    body = """\
    @register_api('mine')
    class Mine(OpenaiPlugin):
        async def process_request(self, session, url, headers, body):
            return BenchmarkData(success=True)
    """
    flags = ["--url", url, "--model", "m", "--api", "mine", "-n", "2", "--retry", "2"]
    result = perfbench("run", "--plugin", file_of(tmp_path, body), *flags, "--results-dir", tmp_path / "results")
    assert result.returncode == 2
    assert "spec.load.retry: API plugin Mine sends requests by itself (process_request)" in result.stderr


def test_a_plugin_may_import_its_neighbours_and_relative_data(url: str, tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("PROMPT = 'from next door'\n")
    body = "import neighbour_of_mine\n" + DATASET.format(
        name="A", line="yield [self.create_message(neighbour_of_mine.PROMPT)]"
    )
    flags = ["--url", url, "--model", "m", "--dataset", "mine", "-n", "1", "--max-tokens", "1"]
    run(tmp_path, "--plugin", file_of(tmp_path, body), *flags)
    ((request,),) = rows(tmp_path, "request")
    assert decode(request)["messages"][0]["content"] == "from next door"


@pytest.mark.parametrize(
    "file",
    [
        "plugins/priority_api.py",
        "plugins/session_api.py",
        "plugins/fill_in_dataset.py",
        "plugins/manifest.yaml",
        "plugins/cluster.yaml",
        "plugin-package/pyproject.toml",
    ],
)
def test_the_docs_show_the_examples_as_they_are(file: str) -> None:
    assert (ROOT / "examples" / file).read_text() in (ROOT / "docs" / "plugins.md").read_text()


@pytest.mark.parametrize("name", ["priority_api.py", "session_api.py", "fill_in_dataset.py"])
def test_the_examples_pass_their_check(name: str) -> None:
    assert perfbench("plugins", "check", PLUGINS / name).returncode == 0


def test_numbers_of_any_kind_that_a_plugin_leaves_hurt_nobody_who_watches(url: str, tmp_path: Path) -> None:
    """In a cluster every run is watched."""
    file = file_of(
        tmp_path,
        """
        import time
        import numpy as np

        @register_api("odd")
        class Odd(OpenaiPlugin):
            async def process_request(self, client_session, url, headers, body):
                now = time.perf_counter()
                data = BenchmarkData(request=str(body), success=True, start_time=now, completed_time=now + 0.1)
                data.query_latency, data.first_chunk_latency = np.float64(0.1), "0.05"
                data.inter_chunk_latency = np.array([0.01, 0.02])
                data.prompt_tokens, data.completion_tokens = "7", np.int64(3)
                return data
        """,
    )
    flags = ["--url", url, "--model", "m", "--api", "odd", "--number", "4", "--parallel", "2", "--no-test-connection"]
    stage = run(tmp_path, "--plugin", file, *flags, "--listen", "127.0.0.1:0")["stages"][0]
    assert (stage["requests"]["succeeded"], stage["prompt_tokens"]["mean"], stage["itl_s"]["count"]) == (4, 7.0, 8)
