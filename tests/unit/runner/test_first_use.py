"""What people get wrong in their first hours: one line that says what it is, and the way out."""

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.values import check_quantity
from perfbench_plugins.arguments import Arguments
from perfbench_runner.cli.commands import main
from perfbench_runner.cli.manifest import assign, load
from perfbench_runner.engine.advice import advice, in_one_line
from perfbench_runner.run import secrets
from perfbench_runner.shard.destination import destination

TARGET = {"url": "http://127.0.0.1:9", "model": "m"}


def problem(**spec: Any) -> str:
    """The one line about a spec."""
    with pytest.raises(SpecError) as caught:
        PerfBenchmark.read({"metadata": {"name": "m"}, "spec": {"target": TARGET, **spec}})
    (line,) = caught.value.problems
    return line


def run(*args: str) -> Result:
    return CliRunner().invoke(main, ["run", "--dry-run", *args])


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"target": None}, "spec.target: must be a map of fields; it is empty"),
        ({"target": [1]}, "spec.target: must be a map of fields, got a list"),
        ({"dataset": {"args": [1]}}, "spec.dataset.args: must be a map of fields, got a list"),
        ({"load": {"stages": [None]}}, "spec.load.stages[0]: must be a map of fields; it is empty"),
        ({"target": TARGET | {"model": False}}, "spec.target.model: must be text, got False; put it in quotes"),
        ({"target": TARGET | {"model": 7}}, "spec.target.model: must be text, got 7; put it in quotes"),
        (
            {"target": TARGET | {"model": " "}},
            "spec.target.model: is blank; name the model as the endpoint serves it",
        ),
        (
            {"target": TARGET | {"metrics": "http://x/metrics"}},
            "spec.target.metrics: 'http://x/metrics' is one source of a list: [{url: ...}]",
        ),
        ({"results": {"storage": "10GB"}}, "spec.results.storage: '10GB' is no quantity; write it as 10Gi or 500M"),
    ],
)
def test_a_field_that_is_wrong_is_told_in_words_of_yaml(spec: dict[str, Any], line: str) -> None:
    assert problem(**spec) == line


@pytest.mark.parametrize("text", ["1", "10Gi", "500M", "1.5Ti", "100m", "2k"])
def test_quantities(text: str) -> None:
    assert check_quantity(text) == text


@pytest.mark.parametrize("url", ["http://x\n/v1", "http://x/\0", "http://x y/v1", "http://x/\x1b[31m", "unix:/a b:/v1"])
def test_a_url_with_what_no_url_holds_is_refused(url: str) -> None:
    assert "holds a space or a control character" in problem(target={"url": url, "model": "m"})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("unix:vllm.sock", "names no socket"),
        ("unix:/", "names no socket"),
        ("unix:", "names no socket"),
        ("unix:/run/a:b", "names no socket"),
    ],
)
def test_a_unix_socket_needs_its_path(url: str, words: str) -> None:
    assert words in problem(target={"url": url, "model": "m"})


def test_the_path_of_a_socket_can_be_too_long() -> None:
    with pytest.raises(ValueError, match="this one has more"):
        destination(f"unix:/{'a' * 200}:/v1", {})


@pytest.mark.parametrize("text", ["spec: &s {target: *s}", "spec: {dataset: {args: &a {x: [*a]}}}"])
def test_a_manifest_that_is_within_itself_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(f"kind: PerfBenchmark\nmetadata: {{name: m}}\n{text}\n")
    with pytest.raises(SpecError, match="stands within what it names"):
        load(file)
    with pytest.raises(SpecError, match="stands within what it names"):
        assign({}, "spec.dataset.args=&a [*a]")


def test_an_anchor_that_is_used_often_is_no_trouble(tmp_path: Path) -> None:
    lines = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9) if n else 1}]" for n in range(30)]
    file = tmp_path / "m.yaml"
    file.write_text("\n".join([*lines, "kind: PerfBenchmark", "metadata: {name: m}", "spec: {target: {mock: {}}}"]))
    with pytest.raises(SpecError, match="unknown field"):
        load(file)


@pytest.mark.parametrize(
    ("env", "words"),
    [({}, "is not set (nor in .env)"), ({"KEY": ""}, "is empty"), ({"KEY": " \n"}, "is empty"), ({"KEY": "k"}, "")],
)
def test_a_key_that_is_asked_for_has_to_be_there(env: dict[str, str], words: str) -> None:
    target = PerfBenchmark.read(
        {"metadata": {"name": "m"}, "spec": {"target": TARGET | {"apiKey": {"env": "KEY"}}}}
    ).spec.target
    if not words:
        assert secrets.api_key(target, env) == "k"
        return
    with pytest.raises(SpecError) as caught:
        secrets.api_key(target, env)
    assert str(caught.value) == f"spec.target.apiKey: environment variable KEY {words}"


