"""The ceiling of a runner: what its processes need for a request, and what `perfbench plan` says of it."""

import pytest

from perfbench_runner.cli.plan_command import how
from perfbench_runner.results.client_summary import ClientHealth
from perfbench_runner.results.measured import Requests
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.summary import StageSummary
from perfbench_runner.run.calibrate import Ceiling, Paced, paced


def stage(succeeded: int, duration_s: float, **figures: float) -> StageSummary:
    nothing = distribution([])
    names = "ttft_s itl_s tpot_s e2e_latency_s scheduled_latency_s dispatch_lag_s connect_s output_tokens prompt_tokens"
    return StageSummary(
        name="c8",
        requests=Requests(total=succeeded, succeeded=succeeded, failed=0, unfinished=0),
        duration_s=duration_s,
        request_throughput_rps=1,
        output_token_throughput_tps=1,
        total_token_throughput_tps=1,
        errors={},
        client=ClientHealth(figures=figures),
        **dict.fromkeys(names.split(), nothing),
    )


@pytest.mark.parametrize(
    ("shard", "control", "ceiling_rps"),
    [
        (0.5, 0.2, 200.0),  # 100 requests/s use half of a CPU of the busiest shard
        (0.2, 0.5, 200.0),  # or of the control process
        (0.25, 0.25, 400.0),
        (1.0, 0.9, 100.0),  # where the measurement itself fills a CPU, that is the ceiling
    ],
)
def test_the_process_that_needs_the_most_of_its_cpu_is_the_ceiling(
    shard: float, control: float, ceiling_rps: float
) -> None:
    found = paced(stage(500, 5.0, cpu_share=shard, control_cpu_share=control), 0.004)
    assert found is not None
    assert (found.requests_per_s, found.itl_ms) == (100.0, 4.0)
    assert found.ceiling_rps == pytest.approx(ceiling_rps)


@pytest.mark.parametrize(
    "nothing",
    [
        stage(0, 5.0, cpu_share=0.5, control_cpu_share=0.5),
        stage(100, 0.0, cpu_share=0.5, control_cpu_share=0.5),
        stage(100, 5.0),  # nothing was sampled: it was over too soon
    ],
)
def test_what_cannot_be_known_is_not_guessed(nothing: StageSummary) -> None:
    assert paced(nothing, 0.004) is None


def ceiling(instant_rps: float, found: Paced | None) -> Ceiling:
    lower = min([instant_rps, *([found.ceiling_rps] if found else [])])
    return Ceiling(
        requests_per_s=lower, events_per_s=0, streams=0, is_lower_bound=False, instant_rps=instant_rps, paced=found
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            Paced(requests_per_s=90, itl_ms=20, shard_ms=5.0, control_ms=2.0),
            "of which each takes the busiest shard 5 ms",
        ),
        (
            Paced(requests_per_s=90, itl_ms=20, shard_ms=2.0, control_ms=4.0),
            "of which each takes the control process 4 ms",
        ),
        (
            Paced(requests_per_s=90, itl_ms=20, shard_ms=2.0, control_ms=4.0, wait_share=0.26),
            "4 ms of its CPU; a shard waited for a CPU 26% of the time",
        ),
        (None, "what tokens one by one cost is not known"),
    ],
)
def test_how_a_ceiling_is_known_is_told(found: Paced | None, words: str) -> None:
    told = how(ceiling(300.0, found))
    assert words in told
    assert "300" in told
    assert f"each is given 70% of that, {0.7 * ceiling(300.0, found).requests_per_s:.0f}" in told
