"""What a run of several runners has beside its leader's Job: an Indexed Job of workers, a Service to find the leader, a token.

The leader alone mounts the claim, so ReadWriteOnce is enough on any number of nodes; workers hand their results over to it.
The token is made here and never read again: the operator has no right to.
"""

from base64 import b64encode

from perfbench_api.resource import PerfBenchmark
from perfbench_operator.kube import Resource
from perfbench_operator.objects.config_map import ConfigMapKeys
from perfbench_operator.objects.identity import Identity
from perfbench_operator.objects.job import OWN_EXIT_CODES, build_pod, runner_env
from perfbench_operator.objects.kueue import kueue_labels, queue_pods
from perfbench_operator.objects.layout import CONTAINER, RUNNERS_PORT, TOKEN_KEY
from perfbench_operator.settings import Settings


def build_workers(
    benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys, settings: Settings, token: str
) -> list[Resource]:
    """Secret, Service and Job of the workers, in the order in which they are created; none for a run of one runner."""
    workers = benchmark.spec.runner.replicas - 1
    if not workers:
        return []
    return [
        _secret(identity, token),
        _service(identity),
        _job(benchmark, identity, keys, settings, workers),
    ]


def _secret(identity: Identity, token: str) -> Resource:
    """The run's token: whoever has it speaks as one of its runners."""
    data = {TOKEN_KEY: b64encode(token.encode()).decode()}
    metadata = identity.metadata() | {"name": identity.child}
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "immutable": True, "data": data
    }  # fmt: skip


def _service(identity: Identity) -> Resource:
    """A name for the leader's pod, also before it is ready: it waits for its workers."""
    spec = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": identity.labels(),
        "ports": [{"name": "runners", "port": RUNNERS_PORT}],
    }
    metadata = identity.metadata() | {"name": identity.leader}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _job(
    benchmark: PerfBenchmark, identity: Identity, keys: ConfigMapKeys, settings: Settings, workers: int
) -> Resource:
    """A pod for each worker. One that has ended is not started again: nobody can join a run once it has left it."""
    template = build_pod(benchmark, identity, keys, settings)
    metadata = template["metadata"]
    metadata["labels"]["app.kubernetes.io/component"] = "worker"
    # The leader's page speaks for the whole run: with a worker's beside it, that part would be counted twice.
    metadata["annotations"] = {
        key: value for key, value in metadata["annotations"].items() if not key.startswith(_SCRAPE)
    }
    queue_pods(template, kueue_labels(benchmark, settings), identity, workers + 1)
    spec = template["spec"]
    # Its own results are with the leader when it ends.
    spec["volumes"] = [
        {"name": "results", "emptyDir": {}} if volume["name"] == "results" else volume for volume in spec["volumes"]
    ]
    (container,) = spec["containers"]
    container["env"] = [
        *runner_env(identity),
        {"name": "PERFBENCH_LEADER", "value": f"http://{identity.leader}:{RUNNERS_PORT}"},
        *(given for given in container["env"] if given["name"] not in _OF_THE_LEADER),
    ]
    container["ports"] = [port for port in container["ports"] if port["name"] != "runners"]
    rules = [
        # Before it has reported in, a worker may begin again elsewhere; later the leader refuses the second one.
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
        # Not FailJob: it would end the others while they hand over what they have measured.
        {
            "action": "FailIndex",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": list(OWN_EXIT_CODES)},
        },
    ]
    job: Resource = {
        "completionMode": "Indexed",
        "completions": workers,
        "parallelism": workers,
        "backoffLimitPerIndex": 0,
        "podFailurePolicy": {"rules": rules},
        "podReplacementPolicy": "Failed",
        "template": template,
    }
    if "activeDeadlineSeconds" in spec:
        job["activeDeadlineSeconds"] = spec["activeDeadlineSeconds"] + spec["terminationGracePeriodSeconds"] + 60
    metadata = identity.metadata() | {"name": identity.workers}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job}


_SCRAPE = "prometheus.io/"
"""Annotations by which a Prometheus without the Prometheus operator finds pages."""
_OF_THE_LEADER = ("PERFBENCH_RUNNERS_LISTEN", "PERFBENCH_RUN_TOKEN", "PERFBENCH_NODE")
"""Variables that every runner's container has, of which workers have others, or the same again."""
