"""What a load asks for and cannot come to is told before anything is sent."""

from typing import Any

import pytest

from perfbench_api.sections import Load
from perfbench_runner.load.unreachable import unreachable

TTFT: dict[str, Any] = {"metric": "ttft"}
P50: dict[str, Any] = {"metric": "e2e_latency", "statistic": "p50"}
THROUGHPUT: dict[str, Any] = {"metric": "request_throughput"}


def told(*stages: dict[str, Any]) -> list[str]:
    return unreachable(Load.model_validate({"stages": list(stages)}))


@pytest.mark.parametrize(
    ("stage", "looks"),
    [
        ({"requests": 100, "until": P50}, "from 200 requests on, and two looks must agree, the second at 230; the stage has 100"),
        ({"requests": 230, "until": P50}, "the second at 230; the stage has 230 at most"),
        ({"requests": 231, "until": P50}, None),
        ({"requests": 1100, "until": TTFT}, "from 1,000 requests on, and two looks must agree, the second at 1,150"),
        ({"requests": 1151, "until": TTFT}, None),
        ({"requests": 1151, "until": TTFT | {"statistic": "p99_9"}}, "p99.9 is looked at from 10,00"),
        ({"requests": 16, "until": THROUGHPUT}, "request_throughput is looked at from 200 requests on"),
        ({"requests": 1000, "until": THROUGHPUT}, None),
        ({"duration": "5s", "until": P50}, None),
    ],
)  # fmt: skip
def test_an_end_by_precision_that_its_limit_rules_out(stage: dict[str, Any], looks: str | None) -> None:
    found = told({"name": "a", "concurrency": 1, "requests": 3}, stage | {"concurrency": 2})
    if looks is None:
        assert found == []
    else:
        [text] = found
        assert text.startswith("load.stages[1].until: ")
        assert looks in text
        assert text.endswith("so that it cannot end early; allow more, or leave it out")


def test_of_an_open_loop_it_is_known_how_many_requests_there_may_be() -> None:
    assert "the stage has 127 at most" in told({"rate": 5, "duration": "15s", "until": P50})[0]
    assert told({"rate": 5, "duration": "60s", "until": P50}) == []


@pytest.mark.parametrize(
    ("profile", "told_of"),
    [
        ({"ramp": {"from": 1, "to": 21, "over": "60s"}}, "the ramp takes 1m and comes to 11 requests/s only"),
        ({"ramp": {"from": 1, "to": 21, "over": "30s"}}, None),
        ({"ramp": {"from": 1, "to": 21}}, None),
        ({"steps": {"from": 1, "to": 5, "steps": 5, "each": "10s"}}, "only 3 of 5 steps of 10s begin"),
        ({"steps": {"from": 1, "to": 3, "steps": 3, "each": "10s"}}, None),
        ({"steps": {"from": 1, "to": 5, "steps": 5}}, None),
        ({"sine": {"mean": 5, "amplitude": 2, "period": "1m"}}, "one swing takes 1m, of which only a part comes"),
        ({"sine": {"mean": 5, "amplitude": 2, "period": "20s"}}, None),
        ({"burst": {"base": 1, "peak": 9, "at": "30s", "for": "5s"}}, "the first burst would begin at 30s"),
        ({"burst": {"base": 1, "peak": 9, "at": "28s", "for": "5s"}}, "the burst at 28s is cut short: it takes 5s"),
        ({"burst": {"base": 1, "peak": 9, "at": "5s", "for": "5s", "every": "20s"}}, None),
        ({"points": [{"at": 0, "rate": 1}, {"at": 30, "rate": 2}]}, None),
        ({"points": [{"at": at, "rate": 1} for at in (0, 20, 40, 60)]}, "2 of 4 points come later, the first at 40s"),
    ],
)
def test_parts_of_a_profile_after_the_end_of_the_stage(profile: dict[str, Any], told_of: str | None) -> None:
    found = told({"profile": profile, "duration": "30s"})
    assert found == ([f"load.stages[0].profile: {told_of}; the stage ends after 30s"] if told_of else [])
    if "over" in str(profile) or "each" in str(profile) or not profile.keys() & {"ramp", "steps"}:
        assert told({"profile": profile, "requests": 30}) == [], "nobody knows how long that takes"
