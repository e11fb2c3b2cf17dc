"""From a benchmark to its Kubernetes objects: a ConfigMap, maybe a PersistentVolumeClaim, and a Job. Pure.

ConfigMap and Job are called <name>-<8 of the uid>, so a benchmark of the same name can be made while its predecessor's
objects are still going. Owner references delete them. The claim has no owner and so stays; its name has no uid, so the
results of all benchmarks of one name lie beside each other in it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import yaml

from perfbench_api import GROUP, KIND, VERSION
from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Authority, Dataset, MetricsSource, PluginSource, Runner, ServiceRef, Target
from perfbench_operator.settings import Settings

Data = dict[str, Any]

MANAGED_BY = "perfbench-operator"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
NAME_LABEL = f"{GROUP}/benchmark"
UID_LABEL = f"{GROUP}/uid"
SELECTOR = f"{MANAGED_LABEL}={MANAGED_BY}"
CONFIG = "/etc/perfbench"
DATA = "/data"
RESULTS = "/results"
PORT = 9090
CONTAINER = "runner"
WAIT_FOR_S = 300.0
"""How long a runner waits for its target where the benchmark does not say."""
STORING_S = 30
"""What a runner may take, after the requests under way have ended, to store its results."""
USER = 65532
_OWN_EXITS = (1, 2, 130)
"""Exit codes of a runner that ended by its own decision: starting it again would not help."""
_UNMOVED = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""A load generator that is moved has measured nothing."""


@dataclass(frozen=True)
class Sources:
    """What ConfigMaps in the cluster hold, as far as the objects depend on it: names of keys, by ConfigMap."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Identity:
    """Which benchmark objects belong to."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Identity":
        """The identity of a PerfBenchmark as Kubernetes has it."""
        meta = body["metadata"]
        return cls(meta["namespace"], meta["name"], meta["uid"])

    @property
    def child(self) -> str:
        """Name of its Job and ConfigMap."""
        return f"{self.name}-{self.uid[:8]}"

    @property
    def claim(self) -> str:
        """Name of the claim that is made for it."""
        return f"{self.name}-results"

    @property
    def folder(self) -> str:
        """Folder of its results in the claim."""
        return f"{self.namespace}/{self.name}/{self.uid}"

    def labels(self) -> dict[str, str]:
        """Labels of its objects."""
        return {
            "app.kubernetes.io/name": "perfbench",
            "app.kubernetes.io/component": "runner",
            MANAGED_LABEL: MANAGED_BY,
            NAME_LABEL: self.name,
            UID_LABEL: self.uid,
        }

    def metadata(self) -> Data:
        """Metadata of an object that goes when the benchmark goes."""
        owner = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
        return {
            "name": self.child,
            "namespace": self.namespace,
            "labels": self.labels(),
            "ownerReferences": [owner],
        }

    def owns(self, child: Mapping[str, Any]) -> bool:
        """Whether an object belongs to this very benchmark, not to an earlier one of its name."""
        return any(owner.get("uid") == self.uid for owner in child["metadata"].get("ownerReferences", []))


class ObjectsError(ValueError):
    """The benchmark cannot be run as it is written; the message says why and what to do."""


def needed_config_maps(benchmark: PerfBenchmark) -> list[str]:
    """ConfigMaps whose keys must be known to make the objects."""
    names = [plugin.config_map.name for plugin in benchmark.spec.plugins if plugin.config_map]
    dataset = benchmark.spec.dataset
    if dataset.config_map and dataset.path is None:
        names.append(dataset.config_map.name)
    return list(dict.fromkeys(names))


def claim_name(benchmark: PerfBenchmark, identity: Identity) -> str:
    """Name of the claim that results are written to."""
    given = benchmark.spec.results.claim
    return given.name if given else identity.claim


# The manifest that the runner gets


def manifest(benchmark: PerfBenchmark, identity: Identity, sources: Sources, settings: Settings) -> Data:
    """The benchmark as the runner reads it: Services are URLs, objects are files, nothing about pods."""
    resolved = benchmark.model_copy(deep=True)
    spec = resolved.spec
    spec.target = _target(spec.target, identity.namespace)
    spec.dataset = _dataset(spec.dataset, sources)
    spec.plugins = _plugins(spec.plugins, sources)
    linger_s = settings.runner_linger_s if spec.runner.linger is None else spec.runner.linger
    spec.runner = Runner(workers=spec.runner.workers, linger=linger_s)
    data = resolved.dump()
    data["metadata"] = {"name": identity.name, "namespace": identity.namespace, "uid": identity.uid}
    return data


def service_url(service: ServiceRef, namespace: str) -> str:
    """The address of a Service inside the cluster."""
    path = f"/{service.path.lstrip('/')}" if service.path else ""
    return f"{service.scheme}://{service.name}.{service.namespace or namespace}.svc:{service.port}{path}"


