"""Which entries of the dataset each stage gets."""

from typing import Any

import pytest

from perfbench_api.sections import Load
from perfbench_runner.load.parts import MOST_RESERVED, first_entries, warmup_stage


def load(*stages: dict[str, Any], warmup: int = 0) -> Load:
    return Load.model_validate({"stages": list(stages), "warmup": {"requests": warmup}})


@pytest.mark.parametrize(
    ("made", "first"),
    [
        (load({"concurrency": 8, "requests": 200}), [0]),
        (load({"concurrency": 8, "requests": 200}, warmup=16), [16]),
        (load({"concurrency": 1, "requests": 3}, {"name": "b", "concurrency": 5, "requests": 7}, {"rate": 2, "requests": 1}),
         [0, 3, 10]),
        (load({"concurrency": 8, "duration": "12.5s"}, {"rate": 1, "requests": 1}), [0, 8 * 13]),
        (load({"concurrency": 8, "duration": "2s", "requests": 5}, {"rate": 1, "requests": 1}), [0, 5]),
        (load({"concurrency": 10_000, "duration": "600s"}, {"rate": 1, "requests": 1}), [0, MOST_RESERVED]),
        (load({"rate": 100, "duration": "1s"}, {"rate": 1, "requests": 1}), [0, 160]),
        (load({"profile": {"ramp": {"from": 0, "to": 100}}, "duration": "2s"}, {"rate": 1, "requests": 1}), [0, 160]),
        (load({"rate": 100, "rampUp": "2s", "duration": "4s"}, {"rate": 1, "requests": 1}), [0, 300 + 104]),
        (load({"rate": 100, "arrival": "gamma", "cv": 2, "duration": "1s"}, {"rate": 1, "requests": 1}), [0, 220]),
        (load({"rate": 100, "duration": "1s", "requests": 20}, {"rate": 1, "requests": 1}), [0, 20]),
    ],
)  # fmt: skip
def test_a_stage_begins_where_the_one_before_it_ends_at_the_latest(made: Load, first: list[int]) -> None:
    assert first_entries(made) == first
    assert first_entries(made, offset=7) == [7 + number for number in first]


@pytest.mark.parametrize(
    ("warmup", "stage", "expected"),
    [
        ({}, {"concurrency": 8, "requests": 5}, None),
        ({"requests": 4}, {"concurrency": 8, "requests": 5}, (4, 4, None, 4)),
        ({"requests": 40}, {"concurrency": 8, "requests": 5}, (8, 40, None, 40)),
        ({"duration": "10s"}, {"concurrency": 8, "requests": 5}, (8, None, 10.0, 80)),
        ({"duration": "10s"}, {"rate": 5, "requests": 5}, (8, None, 10.0, 80)),
        ({"duration": "10s"}, {"rate": 5, "maxConcurrency": 3, "requests": 5}, (3, None, 10.0, 30)),
        ({"duration": "10s", "requests": 20, "concurrency": 2}, {"rate": 5, "requests": 5}, (2, 20, 10.0, 20)),
    ],
)
def test_a_warmup_is_a_stage_before_the_others_with_entries_of_its_own(
    warmup: dict[str, Any], stage: dict[str, Any], expected: tuple[Any, ...] | None
) -> None:
    made = Load.model_validate({"stages": [stage], "warmup": warmup})
    found = warmup_stage(made)
    if expected is None:
        assert (found, first_entries(made)) == (None, [0])
    else:
        assert found is not None
        assert (found.concurrency, found.requests, found.duration, *first_entries(made)) == expected


def test_sixty_four_stages_share_no_entry() -> None:
    stages = [{"name": str(number), "concurrency": 1 + number, "requests": 3 * number + 1} for number in range(64)]
    first = first_entries(load(*stages))
    used = [set(range(begin, begin + 3 * number + 1)) for number, begin in enumerate(first)]
    assert len(set().union(*used)) == sum(map(len, used))
