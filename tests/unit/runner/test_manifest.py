"""Manifests as files: read with the place of a mistake, changed by --set."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from perfbench_api.resource import SpecError
from perfbench_runner.cli.manifest import assign, load

MANIFEST = """
apiVersion: perfbench.io/v1alpha1
kind: PerfBenchmark
metadata: {name: a}
spec:
  target: {url: "http://x", model: m}
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes) -> Path:
        path = tmp_path / "m.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("spec.target.model=b", {"spec": {"target": {"model": "b"}}}),
        ("spec.load.stages[0].concurrency=8", {"spec": {"load": {"stages": [{"concurrency": 8}]}}}),
        ("spec.request.temperature=null", {"spec": {"request": {"temperature": None}}}),
        ("spec.request.maxTokens=[5, 9]", {"spec": {"request": {"maxTokens": [5, 9]}}}),
        ("spec.target.url=http://x:8000/v1?a=b", {"spec": {"target": {"url": "http://x:8000/v1?a=b"}}}),
        ("spec.request.stop[0]=x", {"spec": {"request": {"stop": ["x"]}}}),
        ("spec.dataset.args={a: 1}", {"spec": {"dataset": {"args": {"a": 1}}}}),
        ("spec.request.extraArgs.ignore_eos=true", {"spec": {"request": {"extraArgs": {"ignore_eos": True}}}}),
    ],
)
def test_set_makes_what_is_missing(override: str, found: dict[str, Any]) -> None:
    data: dict[str, Any] = {}
    assign(data, override)
    assert data == found


def test_set_changes_one_item_and_appends_the_next() -> None:
    data = {"spec": {"load": {"stages": [{"concurrency": 1}, {"concurrency": 2}]}}}
    assign(data, "spec.load.stages[1].concurrency=5")
    assign(data, "spec.load.stages[2].rate=5")
    assert data["spec"]["load"]["stages"] == [{"concurrency": 1}, {"concurrency": 5}, {"rate": 5}]


@pytest.mark.parametrize(
    "override",
    [
        "spec.target.model",
        "=5",
        "spec..model=5",
        "spec.load.stages[x].rate=5",
        "spec.load.stages[0=5",
        "spec.load.stages[7].rate=5",
        "spec.target.url.host=5",
        "spec.load.stages.rate=5",
        "spec.target.model={a",
        "[0]=5",
        "spec.load.stages[-1].rate=5",
    ],
)
def test_what_cannot_be_set_is_one_line(override: str) -> None:
    data = {"spec": {"target": {"url": "x"}, "load": {"stages": [{"concurrency": 1}]}}}
    with pytest.raises(SpecError) as caught:
        assign(data, override)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"--set {override!r}: ")


def test_overrides_and_seed_reach_the_benchmark(write: Any) -> None:
    spec = load(write(MANIFEST), ["spec.load.stages[0].concurrency=8", "spec.load.stages[0].requests=5"], seed=7).spec
    assert (spec.load.stages[0].concurrency, spec.load.random_seed, spec.request.seed) == (8, 7, 7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: b: c", "line 1: is no YAML"),
        ("a: 1\nb: [1", "is no YAML"),
        (MANIFEST + "  target: {mock: {}}\n", "line 7: target is given twice"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        (b"\xff\xfe\x00", "no UTF-8"),
        ("", "holds no PerfBenchmark"),
        ("[1, 2]", "holds no PerfBenchmark"),
        ("kind: Deployment", "holds no PerfBenchmark"),
        (MANIFEST + "---" + MANIFEST, "holds 2 PerfBenchmarks"),
        (MANIFEST.replace("model", "modle"), "spec.target.modle: unknown field; did you mean 'model'?"),
        (MANIFEST.replace("apiVersion: perfbench.io/v1alpha1", "apiVersion: 1"), "is not a PerfBenchmark"),
        ("kind: PerfBenchmark\nmetadata: {name: a}\nspec: null", "spec: "),
        ("kind: PerfBenchmark\nmetadata: {name: a}\nspec: []", "spec: "),
    ],
)
def test_a_file_that_is_no_benchmark_is_named(write: Any, text: str | bytes, words: str) -> None:
    path = write(text)
    with pytest.raises(SpecError) as caught:
        load(path)
    assert all(problem.startswith(str(path)) for problem in caught.value.problems)
    assert words in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nothing\.yaml: cannot be read: No such file"):
        load(tmp_path / "nothing.yaml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_yaml_s_own_merging_is_not_giving_a_key_twice(write: Any) -> None:
    anchored = MANIFEST.replace("metadata: {name: a}", "metadata: {<<: &base {name: b}, name: a}")
    assert load(write(anchored)).metadata.name == "a"


def test_other_kinds_in_the_file_are_left_alone(write: Any) -> None:
    text = yaml.safe_dump({"kind": "Secret", "metadata": {"name": "x"}}) + "---" + MANIFEST
    assert load(write(text)).metadata.name == "a"


@pytest.mark.parametrize(
    ("given", "meant"),
    [("010", 8), ("-0_17", -15), ("07", None), ("10", None), ("0", None), ("0x10", None), ("00", None)],
)
def test_a_number_that_yaml_reads_as_octal_is_told(write: Any, caplog: Any, given: str, meant: int | None) -> None:
    load(write(f"{MANIFEST}  load: {{randomSeed: {given}}}\n"))
    told = (
        [] if meant is None else [f"line 7: YAML reads {given} as {meant}, an octal number; leave out the 0 in front"]
    )
    assert [record.getMessage() for record in caplog.records] == told
