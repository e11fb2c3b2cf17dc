"""Fixtures of the tests that need a real Kubernetes: the cluster, and a namespace of their own in it.

Which cluster: the one of KUBECONFIG if PERFBENCH_TEST_IMAGES names images that it can pull
(`runner=IMAGE,operator=IMAGE`, and `busybox=IMAGE` if the public one will not do), else the one that
cluster.py makes. A cluster that runs already is used and left running; one that was started here is taken down.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # cluster.py is a program first: its modules are no package

import binaries  # noqa: E402
import cluster as own  # noqa: E402
import components  # noqa: E402
import images  # noqa: E402
import machine  # noqa: E402
from benchmarks import described, restricted_namespace  # noqa: E402
from kube import Cluster, Namespace  # noqa: E402
from planted import KEY, SECRET, found_on_claims  # noqa: E402
from proxy import kubectl_proxy  # noqa: E402
from recorder import Recorder  # noqa: E402

_FAILED = pytest.StashKey[bool]()
_RECORDER = pytest.StashKey[Recorder]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """After every test the planted key is searched for in everything, before anything is taken away."""
    try:
        return (yield)
    finally:
        if "cluster" in getattr(item, "fixturenames", ()) and _RECORDER in item.session.stash:
            item.session.stash[_RECORDER].assert_nothing_is_found()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with the project's images in it."""
    given = os.environ.get("PERFBENCH_TEST_IMAGES")
    if given and os.environ.get("KUBECONFIG"):
        yield from _recorded(_given_cluster(given), request.session)
        return
    reason = machine.missing()
    if reason:
        _give_up(f"{reason}; or set KUBECONFIG and PERFBENCH_TEST_IMAGES=runner=IMAGE,operator=IMAGE")
    started_here = not own.healthy()
    terminal = request.config.pluginmanager.getplugin("capturemanager")
    with terminal.global_and_fixture_disabled():  # it may take minutes: say what takes them
        _cluster_command("up")
        _cluster_command("image")
    programs = {name: str(binaries.folder() / name) for name in ("kubectl", "helm")}
    found = Cluster(components.KUBECONFIG, programs, {name: images.reference(name) for name in images.NAMES})
    yield from _recorded(found, request.session)
    if started_here:
        _cluster_command("down")


def _recorded(cluster: Cluster, session: pytest.Session) -> Iterator[Cluster]:
    """The cluster, with somebody who sees all that happens in it, from before the first test to after the last."""
    is_own = cluster.kubeconfig == components.KUBECONFIG
    with kubectl_proxy(cluster) as url:
        recorder = Recorder(url, search_claims=None if is_own else lambda: found_on_claims(cluster))
        recorder.plant(SECRET, KEY)
        if is_own:
            recorder.look_into(components.VOLUMES)
            recorder.look_into(machine.STATE / "kubelet" / "pods", "*/volumes/kubernetes.io~empty-dir")
        with recorder.running():
            session.stash[_RECORDER] = recorder
            yield replace(cluster, url=url)
            recorder.assert_nothing_is_found()
            print(recorder.summary())


@pytest.fixture(scope="session")
def recorder(cluster: Cluster, request: pytest.FixtureRequest) -> Recorder:
    """For tests that add what it looks into, or that are about the search itself."""
    return request.session.stash[_RECORDER]


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """A fresh namespace that admits restricted pods only; after a failure its objects are printed."""
    with restricted_namespace(cluster) as space:
        yield space
        if request.node.stash.get(_FAILED, False):
            print(described(space))


def _cluster_command(name: str) -> None:
    done = subprocess.run([sys.executable, HERE / "cluster.py", name], stdout=sys.stderr.fileno(), check=False)
    if done.returncode:
        pytest.fail(f"tests/cluster/cluster.py {name} failed", pytrace=False)


def _given_cluster(given: str) -> Cluster:
    references = {"busybox": "docker.io/library/busybox:1.36"}
    for part in given.split(","):
        name, _, reference = part.strip().partition("=")
        references[name] = reference
    absent = [name for name in images.NAMES if not references.get(name)]
    if absent:
        pytest.fail(f"PERFBENCH_TEST_IMAGES names no {absent[0]} image: add {absent[0]}=IMAGE", pytrace=False)
    programs = {name: shutil.which(name) or "" for name in ("kubectl", "helm")}
    if not all(programs.values()):
        _give_up("tests on the cluster of KUBECONFIG need kubectl and helm on PATH")
    return Cluster(Path(os.environ["KUBECONFIG"]), programs, references)


def _give_up(reason: str) -> None:
    """Skip; in CI fail, so that no green run hides tests that did not run."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
