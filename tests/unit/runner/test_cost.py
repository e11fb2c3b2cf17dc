"""What tokens cost, in money and in energy; what is not known is null, with a reason."""

from typing import Any

import pytest

from perfbench_api.sections import Price
from perfbench_runner.results.cost import NO_GOOD_TOKENS, cost
from perfbench_runner.results.measured import Distribution, Goodput, Requests
from perfbench_runner.results.summary import StageSummary

NONE = Distribution()
LATENCIES = {f"{name}_s": NONE for name in ("ttft", "itl", "tpot", "e2e_latency", "scheduled_latency", "dispatch_lag")}


def stage(
    tokens_s: float | None, watts: float | None = None, good_s: float | None = None, reason: str | None = None
) -> StageSummary:
    values: dict[str, Any] = {
        **LATENCIES,
        "connect_s": NONE,
        "output_tokens": NONE,
        "prompt_tokens": NONE,
        "server": {} if watts is None else {"gpu_power_w": {"mean": watts}},
    }
    return StageSummary(
        name="c1",
        requests=Requests(total=1, succeeded=1, failed=0),
        duration_s=1.0,
        request_throughput_rps=1.0,
        output_token_throughput_tps=tokens_s,
        total_token_throughput_tps=None,
        errors={},
        **values,
        goodput=None
        if good_s is None and reason is None
        else Goodput(
            limits_s={"ttft": 1.0},
            total=1,
            good=1,
            share=1.0,
            rate_rps=1.0,
            output_token_throughput_tps=good_s,
            reason=reason or "",
        ),
    )


@pytest.mark.parametrize(
    ("price", "tokens_s", "watts", "money", "joules"),
    [
        ({"perHour": 3.6}, 1000.0, None, 1.0, None),
        ({"perHour": 1.8, "replicas": 4}, 1000.0, 700.0, 2.0, 0.7),
        (None, 500.0, 1000.0, None, 2.0),
    ],
)
def test_tokens_cost_what_the_target_costs_meanwhile(
    price: Any, tokens_s: float, watts: float | None, money: float | None, joules: float | None
) -> None:
    found = cost(stage(tokens_s, watts), Price.model_validate(price or {}))
    assert found is not None
    assert found.per_million_output_tokens == (money if money is None else pytest.approx(money))
    assert found.joules_per_output_token == joules
    assert ("per_million_output_tokens" in found.reasons) == (money is None)
    assert ("joules_per_output_token" in found.reasons) == (joules is None)


def test_energy_that_is_counted_is_taken_before_power_that_is_read_now_and_then() -> None:
    of = stage(100.0, 500.0)
    of.server["gpu_energy_j"] = {"per_second": 450.0}
    found = cost(of, Price())
    assert found is not None
    assert found.joules_per_output_token == 4.5


@pytest.mark.parametrize("tokens_s", [None, 0.0])
def test_without_tokens_there_is_no_cost_of_one(tokens_s: float | None) -> None:
    found = cost(stage(tokens_s, 100.0), Price(per_hour=1))
    assert found is not None
    assert found.per_million_output_tokens is found.joules_per_output_token is None
    assert "no output tokens" in found.reasons["per_million_output_tokens"]


def test_good_tokens_cost_more_than_all_of_them() -> None:
    found = cost(stage(1000.0, 700.0, good_s=250.0), Price.model_validate({"perHour": 3.6}))
    assert found is not None
    assert (found.per_million_output_tokens, found.joules_per_output_token) == (pytest.approx(1.0), 0.7)
    assert (found.per_million_good_output_tokens, found.joules_per_good_output_token) == (pytest.approx(4.0), 2.8)
    assert found.reasons == {}


@pytest.mark.parametrize(
    ("reason", "words"), [("", NO_GOOD_TOKENS), ("they are not streamed", "they are not streamed")]
)
def test_where_no_token_was_good_there_is_no_cost_of_one(reason: str, words: str) -> None:
    found = cost(stage(1000.0, 700.0, good_s=0.0, reason=reason), Price(per_hour=1))
    assert found is not None
    assert found.per_million_good_output_tokens is found.joules_per_good_output_token is None
    assert found.reasons == dict.fromkeys(("per_million_good_output_tokens", "joules_per_good_output_token"), words)


def test_without_limits_nothing_is_said_of_good_tokens() -> None:
    found = cost(stage(1000.0, 700.0), Price(per_hour=1))
    assert found is not None
    assert found.reasons == {}


def test_nobody_is_told_of_costs_that_nothing_is_known_of() -> None:
    assert cost(stage(5.0), Price()) is None
