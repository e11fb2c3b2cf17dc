"""docs/kubernetes.md, followed to the letter: every command of the page, in its order, and what it promises of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks import CRD, LONG, REPOSITORY, forget_lease, has_crd, keyless_benchmark, until
from kube import Cluster, CommandError, Namespace, wait_for

PAGE = (REPOSITORY / "docs" / "kubernetes.md").read_text()
RAW = "Without Helm releases"
DEFAULT = "default"
"""The commands name no namespace for benchmarks, so they go where a kubeconfig points."""


@dataclass(frozen=True)
class Block:
    section: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    """The page's code, in its order."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL):
            yield Block(title, language, text)


@dataclass(frozen=True)
class Reader:
    """Somebody who reads the page with a terminal beside it."""

    cluster: Cluster
    folder: Path

    def follow(self, block: Block) -> str:
        """Do what a block says; what it printed."""
        if block.language == "yaml":
            named = re.match(r"# (\S+\.yaml)\n", block.text)
            if named:
                (self.folder / named[1]).write_text(block.text)
            return ""
        programs = ":".join(str(Path(program).parent) for program in self.cluster.programs.values())
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.text],
            cwd=self.folder,
            env={**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig), "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{block.section}:\n{block.text}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(cluster: Cluster, tmp_path: Path) -> Iterator[Reader]:
    """Starts in a folder that looks like the repository's root, and has plugins and prompts of their own."""
    if os.environ.get("KUBECONFIG") and os.environ.get("PERFBENCH_TEST_IMAGES"):
        pytest.skip("the page's commands take the images by the names that the chart gives them")
    if has_crd(cluster):  # kept by the release of another test; the page begins without perfbench
        wait_for(lambda: not cluster.kubectl("get", CRD, "-A", "-o", "name"), 120, "namespaces of other tests are gone")
        cluster.kubectl("delete", "crd", CRD)
    for name in ("charts", "crds"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    for name, source in (("my_api.py", "custom_api.py"), ("my_dataset.py", "custom_dataset.py")):
        (tmp_path / name).write_text((REPOSITORY / "tests" / "data" / "seed" / source).read_text())
    (tmp_path / "prompts.txt").write_text("tell me of the zebra\n")
    yield Reader(cluster, tmp_path)
    for leftover in (  # of a test that has failed; the page's own last commands have removed them otherwise
        ("delete", "crd", CRD),
        ("delete", "clusterrole,clusterrolebinding", "--selector=app.kubernetes.io/name=perfbench"),
        ("delete", "namespace", "perfbench", "--wait=false"),
        ("delete", "pod/reader", "configmap/plugins", "configmap/prompts", "--namespace", DEFAULT),
    ):
        cluster.kubectl(*leftover, "--ignore-not-found")
    forget_lease(cluster)


def test_the_page_s_commands_work_in_their_order(reader: Reader) -> None:
    before_end = [block for block in blocks() if block.section not in ("Uninstall", RAW)]
    for block in before_end:
        printed = reader.follow(block)
        if "results.sqlite" in block.text:
            rows = (
                sqlite3.connect(reader.folder / "results.sqlite").execute("SELECT count(*) FROM result").fetchone()[0]
            )
            assert rows > 100
        if ".status.verdict}" in block.text:
            assert re.search(r"(Passed|Failed|Inconclusive)$", printed), "which one, a busy machine decides"
    recovers_what_a_killed_runner_had_committed(reader)
    for block in blocks():
        if block.section == "Uninstall":
            reader.follow(block)
    wait_for(lambda: not has_crd(reader.cluster), 30, "definition is gone")
    assert "perfbench" not in reader.cluster.kubectl("get", "clusterroles,pvc,namespaces", "--output=name")
    reader.cluster.kubectl("delete", "configmap", "plugins", "prompts", "--namespace", DEFAULT)


KILLED = """
perfbench run /tmp/killed.yaml --quiet --results-dir {folder} &
for _ in $(seq 300); do [ -s {folder}/results.sqlite.partial ] && break; sleep 0.2; done
sleep 4
kill -9 $!
"""


def recovers_what_a_killed_runner_had_committed(reader: Reader) -> None:
    """By the command of the page; where the operator has not done it already."""
    space = Namespace(reader.cluster, DEFAULT)
    [manifest] = [block.text for block in blocks() if block.text.startswith("# reader.yaml")]
    space.apply(manifest)
    space.kubectl("wait", "--for=condition=Ready", "--timeout=2m", "pod/reader")
    manifest = json.dumps(keyless_benchmark("killed", {"mock": {}}, **LONG))
    space.kubectl("exec", "--stdin", "reader", "--", "sh", "-c", "cat > /tmp/killed.yaml", stdin=manifest)
    [command] = re.findall(r"`kubectl exec reader -- (perfbench recover \S+)`", PAGE)
    words = command.replace("FOLDER", "/results/killed").split()
    space.kubectl("exec", "reader", "--", "sh", "-c", KILLED.format(folder=words[-1]))
    [find] = re.findall(r"^kubectl exec reader -- (find .*?)  ", PAGE, flags=re.MULTILINE)
    found = space.kubectl("exec", "reader", "--", *shlex.split(find)).split()
    assert found == [f"{words[-1]}/results.sqlite.partial"]
    space.kubectl("exec", "reader", "--", *words)
    assert "results.sqlite\n" in space.kubectl("exec", "reader", "--", "ls", words[-1])
    space.kubectl("delete", "pod", "reader", "--grace-period=1")


def test_the_page_s_way_without_helm_releases_works(reader: Reader) -> None:
    space = Namespace(reader.cluster, DEFAULT)
    for block in blocks():
        if block.section == RAW:
            reader.follow(block)
    try:
        space.apply(keyless_benchmark("raw", {"mock": {}}))
        until(space, "raw", "Succeeded")
    finally:
        reader.cluster.kubectl("delete", "-f", str(reader.folder / "perfbench.yaml"), "--wait=false")
        for block in blocks():
            if block.section == "Uninstall" and "delete crd" in block.text:
                reader.follow(block)
    wait_for(lambda: is_gone(reader.cluster), 60, "namespace is gone")


def is_gone(cluster: Cluster) -> bool:
    try:
        cluster.get("namespace", "perfbench")
    except CommandError as error:
        return "not found" in str(error)
    return False
