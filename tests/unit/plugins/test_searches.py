"""A search by flags: what it means in the manifest, and which mistakes are named."""

from typing import Any

import pytest

from perfbench_api.resource import SpecError
from perfbench_plugins.arguments import Arguments


def search(**values: Any) -> Any:
    return Arguments(url="http://x", model="m", **values).to_benchmark().spec.load.search


def test_a_range_of_rates_with_its_precision_and_requests() -> None:
    found = search(
        search_rate="1:64.5", search_precision="10%", number=300, arrival="constant", objectives=["ttft.p90<=1s"]
    )
    assert (found.kind, found.ends, found.precision) == ("rate", (1, 64.5), 0.1)
    assert (found.requests, found.arrival) == (300, "constant")


def test_a_range_of_concurrencies() -> None:
    found = search(search_concurrency="2:32")
    assert (found.kind, found.ends, found.precision, found.requests) == ("concurrency", (2, 32), 0.05, None)


def test_nobody_searches_unasked() -> None:
    assert search() is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"search_rate": "64"}, "search_rate: '64' is no range; write the lowest and the highest load as 1:64"),
        ({"search_rate": "1.2.3:4"}, "search_rate: '1.2.3:4' is no range"),
        ({"search_rate": ".:4"}, "search_rate: '.:4' is no range"),
        (
            {"search_concurrency": "1.5:8"},
            "concurrency.from: input should be a valid integer, got a number with a frac",
        ),
        ({"search_rate": "8:4"}, "from 8 is not below to 4"),
        ({"search_rate": "1:4", "search_concurrency": "1:4"}, "exclude each other"),
        ({"search_rate": "1:4", "parallel": 4}, "parallel: search_rate finds the load by itself; leave it out"),
        ({"search_concurrency": "1:4", "duration": "20s"}, "duration: search_concurrency finds the load by itself"),
        ({"search_rate": "1:4", "number": [20, 40]}, "or one number"),
        ({"search_precision": "5%"}, "search_precision: of no search"),
        ({"search_rate": "1:4", "objectives": ["ttft.mean<=1s"]}, "a search needs a share of requests to go by"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        search(**values)
