"""`spec.workloads`: several kinds of requests in one run."""

from collections.abc import Sequence

from pydantic import Field

from perfbench_api.sections.dataset import Dataset
from perfbench_api.sections.goodput import Goodput
from perfbench_api.sections.request import Request
from perfbench_api.values import Free, Section

NAME = r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"
"""Of a workload: it is a word in tables, in objectives and in SQL."""


def check_names(section: str, names: Sequence[str]) -> None:
    """Raise ValueError where two parts of a run, such as its `workloads`, have one name."""
    for index, name in enumerate(names):
        if names.index(name) != index:
            raise ValueError(f"{section}[{index}].name: two {section} are named {name!r}; give each its own name")


class Workload(Section):
    """One kind of requests among several: what it sends, and how often. What it leaves out is that of the spec."""

    name: str = Field(min_length=1, max_length=40, pattern=NAME)
    """Name in figures, objectives and the results file."""
    weight: int = Field(1, ge=1, le=1000)
    """Its share of the requests: weight / sum of all weights, kept at every point of the run by what was sent."""
    dataset: Dataset | None = None
    """What it sends, in place of spec.dataset."""
    request: Request | None = None
    """The parameters of its requests, in place of spec.request."""
    model: str | None = Field(None, min_length=1, pattern=r"\S")
    """The model, or LoRA adapter, that it asks for, in place of target.model."""
    api: str | None = None
    """The API plugin that speaks for it, in place of target.api; the target's address then has no path of its own."""
    api_args: Free | None = None
    """The API plugin's options for it, in place of target.apiArgs."""
    goodput: Goodput | None = None
    """Limits of a single request of it, in place of spec.goodput."""
