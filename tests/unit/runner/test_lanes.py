"""How many lanes a closed loop gets, and the names that Python's results have for stages."""

import pytest

from perfbench_api.sections import Stage
from perfbench_runner.load.shares import lanes_of
from perfbench_runner.main import stage_keys


@pytest.mark.parametrize(
    ("stage", "lanes"),
    [
        (Stage(concurrency=8, requests=200), 8),
        (Stage(concurrency=1_000_000, requests=4), 4),
        (Stage(concurrency=8, duration=5.0), 8),
        (Stage(concurrency=8, requests=5, duration=5.0), 5),
        (Stage(rate=5, requests=5), None),
    ],
)
def test_a_closed_loop_has_no_more_lanes_than_requests(stage: Stage, lanes: int | None) -> None:
    assert lanes_of(stage) == lanes


def test_stages_of_the_same_load_have_keys_of_their_own() -> None:
    same = [Stage(name=str(number), concurrency=2, requests=4) for number in range(3)]
    assert stage_keys(same) == ["parallel_2_number_4", "parallel_2_number_4_again_2", "parallel_2_number_4_again_3"]
    timed = [Stage(name=str(number), rate=5, duration=4.0) for number in range(2)]
    assert stage_keys(timed) == ["rate_5.0_number_1000", "rate_5.0_number_1000_again_2"]
    assert stage_keys([Stage(arrival="recorded"), Stage(concurrency=1, duration=1.0)]) == [
        "recorded",
        "parallel_1_number_1000",
    ]
