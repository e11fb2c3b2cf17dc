"""`spec.runner`: the processes and pods that generate the load."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer

from perfbench_api.kubernetes import (
    Affinity,
    EnvFromSources,
    EnvVars,
    PodSecurityContext,
    ResourceRequirements,
    SecurityContext,
    Tolerations,
    TopologySpreadConstraints,
    VolumeMounts,
    Volumes,
)
from perfbench_api.sections.references import NameRef
from perfbench_api.values import Duration, Schema, Section, Unit

MOST_REPLICAS = 1000
AUTO = 0
"""Of `replicas`: as many as the load needs. Whoever starts the run puts a number in its place."""


def _parse_replicas(value: Any) -> Any:
    if value == "auto":
        return AUTO
    if isinstance(value, (str, bool)) or (isinstance(value, int) and not 1 <= value <= MOST_REPLICAS):
        raise ValueError(f"{value} is neither a number from 1 to {MOST_REPLICAS} nor auto")
    return value


Replicas = Annotated[
    int,
    BeforeValidator(_parse_replicas),
    PlainSerializer(lambda value: value or "auto", return_type=int | str),
    Schema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": "^auto$",
            "minimum": 1,
            "maximum": MOST_REPLICAS,
        }
    ),
    Unit("number or auto"),
]


class Runner(Section):
    """The processes and pods that generate the load."""

    workers: int | None = Field(None, ge=1, le=256)
    """Load-generating processes of a runner; if not given, one per CPU except one that stores the results, and at most two."""
    replicas: Replicas = 1
    """Runners that share one run's load: a number of pods or processes, or auto: as `perfbench plan` counts."""
    on_loss: Literal["fail", "continue"] = "fail"
    """What becomes of the run when one of several runners is lost: less load than asked for is not the load asked for."""
    start_deadline: Duration = Field(300.0, gt=0)
    """The run fails when not all of its runners are there after this time."""
    image: str | None = None
    """Image of the runner; the operator's default if not given."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When to pull the image."""
    image_pull_secrets: list[NameRef] = []
    """Secrets to pull it with."""
    resources: ResourceRequirements | None = None
    """CPU and memory, as in a pod."""
    node_selector: dict[str, str] | None = None
    """Labels of the nodes to run on."""
    affinity: Affinity | None = None
    """Affinity, as in a pod."""
    tolerations: Tolerations | None = None
    """Tolerations, as in a pod."""
    topology_spread_constraints: TopologySpreadConstraints | None = None
    """Spread over the nodes, as in a pod."""
    priority_class_name: str | None = None
    """Priority class of the pods."""
    runtime_class_name: str | None = None
    """Runtime class of the pods."""
    service_account_name: str | None = None
    """Service account of the pods; its token is not mounted, unless `volumes` ask for one."""
    annotations: dict[str, str] | None = None
    """Annotations of the pods."""
    labels: dict[str, str] | None = None
    """Labels of the pods."""
    env: EnvVars | None = None
    """Environment variables, as in a container."""
    env_from: EnvFromSources | None = None
    """Environment from Secrets or ConfigMaps, as in a container."""
    volumes: Volumes | None = None
    """Additional volumes, as in a pod."""
    volume_mounts: VolumeMounts | None = None
    """Their mounts, as in a container."""
    pod_security_context: PodSecurityContext | None = None
    """Replaces the pod's security context."""
    security_context: SecurityContext | None = None
    """Replaces the container's security context."""
    active_deadline: Duration | None = None
    """The run is stopped after this time, and fails."""
    backoff_limit: int = Field(0, ge=0, le=10)
    """How often a lost runner is restarted, from the beginning; 0, because a measurement cannot be resumed."""
    linger: Duration | None = None
    """How long the pod stays after the run, for a last scrape of its metrics; the operator's default if not given."""
