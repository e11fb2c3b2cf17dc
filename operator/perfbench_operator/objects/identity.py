"""Which benchmark an object belongs to: names, labels and owner references."""

from dataclasses import dataclass

from perfbench_api import GROUP, KIND, VERSION
from perfbench_operator.kube import Data, Resource

MANAGED_BY = "perfbench-operator"
MANAGED_LABEL = "app.kubernetes.io/managed-by"
NAME_LABEL = f"{GROUP}/benchmark"
UID_LABEL = f"{GROUP}/uid"
STARTED = f"{GROUP}/started"
"""Annotation of a benchmark that has been started: its uid at that time. In a copy or a restored one it is another's."""
SELECTOR = f"{MANAGED_LABEL}={MANAGED_BY}"
"""Label selector of all objects that the operator creates."""


@dataclass(frozen=True)
class Identity:
    """The benchmark that objects belong to."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, body: Data) -> "Identity":
        """The identity of a PerfBenchmark as Kubernetes has it."""
        meta = body["metadata"]
        return cls(meta["namespace"], meta["name"], meta["uid"])

    @property
    def child(self) -> str:
        """Name of its Job and ConfigMap."""
        return f"{self.name}-{self.uid[:8]}"

    @property
    def recovery(self) -> str:
        """Name of the Job that looks for what a lost runner has stored."""
        return f"{self.child}-recovery"

    @property
    def workers(self) -> str:
        """Name of the Job of its workers; with -999 behind it, their hosts' names fit 63 characters."""
        return f"{self.child}-w"

    @property
    def leader(self) -> str:
        """Name of the Service that finds the leader: one of a Service begins with a letter."""
        return f"run-{self.child}"

    @property
    def claim(self) -> str:
        """Name of the claim that the operator creates for it."""
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

    def metadata(self) -> Resource:
        """Metadata of an object that is deleted together with the benchmark."""
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

    def owns(self, child: Data) -> bool:
        """Whether an object belongs to exactly this benchmark, not to an earlier one of the same name."""
        return is_owned_by(child, self.uid)


def is_owned_by(item: Data, uid: str) -> bool:
    """Whether an object belongs to the one with this uid."""
    return any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences") or [])
