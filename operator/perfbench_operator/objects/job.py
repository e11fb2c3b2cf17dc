"""The Job of a runner, and its pod."""

import math
from collections.abc import Mapping

from perfbench_api.resource import PerfBenchmark
from perfbench_api.sections import Target
from perfbench_api.sections.references import KeyRef
from perfbench_operator.kube import Resource
from perfbench_operator.objects import one_target
from perfbench_operator.objects.claim import claim_name
from perfbench_operator.objects.config_map import ConfigMapKeys, mounted_datasets
from perfbench_operator.objects.identity import UID_LABEL, Identity
from perfbench_operator.objects.kueue import kueue_labels, queue_job, queue_pods, without_kueue
from perfbench_operator.objects.layout import (
    CONFIG,
    CONTAINER,
    PORT,
    RESULTS,
    RUNNERS_PORT,
    TERMINATION_LOG,
    TOKEN_KEY,
)
from perfbench_operator.settings import Settings

STORING_S = 30
"""How long a runner may take to store its results after the last requests have ended."""
OWN_EXIT_CODES = (1, 2, 130)
"""Exit codes of a runner that ended by its own decision: starting it again would not help."""
_NEEDED_VOLUMES = ("results", "tmp")
"""Volumes of a pod that only looks for what is stored."""
_DO_NOT_EVICT = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
"""A run whose load generator is moved to another node is lost."""


_POD_NAME = {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
"""Every attempt is a pod of its own, and has a folder of its own."""


def build_job(benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys, settings: Settings) -> Resource:
    """The Job of the leader, or only runner. It never runs two pods at once: they would load the target twice."""
    runner = benchmark.spec.runner
    is_alone = runner.replicas == 1
    template = build_pod(benchmark, identity, keys, settings)
    policy = {
        "rules": [
            # A drain or a preemption is no failure of the run: it begins again in another pod, and folder. Of several
            # runners the others have ended with their leader, and no run begins again without them.
            {"action": "Ignore" if is_alone else "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(OWN_EXIT_CODES)},
            },
        ]
    }
    spec: Resource = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": runner.backoff_limit if is_alone else 0,
        "podFailurePolicy": policy,
        "podReplacementPolicy": "Failed",
        "template": template,
    }
    if runner.active_deadline is not None:
        # The pod's own deadline comes first: the pod then stays, and with it its termination message. The Job's deadline
        # is for pods that never start.
        deadline_s = math.ceil(runner.active_deadline)
        template["spec"]["activeDeadlineSeconds"] = deadline_s
        spec["activeDeadlineSeconds"] = deadline_s + template["spec"]["terminationGracePeriodSeconds"] + 60
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": identity.metadata(), "spec": spec}
    labels = kueue_labels(benchmark, settings)
    if is_alone:
        queue_job(job, labels)
    else:
        queue_pods(template, labels, identity, runner.replicas)
    return job


def build_recovery(benchmark: PerfBenchmark, identity: Identity, settings: Settings) -> Resource:
    """A Job that looks on the claim for what a runner has stored that left no termination message, and tells it as its own."""
    template = build_pod(benchmark, identity, {}, settings)
    spec = template["spec"]
    folder = f"{RESULTS}/{identity.folder}"
    container = {
        key: value
        for key, value in spec["containers"][0].items()
        if key in ("name", "image", "imagePullPolicy", "securityContext", "terminationMessagePath", "resources")
    }
    container["command"] = ["perfbench", "recover", folder, "--termination-message", TERMINATION_LOG]
    container["volumeMounts"] = [mount for mount in _mounts(benchmark) if mount["name"] in _NEEDED_VOLUMES]
    spec["containers"] = [container]
    spec["volumes"] = [volume for volume in spec["volumes"] if volume["name"] in _NEEDED_VOLUMES]
    template["metadata"]["labels"]["app.kubernetes.io/component"] = "recovery"
    metadata = identity.metadata() | {"name": identity.recovery}
    limits = {"backoffLimit": 1, "activeDeadlineSeconds": math.ceil(settings.start_timeout_s)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {**limits, "template": template}}


