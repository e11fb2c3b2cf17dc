"""From a spec to Kubernetes objects, as tables of specs and what is made of them."""

from dataclasses import replace
from typing import Any

import pytest
import yaml
from bodies import UID, body

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import Target
from perfbench_operator.objects.address import address
from perfbench_operator.objects.claim import build_claim, is_ours
from perfbench_operator.objects.config_map import ObjectsError, build_config_map
from perfbench_operator.objects.identity import UID_LABEL, Identity
from perfbench_operator.objects.job import build_job, build_recovery
from perfbench_operator.objects.workers import build_workers
from perfbench_operator.settings import Settings

NAME = "chat-0a1b2c3d"
SETTINGS = Settings(
    runner_image="runner:1",
    runner_resources={"requests": {"cpu": "1"}},
    runner_pull_secrets=("pull",),
    runner_annotations={"prometheus.io/scrape": "true", "c": "of the operator"},
    runner_labels={"team": "search", "a": "of the operator"},
    runner_linger_s=10.0,
)
KEYS = {"mine": ("api.py", "words.txt"), "one": ("prompts.jsonl",), "two": ("a", "b"), "none": ()}


def read(spec: dict[str, Any] | None = None) -> tuple[PerfBenchmark, Identity]:
    data = body(spec)
    return PerfBenchmark.read(data), Identity.of(data)


def manifest(spec: dict[str, Any]) -> dict[str, Any]:
    text = build_config_map(*read(spec), KEYS, SETTINGS)["data"]["manifest.yaml"]
    found: dict[str, Any] = yaml.safe_load(text)["spec"]
    return found


