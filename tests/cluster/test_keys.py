"""The search for the planted key, which follows every test here, finds it: left, gone again, in part, and compressed."""

from __future__ import annotations

import json
import shutil
import sqlite3
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any

import components
import pytest
from kube import Cluster, Namespace, pod, pod_spec, wait_for
from needles import Marks, files_in, forms, found_in_folder
from planted import KEY, SECRET, found_on_claim, planted_env
from recorder import Finding, Recorder

from perfbench_runner.results.encoding import encode, encode_messages


def message(text: str) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}}]})


@pytest.mark.parametrize(
    "bodies",
    [
        (encode({"messages": f"say {KEY}"}), None),
        (None, encode_messages([message(f"{number} {KEY}") for number in range(100)])),
        (None, encode_messages([message(letter) for letter in KEY])),
        (None, encode_messages([message(b64encode(b"user:" + KEY.encode()).decode())])),
        (None, encode_messages([message(f"{KEY[-14:]} it ends")])),
    ],
    ids=["request", "compressed", "letter by letter", "base64", "in part"],
)
@pytest.mark.parametrize("is_committed", [True, False], ids=["in the file", "in its log"])
def test_a_key_in_bodies_is_found(tmp_path: Path, bodies: tuple[str | None, str | None], is_committed: bool) -> None:
    with closing(sqlite3.connect(tmp_path / "results.sqlite.partial")) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE bodies (id INTEGER PRIMARY KEY, request TEXT, response_messages TEXT)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        seen: dict[str, Marks] = {}
        assert found_in_folder(tmp_path, forms(KEY), seen) == {}
        db.execute("INSERT INTO bodies (request, response_messages) VALUES (?, ?)", bodies)
        db.commit()
        if is_committed:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert found_in_folder(tmp_path, forms(KEY), seen)
        assert found_in_folder(tmp_path, forms(KEY), seen) == {}, "what has not changed is not read again"


def test_a_folder_that_goes_while_it_is_searched_does_no_harm(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / "log").write_text(KEY)
    found = files_in(tmp_path)
    assert next(found) == tmp_path / "a" / "run" / "log"
    shutil.rmtree(tmp_path / "b")
    assert list(found) == [tmp_path / "c" / "run" / "log"]


CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "results"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def config_map(name: str, text: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}


def test_a_key_that_is_anywhere_in_the_cluster_is_found(
    cluster: Cluster, namespace: Namespace, recorder: Recorder
) -> None:
    def says(name: str, script: str, **container: Any) -> dict[str, Any]:
        return pod(name, pod_spec(cluster.images["busybox"], "sh", "-c", script, env=[planted_env("KEY")], **container))

    writer = says("writer", "echo $KEY > /results/f", volumeMounts=[{"name": "results", "mountPath": "/results"}])
    writer["spec"]["volumes"] = [{"name": "results", "persistentVolumeClaim": {"claimName": "results"}}]
    failing = says("failing", "echo $KEY > /dev/termination-log; exit 3")
    again = says("again", "[ -e /tmp/once ] && exec sleep 600; touch /tmp/once; echo -n $KEY | base64")
    again["spec"] |= {"restartPolicy": "OnFailure", "volumes": [{"name": "tmp", "emptyDir": {}}]}
    again["spec"]["containers"][0]["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]
    again["spec"]["containers"][0]["command"][2] += "; exit 1"
    namespace.apply(
        *(CLAIM, writer, failing, again, says("quiet", "sleep 600")),
        says("vanishing", "echo $KEY | cut -c 1-16; exec sleep 600"),
        config_map("left", f"key={KEY}"),
        config_map("gone", b64encode(KEY.encode()).decode()),
    )
    namespace.kubectl("delete", "configmap", "gone", "--wait=true")
    wait_for(lambda: KEY[:16] in namespace.kubectl("logs", "vanishing"), 60, "it has said it")
    namespace.kubectl("delete", "pod", "vanishing", "--force", "--grace-period=0")
    ended = (("writer", "Succeeded"), ("failing", "Failed"))
    wait_for(lambda: all(namespace.phase("pod", name) == phase for name, phase in ended), 60, "pods end")
    wait_for(
        lambda: namespace.get("pod", "again")["status"]["containerStatuses"][0]["restartCount"] == 1,
        60,
        "it begins again",
    )

    found = recorder.search()
    logs = f"log of /api/v1/namespaces/{namespace.name}/pods"
    assert Finding(f"{namespace.name}/configmaps/left", f"key of {SECRET}") in found
    assert Finding(f"{namespace.name}/configmaps/gone", f"base64+0 of {SECRET}") in found
    assert Finding(f"{namespace.name}/pods/failing", f"key of {SECRET}") in found, "its termination message"
    assert Finding(f"{logs}/vanishing main", f"beginning of {SECRET}") in found
    assert Finding(f"{logs}/again main", f"base64+0 of {SECRET}") in found
    assert not [finding for finding in found if "quiet" in finding.where or "secrets" in finding.where]
    if cluster.kubeconfig == components.KUBECONFIG:
        assert [finding for finding in found if finding.where.startswith("file ") and finding.where.endswith("/f")]
    assert Finding(f"{namespace.name}/results: /results/f", "key") in found_on_claim(namespace, "results")
    told_again = recorder.search()
    assert [finding for finding in told_again if "searcher" not in finding.where] == [], "each finding is told once"
