"""`spec.results`: what is kept, and where."""

from typing import Literal

from pydantic import Field

from perfbench_api.sections.references import NameRef
from perfbench_api.values import Quantity, Section


class Results(Section):
    """What is kept, and where."""

    messages: Literal["all", "failed", "none"] = "all"
    """Bodies of requests and answers to keep: all, of failed requests only, or none."""
    claim: NameRef | None = None
    """In the cluster: an existing PersistentVolumeClaim for the results."""
    storage: Quantity = "10Gi"
    """In the cluster: size of the claim that the operator makes if none is given."""
    storage_class: str | None = None
    """Storage class of that claim; the cluster's default if not given."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"] = "ReadWriteOnce"
    """Access mode of that claim."""
    retain: Literal["Keep", "Delete"] = "Keep"
    """In the cluster: keep the claim that the operator makes, or delete it together with the PerfBenchmark."""
    push: str | None = Field(None, pattern=r"^https?://[^@]+$")
    """Pushgateway that receives the run's metrics at its end, where the runner's pod is not scraped."""