def _target(target: Target, namespace: str) -> Target:
    target = target.model_copy()
    if target.service:
        target.url, target.service = service_url(target.service, namespace), None
    if target.wait_for is None:
        target.wait_for = WAIT_FOR_S
    if isinstance(target.metrics, list):
        target.metrics = [_metrics_source(source, namespace) for source in target.metrics]
    if target.tls.ca and not target.tls.ca.file:
        target.tls = target.tls.model_copy(update={"ca": Authority(file=f"{CONFIG}/ca/ca.crt")})
    return target


def _metrics_source(source: MetricsSource, namespace: str) -> MetricsSource:
    if not source.service:
        return source
    service = source.service if source.service.path else source.service.model_copy(update={"path": "/metrics"})
    return source.model_copy(update={"url": service_url(service, namespace), "service": None})


def _dataset(dataset: Dataset, sources: Sources) -> Dataset:
    if dataset.config_map and dataset.claim:
        raise ObjectsError("dataset: configMap and claim exclude each other; give one of them")
    if not dataset.config_map and not dataset.claim:
        return dataset
    path = dataset.path or (_only_key(dataset.config_map.name, sources) if dataset.config_map else "")
    return dataset.model_copy(
        update={"path": str(PurePosixPath(DATA) / path), "config_map": None, "claim": None},
    )


def _only_key(config_map: str, sources: Sources) -> str:
    keys = sources.keys[config_map]
    if len(keys) != 1:
        raise ObjectsError(
            f"dataset.path: missing; ConfigMap {config_map} holds {', '.join(keys) or 'nothing'}: name one of its keys"
        )
    return keys[0]


def _plugins(plugins: list[PluginSource], sources: Sources) -> list[PluginSource]:
    found: list[PluginSource] = []
    for index, plugin in enumerate(plugins):
        found += [plugin] if plugin.config_map is None else _plugin_files(index, plugin.config_map.name, sources)
    return found


def _plugin_files(index: int, config_map: str, sources: Sources) -> list[PluginSource]:
    files = [key for key in sources.keys[config_map] if key.endswith(".py")]
    if not files:
        raise ObjectsError(f"plugins[{index}]: ConfigMap {config_map} has no key that ends with .py")
    return [PluginSource(file=f"{CONFIG}/plugins/{index}/{key}") for key in files]


def config_map(benchmark: PerfBenchmark, identity: Identity, sources: Sources, settings: Settings) -> Data:
    """The ConfigMap that carries the manifest."""
    text = yaml.safe_dump(manifest(benchmark, identity, sources, settings), sort_keys=False, allow_unicode=True)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": identity.metadata(),
        "immutable": True,
        "data": {"manifest.yaml": text},
    }


def claim(benchmark: PerfBenchmark, identity: Identity) -> Data | None:
    """The claim to make for the results; None when the benchmark names one. Nothing owns it: results outlive benchmarks."""
    results = benchmark.spec.results
    if results.claim:
        return None
    labels = {key: value for key, value in identity.labels().items() if key != UID_LABEL}
    spec: Data = {
        "accessModes": [results.access_mode],
        "resources": {"requests": {"storage": results.storage}},
    }
    if results.storage_class is not None:
        spec["storageClassName"] = results.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": identity.claim,
            "namespace": identity.namespace,
            "labels": labels | {"app.kubernetes.io/component": "results"},
        },
        "spec": spec,
    }


def made_by_us(found: Mapping[str, Any], identity: Identity) -> bool:
    """Whether a claim was made for a benchmark of this name."""
    labels = found["metadata"].get("labels") or {}
    return labels.get(MANAGED_LABEL) == MANAGED_BY and labels.get(NAME_LABEL) == identity.name


# The Job


def job(benchmark: PerfBenchmark, identity: Identity, sources: Sources, settings: Settings) -> Data:
    """The Job of one runner. It never has two runners at once: they would load the target twice."""
    runner = benchmark.spec.runner
    template = _pod(benchmark, identity, sources, settings)
    policy = {
        "rules": [
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(_OWN_EXITS)},
            }
        ]
    }
    spec: Data = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": runner.backoff_limit,
        "podFailurePolicy": policy,
        "podReplacementPolicy": "Failed",
        "template": template,
    }
    if runner.active_deadline is not None:
        # The pod's own deadline comes first: the pod then stays, with its last word. The Job's is for pods that never start.
        deadline_s = math.ceil(runner.active_deadline)
        template["spec"]["activeDeadlineSeconds"] = deadline_s
        spec["activeDeadlineSeconds"] = deadline_s + template["spec"]["terminationGracePeriodSeconds"] + 60
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": identity.metadata(), "spec": spec}