def job(spec: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = build_job(*read(spec), KEYS, SETTINGS)["spec"]
    return found


def pod(spec: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = job(spec)["template"]["spec"]
    return found


def container(spec: dict[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = pod(spec)["containers"][0]
    return found


def target(**given: Any) -> dict[str, Any]:
    return {"target": {"url": "http://x", "model": "m", **given}}


@pytest.mark.parametrize(
    ("service", "url"),
    [
        ({"name": "llama"}, "http://llama.models.svc:80"),
        (
            {"name": "llama", "port": 8000, "path": "v1/chat/completions"},
            "http://llama.models.svc:8000/v1/chat/completions",
        ),
        ({"name": "llama", "namespace": "other", "scheme": "https"}, "https://llama.other.svc:80"),
    ],
)
def test_service_becomes_a_url(service: dict[str, Any], url: str) -> None:
    found = manifest({"target": {"service": service, "model": "m"}})["target"]
    assert (found["url"], "service" in found) == (url, False)


@pytest.mark.parametrize(
    "service",
    [
        {"name": "evil.example/#"},
        {"name": "a.other"},
        {"name": "a", "namespace": "evil.example/"},
        {"name": "user@evil"},
    ],
)
def test_nothing_but_names_becomes_part_of_a_url(service: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"target\.service\.name"):
        read({"target": {"service": service}})


def test_service_with_metrics_becomes_a_url() -> None:
    found = manifest(target(metrics=[{"service": {"name": "llama", "port": 9000}}, {"url": "http://y/m"}]))
    assert [source["url"] for source in found["target"]["metrics"]] == [
        "http://llama.models.svc:9000/metrics",
        "http://y/m",
    ]


@pytest.mark.parametrize(("given", "expected"), [({}, "5m"), ({"waitFor": "10s"}, "10s"), ({"waitFor": "0s"}, "0s")])
def test_runners_in_a_cluster_wait_for_their_target(given: dict[str, Any], expected: str) -> None:
    assert manifest(target(**given))["target"]["waitFor"] == expected


def test_plugins_become_files_beside_what_they_need() -> None:
    spec = {"plugins": [{"module": "m"}, {"configMap": {"name": "mine"}}]}
    assert [item for plugin in manifest(spec)["plugins"] for item in plugin.items()] == [
        ("module", "m"),
        ("file", "/etc/perfbench/plugins/1/api.py"),
    ]
    sources = pod(spec)["volumes"][0]["projected"]["sources"]
    assert sources[0] == {"configMap": {"name": NAME}}
    assert [item["path"] for item in sources[1]["configMap"]["items"]] == ["plugins/1/api.py", "plugins/1/words.txt"]


@pytest.mark.parametrize(
    ("dataset", "path"),
    [
        ({"configMap": {"name": "one"}}, "/data/prompts.jsonl"),
        ({"configMap": {"name": "two"}, "path": "b"}, "/data/b"),
        ({"claim": {"name": "c"}, "path": "deep/file.jsonl"}, "/data/deep/file.jsonl"),
        ({"path": "/opt/in-the-image.jsonl"}, "/opt/in-the-image.jsonl"),
    ],
)
def test_dataset_becomes_a_path(dataset: dict[str, Any], path: str) -> None:
    found = manifest({"dataset": dataset})["dataset"]
    assert found["path"] == path
    assert not {"configMap", "claim"} & found.keys()
    mounted = [mount for mount in container({"dataset": dataset})["volumeMounts"] if mount["name"] == "dataset"]
    assert len(mounted) == (len(dataset) > 0 and not path.startswith("/opt"))


def test_each_workloads_dataset_is_mounted_in_a_folder_of_its_own() -> None:
    workloads = [
        {"name": "a", "dataset": {"configMap": {"name": "one"}}},
        {"name": "b"},
        {"name": "c", "dataset": {"claim": {"name": "big"}, "path": "x/y.jsonl"}},
    ]
    spec = {"workloads": workloads, "dataset": {"claim": {"name": "big"}, "path": "z.jsonl"}}
    found = manifest(spec)
    assert found["dataset"]["path"] == "/data/z.jsonl"
    paths = [(each.get("dataset") or {}).get("path") for each in found["workloads"]]
    assert (paths[0].startswith("/data-0/"), paths[1:]) == (True, [None, "/data-2/x/y.jsonl"])
    mounted = {mount["name"]: mount["mountPath"] for mount in container(spec)["volumeMounts"]}
    assert {name: path for name, path in mounted.items() if name.startswith("dataset")} == {
        "dataset": "/data", "dataset-0": "/data-0", "dataset-2": "/data-2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"plugins": [{"configMap": {"name": "none"}}]}, r"plugins\[0\]: ConfigMap none has no key that ends with .py"),
        ({"dataset": {"configMap": {"name": "two"}}}, "dataset.path: missing; ConfigMap two holds a, b"),
        ({"dataset": {"configMap": {"name": "two"}, "claim": {"name": "c"}}}, "configMap and claim exclude each other"),
    ],
)
def test_a_spec_that_cannot_be_run_says_why(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ObjectsError, match=message):
        manifest(spec)


def test_secrets_are_referred_to_and_never_copied() -> None:
    spec = target(
        apiKey={"secretKeyRef": {"name": "s", "key": "k"}},
        headers=[{"name": "X-Auth", "secretKeyRef": {"name": "s", "key": "h"}}, {"name": "X-Plain", "value": "p"}],
    )
    assert container(spec)["env"][1:] == [
        {"name": "PERFBENCH_API_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "PERFBENCH_HEADER_X_AUTH", "valueFrom": {"secretKeyRef": {"name": "s", "key": "h"}}},
    ]


@pytest.mark.parametrize(("field", "kind"), [("secretKeyRef", "secret"), ("configMapKeyRef", "configMap")])
def test_authority_becomes_a_file(field: str, kind: str) -> None:
    spec = target(tls={"ca": {field: {"name": "ca", "key": "root.pem"}}})
    assert manifest(spec)["target"]["tls"]["ca"] == {"file": "/etc/perfbench/ca/ca.crt"}
    source = pod(spec)["volumes"][0]["projected"]["sources"][-1]
    assert source[kind] == {"name": "ca", "items": [{"key": "root.pem", "path": "ca/ca.crt"}]}


TARGETS: dict[str, Any] = {
    "target": {"model": "m", "apiKey": {"secretKeyRef": {"name": "common", "key": "k"}}},
    "targets": [
        {"name": "a", "service": {"name": "one", "port": 8000}},
        {
            "name": "b",
            "url": "https://b",
            "apiKey": {"secretKeyRef": {"name": "own", "key": "k"}},
            "headers": [
                {"name": "X-Auth", "secretKeyRef": {"name": "own", "key": "h"}},
                {"name": "X-Plain", "value": "p"},
            ],
            "tls": {"ca": {"secretKeyRef": {"name": "ca", "key": "root.pem"}}},
        },
        {"name": "c", "mock": {}},
    ],
}


def test_each_of_several_targets_has_its_own_address_secrets_and_authority() -> None:
    a, b, c = manifest(TARGETS)["targets"]
    assert a["url"] == "http://one.models.svc:8000"
    assert "service" not in a
    assert b["apiKey"] == {"env": "PERFBENCH_TARGET_1_API_KEY"}
    assert [header.get("env") for header in b["headers"]] == ["PERFBENCH_TARGET_1_HEADER_X_AUTH", None]
    assert b["tls"]["ca"] == {"file": "/etc/perfbench/ca-1/ca.crt"}
    assert "url" not in c
    assert container(TARGETS)["env"][1:] == [
        {"name": "PERFBENCH_API_KEY", "valueFrom": {"secretKeyRef": {"name": "common", "key": "k"}}},
        {"name": "PERFBENCH_TARGET_1_API_KEY", "valueFrom": {"secretKeyRef": {"name": "own", "key": "k"}}},
        {"name": "PERFBENCH_TARGET_1_HEADER_X_AUTH", "valueFrom": {"secretKeyRef": {"name": "own", "key": "h"}}},
    ]
    source = pod(TARGETS)["volumes"][0]["projected"]["sources"][-1]
    assert source["secret"] == {"name": "ca", "items": [{"key": "root.pem", "path": "ca-1/ca.crt"}]}


def test_the_runner_reads_the_manifest_of_several_targets() -> None:
    text = build_config_map(*read(TARGETS), KEYS, SETTINGS)["data"]["manifest.yaml"]
    a, b, c = (part.target for part in PerfBenchmark.read(yaml.safe_load(text)).spec.parts())
    assert (a.url, b.url, c.url) == ("http://one.models.svc:8000", "https://b", None)
    assert [each.api_key.env if each.api_key else None for each in (a, b)] == [None, "PERFBENCH_TARGET_1_API_KEY"]
    assert [each.wait_for for each in (a, b, c)] == [300.0] * 3


def test_manifest_says_nothing_of_pods() -> None:
    runner = {"workers": 2, "linger": "5s", "env": [{"name": "TOKEN", "value": "t"}], "image": "i"}
    assert "TOKEN" not in str(manifest({"runner": runner}))
    assert manifest({"runner": runner})["runner"]["workers"] == 2


def test_manifest_is_one_that_the_runner_reads() -> None:
    text = build_config_map(*read({"plugins": [{"configMap": {"name": "mine"}}]}), KEYS, SETTINGS)["data"][
        "manifest.yaml"
    ]
    assert PerfBenchmark.read(yaml.safe_load(text)).metadata.name == "chat"


def test_runner_pod_is_restricted_and_has_no_token() -> None:
    spec = pod()
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsUser"] == 65532
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert container()["command"] == [
        *(
            "perfbench",
            "run",
            "/etc/perfbench/manifest.yaml",
            "--results-dir",
            f"/results/models/chat/{UID}/$(POD_NAME)",
        ),
        *("--listen", ":9090", "--termination-message", "/dev/termination-log"),
        "--no-fail",
    ]


def test_a_cluster_may_give_user_ids_itself() -> None:
    """OpenShift refuses others than those that it gave to the namespace."""
    benchmark, identity = read()
    security = build_job(benchmark, identity, {}, replace(SETTINGS, runner_user=None))["spec"]["template"]["spec"]
    assert security["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_operator_s_defaults_give_way_to_the_benchmark() -> None:
    assert (container()["image"], pod()["imagePullSecrets"]) == ("runner:1", [{"name": "pull"}])
    assert container()["resources"] == {"requests": {"cpu": "1"}}
    own = {"runner": {"image": "i", "imagePullSecrets": [{"name": "q"}], "resources": {"limits": {"cpu": "2"}}}}
    assert (container(own)["image"], pod(own)["imagePullSecrets"]) == ("i", [{"name": "q"}])
    assert container(own)["resources"] == {"limits": {"cpu": "2"}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeSelector", {"a": "b"}),
        ("affinity", {"nodeAffinity": {}}),
        ("tolerations", [{"operator": "Exists"}]),
        ("topologySpreadConstraints", [{"maxSkew": 1}]),
        ("priorityClassName", "high"),
        ("runtimeClassName", "kata"),
        ("serviceAccountName", "someone"),
    ],
)
def test_scheduling_is_the_user_s(field: str, value: Any) -> None:
    assert field not in pod()
    assert pod({"runner": {field: value}})[field] == value


def test_labels_of_the_user_never_hide_ours() -> None:
    meta = job({"runner": {"labels": {"a": "b", UID_LABEL: "x"}, "annotations": {"c": "d"}}})["template"]["metadata"]
    assert meta["labels"] == {"team": "search", "a": "b"} | Identity("models", "chat", UID).labels()
    assert meta["annotations"]["c"] == "d"
    assert meta["annotations"]["prometheus.io/scrape"] == "true"


def test_what_is_the_runners_own_business_reaches_it_and_what_is_its_pods_does_not() -> None:
    own = {"workers": 2, "replicas": 3, "onLoss": "continue", "startDeadline": "1m"}
    found = manifest({"runner": {**own, "image": "i", "nodeSelector": {"a": "b"}, "backoffLimit": 2}})["runner"]
    assert found.items() >= own.items()
    assert found["backoffLimit"] == 0
    assert not {"image", "nodeSelector"} & found.keys()


@pytest.mark.parametrize(("runner", "linger"), [({}, "10s"), ({"linger": 0}, "0s"), ({"linger": "1m"}, "1m")])
def test_runners_linger_as_the_operator_says_or_the_benchmark(runner: dict[str, Any], linger: str) -> None:
    assert manifest({"runner": runner})["runner"]["linger"] == linger


def test_grace_period_is_enough_to_store_results() -> None:
    assert pod({"load": {"gracePeriod": "90s"}})["terminationGracePeriodSeconds"] == 120


def test_deadline_of_the_pod_comes_before_that_of_the_job() -> None:
    """A pod that the Job deletes leaves no termination message; one that the kubelet stops does."""
    found = job({"runner": {"activeDeadline": "10m"}, "load": {"gracePeriod": "10s"}})
    assert found["template"]["spec"]["activeDeadlineSeconds"] == 600
    assert found["activeDeadlineSeconds"] == 700
    assert "activeDeadlineSeconds" not in job()


def test_runner_that_ended_by_itself_is_not_started_again() -> None:
    found = job({"runner": {"backoffLimit": 3}})
    assert found["backoffLimit"] == 3
    disrupted, own = found["podFailurePolicy"]["rules"]
    assert (disrupted["action"], disrupted["onPodConditions"]) == ("Ignore", [{"type": "DisruptionTarget"}])
    assert (own["action"], own["onExitCodes"]["values"]) == ("FailJob", [1, 2, 130])
    assert (found["parallelism"], found["podReplacementPolicy"]) == (1, "Failed")


def test_objects_are_deleted_with_their_benchmark_but_the_claim_stays() -> None:
    benchmark, identity = read()
    for item in (
        build_config_map(benchmark, identity, KEYS, SETTINGS),
        build_job(benchmark, identity, KEYS, SETTINGS),
    ):
        assert identity.owns(item)
        assert item["metadata"]["name"] == NAME
        assert "annotations" not in item["metadata"]
    claim = build_claim(benchmark, identity)
    assert claim is not None
    assert not identity.owns(claim)
    assert is_ours(claim, identity)
    assert not identity.owns({"metadata": {"ownerReferences": [{"uid": "of an earlier one"}]}})


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ({}, {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}}),
        (
            {"storage": "1Gi", "storageClass": "", "accessMode": "ReadWriteMany"},
            {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""},
        ),
    ],
)
def test_claim_is_as_asked_for(results: dict[str, Any], expected: dict[str, Any]) -> None:
    claim = build_claim(*read({"results": results}))
    assert claim is not None
    assert claim["spec"] == expected


def test_given_claim_is_used() -> None:
    spec = {"results": {"claim": {"name": "shared"}}}
    assert build_claim(*read(spec)) is None
    assert pod(spec)["volumes"][1] == {"name": "results", "persistentVolumeClaim": {"claimName": "shared"}}


def test_names_fit_for_the_longest_benchmark() -> None:
    identity = Identity("n", "a" * 48, UID)
    assert len(identity.child) + len("-abcde") == 63


def test_every_attempt_has_a_place_of_its_own() -> None:
    assert container()["env"][0] == {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}


@pytest.mark.parametrize(
    ("results", "name", "is_owned"),
    [
        ({}, "chat-results", False),
        ({"retain": "Keep"}, "chat-results", False),
        ({"retain": "Delete"}, f"{NAME}-results", True),
    ],
)
def test_a_claim_that_is_not_kept_belongs_to_one_benchmark(results: dict[str, Any], name: str, is_owned: bool) -> None:
    benchmark, identity = read({"results": results})
    claim = build_claim(benchmark, identity)
    assert claim is not None
    assert (claim["metadata"]["name"], identity.owns(claim)) == (name, is_owned)
    [volume] = [volume for volume in pod({"results": results})["volumes"] if volume["name"] == "results"]
    assert volume["persistentVolumeClaim"]["claimName"] == name


def test_the_job_that_looks_for_results_sees_the_claim_and_no_secret() -> None:
    spec = target(apiKey={"secretKeyRef": {"name": "s", "key": "k"}}) | {"dataset": {"configMap": {"name": "one"}}}
    benchmark, identity = read(spec)
    found = build_recovery(benchmark, identity, SETTINGS)
    template = found["spec"]["template"]
    [container] = template["spec"]["containers"]
    assert container["command"][:3] == ["perfbench", "recover", f"/results/models/chat/{UID}"]
    assert "env" not in container
    assert [volume["name"] for volume in template["spec"]["volumes"]] == ["results", "tmp"]
    assert identity.owns(found)
    assert template["metadata"]["labels"]["app.kubernetes.io/component"] == "recovery"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"service": {"name": "llama", "port": 8000}}, "llama.models:8000"),
        ({"service": {"name": "llama", "namespace": "prod", "port": 8000}}, "llama.prod:8000"),
        ({"url": "http://llama:8000/v1"}, "llama.models:8000"),
        ({"url": "http://llama.models:8000"}, "llama.models:8000"),
        ({"url": "http://llama.models.svc:8000/v1/chat/completions"}, "llama.models:8000"),
        ({"url": "http://LLAMA.models.svc.cluster.local.:8000"}, "llama.models:8000"),
        ({"url": "https://models.example"}, "models.example:443"),
        ({"url": "http://models.example"}, "models.example:80"),
        ({"url": "http://10.0.0.7:8000"}, "10.0.0.7:8000"),
        ({"url": "http://[fd00::7]:8000"}, "fd00::7:8000"),
        ({"url": "http://127.0.0.1:8000"}, None),
        ({"url": "http://localhost:8000"}, None),
        ({"mock": {}}, None),
    ],
)
def test_a_target_has_one_name_however_it_is_written(given: dict[str, Any], expected: str | None) -> None:
    assert address(Target.model_validate(given), "models") == expected


