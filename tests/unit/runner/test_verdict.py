"""A run that went on to its end has failed when too many requests did; unfinished ones are neither."""

import pytest

from perfbench_runner.results.measured import Requests
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.summary import StageSummary
from perfbench_runner.results.verdict import too_many_failures


def stage(name: str, succeeded: int, failed: int, unfinished: int = 0, unsent: int = 0) -> StageSummary:
    nothing = distribution([])
    names = "ttft_s itl_s tpot_s e2e_latency_s scheduled_latency_s dispatch_lag_s connect_s output_tokens prompt_tokens"
    return StageSummary(
        name=name,
        requests=Requests(
            total=succeeded + failed + unfinished,
            succeeded=succeeded,
            failed=failed,
            unfinished=unfinished,
            unsent=unsent,
        ),
        duration_s=1,
        request_throughput_rps=1,
        output_token_throughput_tps=1,
        total_token_throughput_tps=1,
        errors={"timeout": failed} if failed else {},
        **dict.fromkeys(names.split(), nothing),
    )


@pytest.mark.parametrize(
    ("counts", "is_failed"),
    [
        ((100, 0), False),
        ((95, 5), False),
        ((94, 6), True),
        ((0, 1), True),
        ((0, 0), False),
        ((0, 0, 8), False),  # every request was cut off: nothing is known, and nothing failed
        ((8, 0, 8, 5000), False),
        ((10, 1, 1000), True),  # unfinished requests do not dilute failures
    ],
)
def test_the_share_is_of_requests_that_ended(counts: tuple[int, ...], is_failed: bool) -> None:
    assert bool(too_many_failures([stage("c1", *counts)], 0.05)) == is_failed


def test_the_first_stage_of_them_is_named() -> None:
    found = too_many_failures([stage("c1", 10, 0), stage("c2", 5, 5), stage("c3", 0, 9)], 0.05)
    assert found == "5 of 10 requests of stage c2 failed (timeout 5), more than load.maxFailedShare 0.05 allows"
