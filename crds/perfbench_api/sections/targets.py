"""`spec.targets`: several endpoints in one run, to be compared under one load."""

from collections.abc import Sequence

from pydantic import Field

from perfbench_api.sections.load import Load
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
from perfbench_api.sections.workloads import NAME, check_names
from perfbench_api.values import Duration, Free, Section


class OneTarget(Section):
    """One endpoint among several. What it leaves out is that of spec.target."""

    name: str = Field(min_length=1, max_length=40, pattern=NAME)
    """Name in figures and the results file."""
    weight: int = Field(1, ge=1, le=1000)
    """Its share of the requests: weight / sum of all weights, kept at every point of the run by what was sent."""
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


def check_targets(targets: Sequence[OneTarget], common: Target, load: Load) -> None:
    """Raise ValueError where targets cannot be compared under a load."""
    check_names("targets", [each.name for each in targets])
    for index, each in enumerate(targets):
        try:
            each.over(common)
        except ValueError as error:
            raise ValueError(f"targets[{index}]: {error}") from None
    if load.split == "sideBySide":
        _check_side_by_side(targets, load)
    if targets and load.search is not None:
        raise ValueError("load.search: finds how much one target carries; search for each in a run of its own")
    if targets and isinstance(common.metrics, list):
        raise ValueError(
            "target.metrics: figures of the servers of several targets would be taken for those of one; leave it out"
        )


def _check_side_by_side(targets: Sequence[OneTarget], load: Load) -> None:
    """Each moment must be one at which all of them can be sent to."""
    if not targets:
        raise ValueError("load.split: sideBySide is of several targets, and there are none; give targets")
    if len({each.weight for each in targets}) > 1:
        raise ValueError("load.split: sideBySide sends to each target equally often; leave out the weights")
    for index, stage in enumerate(load.stages):
        where = f"load.stages[{index}]"
        if not stage.is_open_loop and stage.requests is not None:
            raise ValueError(
                f"{where}: a closed loop that ends by count is over for the faster target first, and the slower one has the"
                " rest of the time to itself; give duration alone to send side by side"
            )
        if stage.timestamps is not None or stage.arrival == "recorded":
            raise ValueError(f"{where}: times that are given one by one are of one target each; leave out split")
        if stage.max_concurrency is not None:
            raise ValueError(
                f"{where}.maxConcurrency: one limit for all targets would be filled by the slowest; leave it out, or split"
            )
