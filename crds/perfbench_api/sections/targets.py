"""`spec.targets`: several endpoints in one run, to be compared under one load."""

from pydantic import Field

from perfbench_api.sections.references import ServiceRef
from perfbench_api.sections.target import (
    ADDRESSES,
    ApiKey,
    Header,
    MockTarget,
    Target,
    Tls,
    check_address,
    check_target,
)
from perfbench_api.sections.workloads import NAME
from perfbench_api.values import Duration, Free, Section


class OneTarget(Section):
    """One endpoint among several. What it leaves out is that of spec.target."""

    name: str = Field(min_length=1, max_length=40, pattern=NAME)
    """Name in figures and the results file."""
    weight: int = Field(1, ge=1, le=1000)
    """Its share of the requests: weight / sum of all weights, exact at every point of the run to within one request."""
    url: str | None = None
    """Address of the endpoint, in place of that of spec.target."""
    service: ServiceRef | None = None
    """A Kubernetes Service instead of a URL."""
    mock: MockTarget | None = None
    """A mock endpoint that the run starts by itself."""
    model: str | None = Field(None, min_length=1, pattern=r"\S")
    """Name of the model, as this endpoint serves it."""
    api: str | None = None
    """API plugin that speaks to this endpoint."""
    api_args: Free | None = None
    """The API plugin's own options for it."""
    api_key: ApiKey | None = None
    """Where its API key is."""
    headers: list[Header] | None = Field(None, max_length=64)
    """HTTP headers of every request to it."""
    tls: Tls | None = None
    """How its certificate is verified."""
    proxy: str | None = None
    """The HTTP proxy to send through."""
    connect_timeout: Duration | None = Field(None, gt=0)
    """Maximum time to connect, TLS included."""
    read_timeout: Duration | None = Field(None, gt=0)
    """Maximum time without data from this endpoint within a request."""
    total_timeout: Duration | None = Field(None, gt=0)
    """Maximum time of a request to it."""
    keep_alive: bool | None = None
    """Send one request after the other over a connection, or each over one of its own."""

    def over(self, target: Target) -> Target:
        """The target with what is given here in place of its own; raises ValueError where that is none."""
        own = {name: value for name in OWN if (value := getattr(self, name)) is not None}
        address = dict.fromkeys(ADDRESSES) if not own.keys().isdisjoint(ADDRESSES) else {}
        found = target.model_copy(update=address | own)
        check_target(found)
        check_address(found)
        if self.mock is not None and found.model is None:
            found.model = "mock"
        return found


OWN = OneTarget.model_fields.keys() & Target.model_fields.keys()
"""Fields that each target may have for itself; the others are the run's."""