def workers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Secret, Service and Job of the workers."""
    return build_workers(*read(spec), KEYS, SETTINGS, "a token")


def runners(replicas: int, **runner: Any) -> dict[str, Any]:
    return {**target(), "runner": {"replicas": replicas, **runner}}


def test_one_runner_has_nothing_beside_its_job() -> None:
    assert workers(runners(1)) == []
    names = [variable["name"] for variable in container(runners(1))["env"]]
    assert not [name for name in names if "RUNNER" in name or "TOKEN" in name]
    assert "topologySpreadConstraints" not in pod(runners(1))


def test_the_leader_waits_for_workers_and_is_not_started_again() -> None:
    env = {variable["name"]: variable for variable in container(runners(4))["env"]}
    assert env["PERFBENCH_RUNNERS_LISTEN"]["value"] == ":9091"
    assert env["PERFBENCH_RUN_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": NAME, "key": "token"}}
    assert env["PERFBENCH_NODE"]["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert "PERFBENCH_LEADER" not in env
    found = job(runners(4, backoffLimit=3))
    assert (found["completions"], found["backoffLimit"]) == (1, 0)
    assert found["podFailurePolicy"]["rules"][0]["action"] == "FailJob"
    assert job(runners(1, backoffLimit=3))["backoffLimit"] == 3


@pytest.mark.parametrize("replicas", [2, 3, 5, 16, 1000])
def test_workers_are_an_indexed_job_without_the_claim(replicas: int) -> None:
    secret, service, made = workers(runners(replicas))
    assert [item["kind"] for item in (secret, service, made)] == ["Secret", "Service", "Job"]
    spec = made["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", *[replicas - 1] * 2)
    assert (spec["backoffLimitPerIndex"], spec["podReplacementPolicy"]) == (0, "Failed")
    actions = [rule["action"] for rule in spec["podFailurePolicy"]["rules"]]
    assert actions == ["Ignore", "FailIndex"], "others must hand over what they have measured"
    template = spec["template"]
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    assert volumes["results"] == {"name": "results", "emptyDir": {}}
    assert not [volume for volume in volumes.values() if "persistentVolumeClaim" in volume]
    env = {variable["name"]: variable for variable in template["spec"]["containers"][0]["env"]}
    assert env["PERFBENCH_LEADER"]["value"] == f"http://{service['metadata']['name']}:9091"
    assert env["PERFBENCH_RUN_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == secret["metadata"]["name"]
    assert "PERFBENCH_RUNNERS_LISTEN" not in env
    assert len(env) == len(template["spec"]["containers"][0]["env"]), "none twice"


def test_workers_are_restricted_spread_and_told_apart_from_the_leader() -> None:
    *_, made = workers(runners(3))
    template, leader = made["spec"]["template"], job(runners(3))["template"]
    for name in ("securityContext", "automountServiceAccountToken", "topologySpreadConstraints"):
        assert template["spec"][name] == leader["spec"][name]
    (spread,) = leader["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == {UID_LABEL: UID}
    own = [{"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]
    assert pod(runners(3, topologySpreadConstraints=own))["topologySpreadConstraints"] == own
    security = [each["spec"]["containers"][0]["securityContext"] for each in (template, leader)]
    assert security[0] == security[1]
    labels = [each["metadata"]["labels"] for each in (template, leader)]
    assert [one["app.kubernetes.io/component"] for one in labels] == ["worker", "runner"]
    _, service, _ = workers(runners(3))
    assert service["spec"]["selector"].items() <= labels[1].items()
    assert not service["spec"]["selector"].items() <= labels[0].items()
    assert service["spec"]["clusterIP"] == "None"


def test_only_the_leader_s_page_is_scraped_by_annotations() -> None:
    """It speaks for the whole run: with a worker's beside it, that worker's part would be counted twice."""
    spec = runners(3, annotations={"prometheus.io/port": "9090", "team": "search"})
    *_, made = workers(spec)
    of_worker, of_leader = (
        each["metadata"]["annotations"] for each in (made["spec"]["template"], job(spec)["template"])
    )
    assert of_leader["prometheus.io/scrape"] == "true"
    assert of_worker == {key: value for key, value in of_leader.items() if not key.startswith("prometheus.io/")}
    assert of_worker["team"] == "search"


def test_all_that_belongs_to_workers_goes_with_the_benchmark() -> None:
    items = workers(runners(3))
    assert all(item["metadata"]["ownerReferences"][0]["uid"] == UID for item in items)
    secret = items[0]
    assert secret["data"] == {"token": "YSB0b2tlbg=="}
    assert secret["immutable"]


@pytest.mark.parametrize("name", ["9" * 48, "a" * 48, "4090-test", "a"])
def test_names_of_workers_fit_and_begin_as_they_must(name: str) -> None:
    identity = Identity("models", name, UID)
    assert len(f"{identity.workers}-999") <= 63, "a host's name in an Indexed Job"
    assert len(identity.leader) <= 63
    assert identity.leader[0].isalpha()
