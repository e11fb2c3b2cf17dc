"""`perfbench plugins`: lists what there is, tries plugins out and says what is wrong, and begins new ones."""

import json
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from perfbench_plugins.loading import load_plugins
from perfbench_plugins.registry import ApiRegistry, DatasetRegistry, PluginError
from perfbench_runner.cli import plugin_bench, plugin_check
from perfbench_runner.cli import plugins as plugins_cli
from perfbench_runner.cli.plugin_scaffold import write_start

SEED = Path(__file__).parents[1] / "data" / "seed"


def perfbench(*args: str | Path, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from perfbench_runner.cli.commands import main; main()", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder, check=False)


def plugin_file(folder: Path, body: str) -> Path:
    head = """\
    from perfbench_plugins.api.default_api import DefaultApiPlugin
    from perfbench_plugins.benchmark_data import BenchmarkData
    from perfbench_plugins.datasets.base import DatasetPluginBase, Item
    from perfbench_plugins.registry import register_api, register_dataset
    """
    file = folder / "mine.py"
    file.write_text(dedent(head) + dedent(body))
    return file


@pytest.fixture(autouse=True)
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it."""
    for registry in (ApiRegistry, DatasetRegistry):
        registry.all_entries()
        monkeypatch.setattr(registry, "entries", dict(registry.entries))


def test_all_plugins_are_listed_with_origin_and_options() -> None:
    listed = perfbench("plugins").stdout
    assert "local, local_vllm, openai  [built in]" in listed
    assert '        dialect <jina | cohere | tei> = "jina"' in listed
    assert "\ndatasets\n" in listed
    names = [name for registry in (ApiRegistry, DatasetRegistry) for name in registry.all_classes()]
    assert all(name in listed for name in names)


def test_json_has_names_types_defaults_and_meanings() -> None:
    found = json.loads(perfbench("plugins", "list", "--json").stdout)
    rerank = next(plugin for plugin in found if "openai_rerank" in plugin["names"])
    assert (rerank["kind"], rerank["origin"]) == ("API", "built in")
    (dialect,) = rerank["options"]
    assert (dialect["name"], dialect["default"], dialect["is_required"]) == ("dialect", "jina", False)
    assert dialect["meaning"]


def test_every_option_of_every_plugin_says_what_it_means() -> None:
    silent = [
        f"{plugin.names[0]}.{option.name}"
        for plugin in plugins_cli.found_plugins()
        for option in plugin.options
        if plugin.origin == "built in" and not option.meaning
    ]
    assert silent == []


def test_ones_own_are_shown_with_their_file(tmp_path: Path) -> None:
    file, _ = write_start("api", "shout", tmp_path)
    shown = perfbench("plugins", "show", "shout", "--plugin", file).stdout
    assert f"API shout  [file {file}:ShoutApi]" in shown
    assert "  system <text>\n      A system message that is put before every request." in shown
    assert "--api-args" in shown


def test_an_unknown_name_is_answered_with_one_like_it() -> None:
    result = perfbench("plugins", "show", "anthropics")
    assert (result.returncode, result.stderr) == (
        2,
        "error: there is no plugin 'anthropics'; did you mean 'anthropic'?\n",
    )


@pytest.mark.parametrize(("kind", "registry"), [("api", ApiRegistry), ("dataset", DatasetRegistry)])
def test_a_new_plugin_works_as_written(kind: str, registry: Any, tmp_path: Path) -> None:
    written = perfbench("plugins", "new", kind, "my_own", "--folder", tmp_path)
    assert written.returncode == 0
    checked = perfbench("plugins", "check", tmp_path / "my_own.py")
    assert (checked.returncode, "1 tried, nothing wrong" in checked.stdout) == (0, True), checked.stdout
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_my_own.py"]
    tested = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False)
    assert tested.returncode == 0, tested.stdout
    assert "my_own" not in registry.entries


def test_a_new_plugin_overwrites_nothing(tmp_path: Path) -> None:
    write_start("api", "shout", tmp_path)
    with pytest.raises(PluginError, match=r"shout\.py exists; nothing was written"):
        write_start("api", "shout", tmp_path)
    with pytest.raises(PluginError, match="'Shout!' is no name for a plugin"):
        write_start("api", "Shout!", tmp_path)


def test_the_seed_documents_plugins_pass() -> None:
    assert plugin_check.faults(SEED / "custom_api.py") == []
    checked = perfbench("plugins", "check", SEED / "custom_dataset.py")
    assert checked.returncode == 0
    assert "it asks for a file: a sample of lines is used" in checked.stdout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("syntax error\n", "line 5: SyntaxError: invalid syntax"),
        ("import no_such_module\n", "line 5: ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit('stop')\n", "line 5: SystemExit: stop"),
        ("@register_dataset('x')\nclass A: pass\n", "line 5: dataset plugin 'x' ({file}:A) has no build_messages"),
        ("@register_api('x')\nclass A: pass\n", "line 5: API plugin 'x' ({file}:A) must inherit ApiPluginBase or Def"),
        (
            "@register_api('x')\nclass A(DefaultApiPlugin): pass\n",
            "line 5: API plugin 'x' ({file}:A) has no build_request and no parse_responses",
        ),
        ("x = 1\n", "registers no plugin; decorate its class with @register_api"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_file_and_line(body: str, words: str, tmp_path: Path) -> None:
    file = plugin_file(tmp_path, body)
    with pytest.raises(PluginError) as caught:
        plugin_check.plugins_of(str(file))
    assert words.format(file=file) in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_check_fails_with_exit_code_1_when_a_file_cannot_be_loaded(tmp_path: Path) -> None:
    result = perfbench("plugins", "check", plugin_file(tmp_path, "syntax error\n"))
    assert result.returncode == 1
    assert result.stdout == f"  wrong  plugin file {tmp_path}/mine.py line 5: SyntaxError: invalid syntax\n"


DATASETS = {
    "yield 'a', 'b'": r"item 1 is tuple \('a', 'b'\); expected chat messages",
    "yield [{'content': 'a'}]": r"item 1 is list \[\{'content': 'a'\}\]; expected chat messages",
    "yield from ()": r"yields nothing; does a filter or an empty file leave everything out\?",
    "yield {}['a']": r"/mine\.py line 8: KeyError: 'a'$",
    "return 5": r"TypeError: 'int' object is not iterable$",
    "import random; yield str(random.random())": r"the same seed gives other items: take every random choice from self",
    "yield Item('a', at_s=2.0); yield Item('a', at_s=1.0)": r"at_s goes back from one item to the next",
    "yield 'a'": r"items come without a time: yield Item\(messages, at_s=seconds\)",
}


@pytest.mark.parametrize("line", DATASETS)
def test_what_is_wrong_with_a_dataset_is_told(line: str, tmp_path: Path) -> None:
    body = f"""\
    @register_dataset("mine")
    class Mine(DatasetPluginBase):
        def build_messages(self):
            {line}
        provides_arrival_schedule = {"Item" in line or line == "yield 'a'"}
    """
    (found,) = plugin_check.faults(plugin_file(tmp_path, body))
    assert found.startswith("dataset plugin mine (")
    assert re.search(DATASETS[line], found)


APIS = {
    # As in EvalScope, which does not ask where the server reports usage.
    "parse_responses = lambda self, responses, **more: (0, 0)": [],
    "parse_responses = lambda self, responses, **more: (1, len(responses))": [
        "streamed: 76 completion tokens were counted where the mock sent 64",
        "plain: 4 completion tokens were counted where the mock sent 64",
    ],
    "parse_responses = lambda self, responses, **more: responses['x']": [],
    "suffix = 'v2/nothing'": [
        "streamed: 4 of 4 requests failed (http_404): ",
        "plain: 4 of 4 requests failed (http_404): ",
    ],
    "build_request = lambda self, messages, param=None: messages[0].clear() or {'a': 1}": [
        "build_request changes the messages it is given; make a copy",
        "streamed: 4 of 4 requests failed (http_400): ",
        "plain: 4 of 4 requests failed (http_400): ",
    ],
    "build_request = lambda self, messages, param=None: messages['x']": [
        "API plugin Mine: build_request: {file} line 9: TypeError: list indices must be integers",
    ],
    "process_request = None\n    async def process_request(self, session, url, headers, body): return 5": [
        "streamed: 4 of 4 requests failed (plugin): Mine.process_request: ",
        "plain: 4 of 4 requests failed (plugin): Mine.process_request: ",
    ],
    (
        "async def process_request(self, session, url, headers, body):\n"
        "        import time\n"
        "        return BenchmarkData(success=True, is_stream=True, start_time=time.time(), completed_time=time.time(),"
        " prompt_tokens=1, completion_tokens=16)"
    ): [
        "streamed: 64 completion tokens were counted",
        "streamed: start_time and completed_time must be read from time.perf_counter()",
        "streamed: first_chunk_latency and inter_chunk_latency must be set for a stream",
        "streamed: response_messages is empty",
        "plain: 64 completion tokens were counted",
        "plain: start_time and completed_time must be read from time.perf_counter()",
        "plain: response_messages is empty",
    ],
}


@pytest.mark.parametrize("line", APIS)
def test_what_is_wrong_with_an_api_is_told(line: str, tmp_path: Path) -> None:
    body = f"""\
    from perfbench_plugins.api.openai_api import OpenaiPlugin

    @register_api("mine")
    class Mine(OpenaiPlugin):
        {line.replace(chr(10), chr(10) + "    ")}
    """
    file = plugin_file(tmp_path, body)
    found = [fault.partition("): ")[2] for fault in plugin_check.faults(file)]
    expected = [words.format(file=file) for words in APIS[line]]
    assert [words for words, fault in zip(expected, found, strict=False) if not fault.startswith(words)] == [], found
    assert len(found) == len(expected), found


def test_a_builtin_api_passes_its_own_check() -> None:
    load_plugins([])
    entries = [ApiRegistry.entries[name] for name in ("openai", "openai_embedding", "anthropic")]
    found = [
        finding.text
        for _, findings in plugin_check.check(entries, plugin_bench.Options())
        for finding in findings
        if finding.state == "wrong"
    ]
    assert found == []