def _pod(benchmark: PerfBenchmark, identity: Identity, sources: Sources, settings: Settings) -> Data:
    runner = benchmark.spec.runner
    secrets = [secret.name for secret in runner.image_pull_secrets] or settings.runner_pull_secrets
    spec: Data = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(benchmark.spec.load.grace_period) + STORING_S,
        "securityContext": runner.pod_security_context or _pod_security(),
        "imagePullSecrets": [{"name": name} for name in secrets] or None,
        "nodeSelector": runner.node_selector,
        "affinity": runner.affinity,
        "tolerations": runner.tolerations,
        "topologySpreadConstraints": runner.topology_spread_constraints,
        "priorityClassName": runner.priority_class_name,
        "runtimeClassName": runner.runtime_class_name,
        "serviceAccountName": runner.service_account_name,
        "containers": [_container(benchmark, identity, settings)],
        "volumes": [*_volumes(benchmark, identity, sources), *(runner.volumes or [])],
    }
    return {
        "metadata": {
            "labels": {**settings.runner_labels, **(runner.labels or {}), **identity.labels()},
            "annotations": {**_UNMOVED, **settings.runner_annotations, **(runner.annotations or {})},
        },
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def _pod_security() -> Data:
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Data:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _container(benchmark: PerfBenchmark, identity: Identity, settings: Settings) -> Data:
    runner = benchmark.spec.runner
    command = [
        *("perfbench", "run", f"{CONFIG}/manifest.yaml", "--results-dir", f"{RESULTS}/{identity.folder}"),
        *("--listen", f":{PORT}", "--termination-message", "/dev/termination-log"),
    ]
    container = {
        "name": CONTAINER,
        "image": runner.image or settings.runner_image,
        "imagePullPolicy": runner.image_pull_policy or settings.runner_pull_policy,
        "command": command,
        "env": [*_secret_env(benchmark.spec.target), *(runner.env or [])],
        "envFrom": runner.env_from,
        "ports": [{"name": "metrics", "containerPort": PORT}],
        "resources": runner.resources or dict(settings.runner_resources),
        "securityContext": runner.security_context or _container_security(),
        "terminationMessagePath": "/dev/termination-log",
        # A runner that dies without a last word leaves the end of its log there.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*_mounts(benchmark), *(runner.volume_mounts or [])],
    }
    return {key: value for key, value in container.items() if value is not None}


def _secret_env(target: Target) -> list[Data]:
    """Secrets become environment variables of the container, by reference: the operator never reads one."""
    found = {header.env: header.secret_key_ref for header in target.headers}
    key = target.api_key
    if key and key.secret_key_ref:
        found = {key.env or "PERFBENCH_API_KEY": key.secret_key_ref, **found}
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}
        for name, ref in found.items()
        if ref
    ]


def _mounts(benchmark: PerfBenchmark) -> list[Data]:
    mounts: list[Data] = [
        {"name": "config", "mountPath": CONFIG, "readOnly": True},
        {"name": "results", "mountPath": RESULTS},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 an emptyDir of the pod
    ]
    if benchmark.spec.dataset.config_map or benchmark.spec.dataset.claim:
        mounts.append({"name": "dataset", "mountPath": DATA, "readOnly": True})
    return mounts


def _volumes(benchmark: PerfBenchmark, identity: Identity, sources: Sources) -> list[Data]:
    dataset = benchmark.spec.dataset
    volumes: list[Data] = [
        # One projected volume: a mount inside a mount that is read-only cannot be made.
        {"name": "config", "projected": {"sources": _config_sources(benchmark, identity, sources)}},
        {"name": "results", "persistentVolumeClaim": {"claimName": claim_name(benchmark, identity)}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if dataset.config_map:
        volumes.append({"name": "dataset", "configMap": {"name": dataset.config_map.name}})
    elif dataset.claim:
        volumes.append({"name": "dataset", "persistentVolumeClaim": {"claimName": dataset.claim.name}})
    return volumes


def _config_sources(benchmark: PerfBenchmark, identity: Identity, sources: Sources) -> list[Data]:
    found: list[Data] = [{"configMap": {"name": identity.child}}]
    for index, plugin in enumerate(benchmark.spec.plugins):
        if plugin.config_map:
            name = plugin.config_map.name
            items = [{"key": key, "path": f"plugins/{index}/{key}"} for key in sources.keys[name]]
            found.append({"configMap": {"name": name, "items": items}})
    authority = benchmark.spec.target.tls.ca
    for kind, ref in (
        ("secret", authority and authority.secret_key_ref),
        ("configMap", authority and authority.config_map_key_ref),
    ):
        if ref:
            found.append({kind: {"name": ref.name, "items": [{"key": ref.key, "path": "ca/ca.crt"}]}})
    return found