def build_pod(benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys, settings: Settings) -> Resource:
    """The template of a runner's pod, as the leader's, or only, runner has it."""
    runner = benchmark.spec.runner
    secrets = [secret.name for secret in runner.image_pull_secrets] or settings.runner_pull_secrets
    spec: Resource = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(benchmark.spec.load.grace_period) + STORING_S,
        "securityContext": runner.pod_security_context or _pod_security(settings.runner_user),
        "imagePullSecrets": [{"name": name} for name in secrets] or None,
        "nodeSelector": runner.node_selector,
        "affinity": runner.affinity,
        "tolerations": runner.tolerations,
        "topologySpreadConstraints": runner.topology_spread_constraints or _spread(runner.replicas, identity),
        "priorityClassName": runner.priority_class_name,
        "runtimeClassName": runner.runtime_class_name,
        "serviceAccountName": runner.service_account_name,
        "containers": [_container(benchmark, identity, settings)],
        "volumes": [*_volumes(benchmark, identity, keys), *(runner.volumes or [])],
    }
    return {
        "metadata": {
            "labels": {**without_kueue({**settings.runner_labels, **(runner.labels or {})}), **identity.labels()},
            "annotations": {**_DO_NOT_EVICT, **settings.runner_annotations, **(runner.annotations or {})},
        },
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


def _spread(replicas: int, identity: Identity) -> list[Resource] | None:
    """Several runners go to different nodes if there are any: on one they would take each other's CPUs."""
    if replicas == 1:
        return None
    of_the_run = {"matchLabels": {UID_LABEL: identity.uid}}
    where = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    return [{"maxSkew": 1, **where, "labelSelector": of_the_run}]


def runner_env(identity: Identity) -> list[Resource]:
    """What each of several runners is told: the run's token, and its node."""
    return [
        {
            "name": "PERFBENCH_RUN_TOKEN",
            "valueFrom": {"secretKeyRef": {"name": identity.child, "key": TOKEN_KEY}},
        },
        {"name": "PERFBENCH_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    ]


def _leader_env(replicas: int, identity: Identity) -> list[Resource]:
    """What makes a runner the leader of others, that the operator starts."""
    if replicas == 1:
        return []
    return [*runner_env(identity), {"name": "PERFBENCH_RUNNERS_LISTEN", "value": f":{RUNNERS_PORT}"}]


def _pod_security(user: int | None) -> Resource:
    """What Pod Security "restricted" requires; without a user where the cluster gives one itself, as OpenShift does."""
    ids = {} if user is None else {"runAsUser": user, "runAsGroup": user, "fsGroup": user}
    return {
        "runAsNonRoot": True,
        **ids,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Resource:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _container(benchmark: PerfBenchmark, identity: Identity, settings: Settings) -> Resource:
    runner = benchmark.spec.runner
    command = [
        *("perfbench", "run", f"{CONFIG}/manifest.yaml", "--results-dir", f"{RESULTS}/{identity.folder}/$(POD_NAME)"),
        *("--listen", f":{PORT}", "--termination-message", TERMINATION_LOG),
        "--no-fail",  # the verdict is a fact of its own: a Job that fails has not run
    ]
    container = {
        "name": CONTAINER,
        "image": runner.image or settings.runner_image,
        "imagePullPolicy": runner.image_pull_policy or settings.runner_pull_policy,
        "command": command,
        "env": [
            _POD_NAME,
            *_leader_env(runner.replicas, identity),
            *_secret_env(benchmark.spec.target),
            *(
                each
                for number, one in enumerate(benchmark.spec.targets)
                for each in _env_of(one_target.secrets(one, number))
            ),
            *(runner.env or []),
        ],
        "envFrom": runner.env_from,
        "ports": [
            {"name": "metrics", "containerPort": PORT},
            *([{"name": "runners", "containerPort": RUNNERS_PORT}] if runner.replicas > 1 else []),
        ],
        "resources": runner.resources or dict(settings.runner_resources),
        "securityContext": runner.security_context or _container_security(),
        "terminationMessagePath": TERMINATION_LOG,
        # Without a termination message of the runner, Kubernetes puts the end of its log there.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [*_mounts(benchmark), *(runner.volume_mounts or [])],
    }
    return {key: value for key, value in container.items() if value is not None}


def _secret_env(target: Target) -> list[Resource]:
    """Secrets become environment variables of the container by reference: the operator never reads them."""
    found = {header.variable: header.secret_key_ref for header in target.headers}
    key = target.api_key
    if key and key.secret_key_ref:
        found = {key.env or "PERFBENCH_API_KEY": key.secret_key_ref, **found}
    return _env_of({name: ref for name, ref in found.items() if ref})


def _env_of(secrets: Mapping[str, KeyRef]) -> list[Resource]:
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}
        for name, ref in secrets.items()
    ]


def _mounts(benchmark: PerfBenchmark) -> list[Resource]:
    mounts: list[Resource] = [
        {"name": "config", "mountPath": CONFIG, "readOnly": True},
        {"name": "results", "mountPath": RESULTS},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 an emptyDir of the pod
    ]
    mounts += [
        {"name": name, "mountPath": path, "readOnly": True} for name, (path, _) in mounted_datasets(benchmark).items()
    ]
    return mounts


def _volumes(benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys) -> list[Resource]:
    volumes: list[Resource] = [
        # One projected volume, because nothing can be mounted inside a read-only mount.
        {"name": "config", "projected": {"sources": _config_sources(benchmark, identity, keys)}},
        {"name": "results", "persistentVolumeClaim": {"claimName": claim_name(benchmark, identity)}},
        {"name": "tmp", "emptyDir": {}},
    ]
    for name, (_, dataset) in mounted_datasets(benchmark).items():
        if dataset.config_map:
            volumes.append({"name": name, "configMap": {"name": dataset.config_map.name}})
        elif dataset.claim:
            volumes.append({"name": name, "persistentVolumeClaim": {"claimName": dataset.claim.name}})
    return volumes


def _config_sources(benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys) -> list[Resource]:
    found: list[Resource] = [{"configMap": {"name": identity.child}}]
    for index, plugin in enumerate(benchmark.spec.plugins):
        if plugin.config_map:
            name = plugin.config_map.name
            items = [{"key": key, "path": f"plugins/{index}/{key}"} for key in keys[name]]
            found.append({"configMap": {"name": name, "items": items}})
    authorities = {"ca/ca.crt": benchmark.spec.target.tls.ca}
    for number, one in enumerate(benchmark.spec.targets):
        authorities[one_target.authority(number)] = one.tls.ca if one.tls else None
    for path, authority in authorities.items():
        if authority is None:
            continue
        for kind, ref in (("secret", authority.secret_key_ref), ("configMap", authority.config_map_key_ref)):
            if ref:
                found.append({kind: {"name": ref.name, "items": [{"key": ref.key, "path": path}]}})
    return found
