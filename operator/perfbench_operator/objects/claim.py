"""The PersistentVolumeClaim of the results. It has no owner, so that results outlive their benchmark.

With `results.retain: Delete` it belongs to one benchmark, as its name says, and is deleted with it.
"""

from perfbench_api.resource import PerfBenchmark
from perfbench_operator.kube import Data, Resource
from perfbench_operator.objects.identity import MANAGED_BY, MANAGED_LABEL, NAME_LABEL, UID_LABEL, Identity


def claim_name(benchmark: PerfBenchmark, identity: Identity) -> str:
    """Name of the claim that results are written to."""
    results = benchmark.spec.results
    if results.claim:
        return results.claim.name
    return f"{identity.child}-results" if results.retain == "Delete" else identity.claim


def build_claim(benchmark: PerfBenchmark, identity: Identity) -> Resource | None:
    """The claim to create for the results; None when the benchmark names an existing one."""
    results = benchmark.spec.results
    if results.claim:
        return None
    is_own = results.retain == "Delete"
    labels = (
        identity.labels() if is_own else {key: value for key, value in identity.labels().items() if key != UID_LABEL}
    )
    owners = {"ownerReferences": identity.metadata()["ownerReferences"]} if is_own else {}
    spec: Resource = {
        "accessModes": [results.access_mode],
        "resources": {"requests": {"storage": results.storage}},
    }
    if results.storage_class is not None:
        spec["storageClassName"] = results.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": claim_name(benchmark, identity),
            "namespace": identity.namespace,
            "labels": labels | {"app.kubernetes.io/component": "results"},
            **owners,
        },
        "spec": spec,
    }


def is_ours(claim: Data, identity: Identity) -> bool:
    """Whether the operator created a claim for a benchmark of this name."""
    labels = claim["metadata"].get("labels") or {}
    return labels.get(MANAGED_LABEL) == MANAGED_BY and labels.get(NAME_LABEL) == identity.name
