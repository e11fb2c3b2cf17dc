"""What people type: paths as errors print them, curl's headers, durations, a manifest from stdin."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from perfbench_api.explain import explain
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_runner.cli.commands import main
from perfbench_runner.cli.flags import spread
from perfbench_runner.cli.manifest import assign
from perfbench_runner.cli.mock_command import mock

FLAGS = ["run", "--url", "http://127.0.0.1:9", "--model", "m", "--number", "3", "--dry-run"]
MANIFEST = {"metadata": {"name": "a"}, "spec": {"target": {"url": "http://127.0.0.1:9", "model": "m"}}}


def manifest_of(*args: str, text: str | None = None) -> dict[str, Any]:
    """What a dry run prints on stdout, which is a manifest."""
    done = CliRunner().invoke(main, args, input=text)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    PerfBenchmark.read(found)
    return found


def test_a_dry_run_prints_a_manifest_and_the_first_request_beside_it() -> None:
    done = CliRunner().invoke(main, FLAGS)
    assert yaml.safe_load(done.stdout)["spec"]["target"]["model"] == "m"
    assert "# first request: POST http://127.0.0.1:9/v1/chat/completions" in done.stderr


def test_a_manifest_is_read_from_stdin() -> None:
    assert manifest_of("run", "-", "--dry-run", text=yaml.safe_dump(MANIFEST))["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    "given",
    [
        ["X-Team: search", "X-Trace: a=b"],
        ["X-Team=search", "X-Trace=a=b"],
        ["X-Team: search", "X-Trace=a=b"],
        ['{"X-Team": "search", "X-Trace": "a=b"}'],
    ],
)
def test_headers_are_taken_as_curl_takes_them_too(given: list[str]) -> None:
    headers = manifest_of(*FLAGS, "--headers", *given)["spec"]["target"]["headers"]
    assert headers == [{"name": "X-Team", "value": "search"}, {"name": "X-Trace", "value": "a=b"}]


def test_values_as_curl_writes_them_belong_to_their_flag() -> None:
    args = ["--headers", "A: b", "C: d", "--model", "m"]
    assert spread(args, {"--headers"}) == ["--headers", "A: b", "--headers", "C: d", "--model", "m"]


@pytest.mark.parametrize("path", ["spec.load.stages[0].requests", "load.stages[0].requests", "load.stages[].requests"])
def test_explain_takes_the_paths_that_errors_print(path: str) -> None:
    assert explain(path) == explain("spec.load.stages.requests")


def test_set_works_without_spec() -> None:
    data: dict[str, Any] = {"spec": {"load": {"stages": [{"concurrency": 1}]}}}
    assign(data, "load.stages[0].concurrency=8")
    assign(data, "metadata.name=b")
    assert data == {"metadata": {"name": "b"}, "spec": {"load": {"stages": [{"concurrency": 8}]}}}


def test_nothing_is_denied_twice() -> None:
    text = CliRunner().invoke(main, ["run", "--help"]).output
    assert "--no-no-" not in text
    assert "--no-timestamp" in text


@pytest.mark.parametrize(("given", "seconds"), [("50ms", 0.05), ("0.05", 0.05), ("1m", 60.0)])
@pytest.mark.parametrize("flag", ["--ttft", "--ttft-s"])
def test_the_mock_takes_durations(flag: str, given: str, seconds: float) -> None:
    assert mock.make_context("mock", [flag, given]).params["ttft_s"] == seconds


def test_a_header_names_the_variable_that_holds_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-123456789")
    file = tmp_path / "m.yaml"
    target = {**MANIFEST["spec"]["target"], "headers": [{"name": "X-Api-Key", "env": "OTHER_KEY"}]}
    file.write_text(yaml.safe_dump({**MANIFEST, "spec": {"target": target}}))
    found = manifest_of("run", str(file), "--dry-run")
    assert found["spec"]["target"]["headers"] == [{"name": "X-Api-Key", "env": "OTHER_KEY"}]
    monkeypatch.delenv("OTHER_KEY")
    done = CliRunner().invoke(main, ["run", str(file), "--dry-run"])
    assert "environment variable OTHER_KEY is not set" in done.stderr


def test_a_header_has_one_source() -> None:
    headers = [{"name": "X", "value": "a", "env": "B"}]
    with pytest.raises(SpecError, match="give one of value, secretKeyRef and env"):
        PerfBenchmark.read({**MANIFEST, "spec": {"target": {**MANIFEST["spec"]["target"], "headers": headers}}})


BOTH = ["--target", "old=http://127.0.0.1:9", "--target", "new=http://127.0.0.1:8/v1"]


@pytest.mark.parametrize("text", [None, yaml.safe_dump(MANIFEST)])
def test_several_targets_can_be_named_by_flags(text: str | None) -> None:
    args = ["run", "-", "--dry-run"] if text else ["run", "--model", "m", "--rate", "4", "--number", "8", "--dry-run"]
    spec = manifest_of(*args, *BOTH, text=text)["spec"]
    assert [(each["name"], each["url"]) for each in spec["targets"]] == [
        ("old", "http://127.0.0.1:9"),
        ("new", "http://127.0.0.1:8/v1"),
    ]
    assert ("url" in spec["target"], spec["target"]["model"]) == (text is not None, "m")


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--target", "http://127.0.0.1:9"], "--target 'http://127.0.0.1:9': write it as NAME=URL"),
        (["--target", "new="], "--target 'new=': write it as NAME=URL"),
        (BOTH[:2], "--target: is one of several"),
        ([*BOTH, "--target", "old=http://127.0.0.1:7"], "two targets are named 'old'"),
    ],
)
def test_a_wrong_target_is_told_with_its_way_out(args: list[str], problem: str) -> None:
    done = CliRunner().invoke(main, ["run", "--model", "m", "--number", "3", "--dry-run", *args])
    assert done.exit_code == 2
    assert problem in done.stderr