def test_options_of_an_api_without_any() -> None:
    result = run("--url", "http://x", "--model", "m", "--api-args", "foo=1")
    assert result.output == "error: spec.target.apiArgs.foo: unknown field; it takes none\n"


def test_a_mistake_of_several_flags_together_blames_no_manifest() -> None:
    result = run("--url", "http://x", "--model", "m", "--number", "1", "2", "--parallel", "1", "2", "3")
    assert result.output == "error: number has 2 values and parallel has 3; give as many, or one number\n"


@pytest.mark.parametrize("prompt", ["half \ud800 of a pair", "\udcff"])
def test_text_that_cannot_be_sent_is_not_our_source_s_fault(prompt: str) -> None:
    result = run("--url", "http://x", "--model", "m", "--prompt", prompt)
    assert result.exit_code == 2
    assert "half of a character, which cannot be sent" in result.output
    assert ".py" not in result.output


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"a line\n", mtime=0), "it is compressed; unpack it (gunzip)"),
        (b"PK\x03\x04\xff", "it is a zip archive; unpack it"),
        ("a line\n".encode("utf-16"), "it looks like UTF-16; convert it"),
        ("caf\xe9\n".encode("latin-1"), "can't decode byte 0xe9"),
    ],
)
@pytest.mark.parametrize("dataset", ["line_by_line", "file"])
def test_a_dataset_that_is_no_text_is_told_what_it_is(tmp_path: Path, content: bytes, words: str, dataset: str) -> None:
    file = tmp_path / "data.txt"
    file.write_bytes(content)
    result = run("--url", "http://x", "--model", "m", "--dataset", dataset, "--dataset-path", str(file))
    assert words in result.output


def test_a_plugin_that_is_a_folder_is_said_to_be_none(tmp_path: Path) -> None:
    result = run("--url", "http://x", "--model", "m", "--plugin", f"{tmp_path}/")
    assert f"{tmp_path} is no file" in result.output


def test_a_certificate_that_is_none_is_told_in_words(tmp_path: Path) -> None:
    file = tmp_path / "c.pem"
    file.write_text("no certificate\n")
    for flag in ("--ca-file", "--cert-file"):
        result = run("--url", "https://x", "--model", "m", flag, str(file))
        assert "no usable PEM file of certificates" in result.output
        assert "_ssl.c" not in result.output


def test_show_of_what_is_not_there_names_it(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["show", str(tmp_path / "nothing")])
    assert (result.exit_code, f"there is no {tmp_path}/nothing" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[2Jgone\x07", "\ufffd[2Jgone\ufffd"),
        ("two\r\nlines\tand more", "two lines and more"),
        ("x" * 301, "x" * 300 + "…"),
        ("é 漢字", "é 漢字"),
    ],
)
def test_what_a_server_says_moves_no_cursor(text: str, expected: str) -> None:
    assert in_one_line(text) == expected
    assert expected in advice("http://x", "http_400", text)


def test_a_long_url_is_cut_in_errors() -> None:
    assert len(advice(f"http://x/{'a' * 100_000}", "http_404", "")) < 600


@pytest.mark.parametrize("header", ["X-A:b", "X-A: b", "X-A=b"])
def test_headers_as_curl_takes_them(header: str) -> None:
    result = run("--url", "http://x", "--model", "m", "--headers", header)
    manifest = yaml.safe_load(result.stdout)
    assert manifest["spec"]["target"]["headers"] == [{"name": "X-A", "value": "b"}]


def test_a_url_is_no_header() -> None:
    result = run("--url", "http://x", "--model", "m", "--headers", "a=b", "--extra-args", "image=http://y/z")
    assert yaml.safe_load(result.stdout)["spec"]["request"]["extraArgs"] == {"image": "http://y/z"}


def test_arguments_of_python_are_told_the_same() -> None:
    with pytest.raises(SpecError, match=r"^number has 2 values and parallel has 3"):
        Arguments(url="http://x", model="m", number=[1, 2], parallel=[1, 2, 3])


def test_a_run_without_a_request_is_no_success(tmp_path: Path) -> None:
    manifest = {
        "kind": "PerfBenchmark",
        "metadata": {"name": "m"},
        "spec": {"target": {"mock": {}}, "load": {"stages": [{"rate": 0.000001, "duration": "300ms"}]}},
    }
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(manifest))
    command = [sys.executable, "-m", "perfbench_runner", "run", "m.yaml", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 1
    assert "failed: no request came due in any stage: give a longer duration, or a higher rate" in done.stderr
