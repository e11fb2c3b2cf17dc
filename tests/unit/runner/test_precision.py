"""How well a quantile is known: the mathematics against tables, and what ends a stage."""

from functools import partial
from itertools import accumulate
from math import exp, inf
from random import Random
from typing import Any

import pytest

from perfbench_api.sections import Guards, Stage
from perfbench_api.sections.until import Until
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_runner.engine.endings import Endings, part_of, value_of
from perfbench_runner.results.dependence import share_limits
from perfbench_runner.results.looks import doublings, first_look
from perfbench_runner.results.precision import (
    LEVEL,
    Done,
    Known,
    design_effect,
    in_words,
    known,
    known_of_gaps,
    known_rate,
    of_quantile,
    of_rate,
    steps_of,
)
from perfbench_runner.results.result import Result


def test_independent_requests_are_worth_one_each_and_runs_of_ten_a_tenth() -> None:
    random = Random(1)
    single = [random.random() < 0.9 for _ in range(20_000)]
    assert design_effect(single) < 4
    runs = [random.random() < 0.9 for _ in range(2000)]
    found = [
        design_effect([flag for flag in runs[start : start + 400] for _ in range(10)]) for start in range(0, 2000, 400)
    ]
    assert sum(found) / len(found) > 6
    assert design_effect([True] * 50) == design_effect([False] * 50) == 1


limits = partial(share_limits, low_level=LEVEL, high_level=LEVEL)


def test_limits_of_a_share_are_wider_for_fewer_and_for_dependent_requests() -> None:
    widths = [high - low for low, high in (limits(0.9, 1000, 1), limits(0.9, 1000, 5), limits(0.9, 100, 1))]
    assert widths[0] < widths[1] < widths[2]
    low, high = limits(1.0, 100, 1)
    assert 0.9 < low < high == 1


def test_a_quantile_has_an_interval_around_it() -> None:
    random = Random(3)
    found = known([exp(0.5 * random.gauss(0, 1)) for _ in range(10_000)], 0.99)
    assert found.low < found.value < found.high
    assert found.low < exp(0.5 * 2.3263) < found.high
    assert not found.is_tail_too_thin
    assert found.half_width == pytest.approx((found.high - found.low) / 2 / found.value)


def test_of_a_thin_tail_nothing_is_known() -> None:
    random = Random(3)
    few = known([random.random() for _ in range(200)], 0.99)
    assert few.high == inf
    assert few.half_width == inf
    wandering = list(accumulate(random.gauss(0, 1) for _ in range(5000)))
    assert known([exp(at / 50) for at in wandering], 0.99).half_width == inf, "few independent values, if any"


@pytest.mark.parametrize(("p", "count"), [(0.5, 200), (0.9, 200), (0.95, 200), (0.99, 1000), (0.999, 10_000)])
def test_the_first_look_has_ten_values_in_the_tail(p: float, count: int) -> None:
    assert first_look(p) == pytest.approx(count, abs=1)


def test_two_looks_in_a_row_must_find_it_precise_and_each_needs_more_requests() -> None:
    random = Random(5)
    values = [100 + random.random() for _ in range(400)]
    precision = of_quantile(0.5, 0.05)
    assert not precision.look(values[:199])
    assert precision.known is None
    assert not precision.look(values[:200]), "once is luck"
    assert not precision.is_due(229)
    assert precision.look(values[:230])
    assert precision.requests == 230


def test_a_look_that_is_not_precise_begins_anew() -> None:
    random = Random(5)
    close = [100 + random.random() for _ in range(200)]
    far = [random.random() * 200 for _ in range(600)]
    precision = of_quantile(0.5, 0.01)
    assert not precision.look(close)
    assert not precision.look(far[:300])
    assert not precision.look([*close, *close])


def result(seq: int, ttft_s: float | None, success: bool = True, excluded: str | None = None) -> Result:
    data = BenchmarkData(
        success=success, start_time=1.0, completed_time=3.0, query_latency=2.0, first_chunk_latency=ttft_s
    )
    data.tidy()
    return Result(stage=0, seq=seq, shard=0, scheduled_s=0.5, data=data, excluded=excluded)  # type: ignore[arg-type]


def test_the_latest_requests_do_not_count_while_an_older_one_is_under_way() -> None:
    """Among those that ended last the slow ones are missing."""
    endings = Endings.of(
        Stage.model_validate({"concurrency": 4, "requests": 9999, "until": {"statistic": "p50"}}), Guards()
    )
    random = Random(1)
    for seq in range(1000):
        endings.add(result(seq, 1 + 0.01 * random.random()))
    assert endings.is_due()
    assert endings.look(100) is None, "too few before number 100"
    assert endings.look(300) is None
    assert (endings.look(400) or "").startswith("ended since after 400 requests ttft p50 is known to ±0.")


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_gaps_have_the_quantile_of_all_of_them_together(p: float) -> None:
    random = Random(3)
    requests = [[0.02 * exp(0.3 * random.gauss(0, 1)) for _ in range(random.randrange(1, 40))] for _ in range(600)]
    every = sorted(gap for gaps in requests for gap in gaps)
    found = known_of_gaps([steps_of(gaps) for gaps in requests], p)
    assert found.value == pytest.approx(every[int(p * len(every))], rel=0.01)
    assert found.low < found.value < found.high < inf
    assert 0.0 < found.half_width < 0.1


def test_gaps_that_depend_on_when_they_were_are_known_less_well() -> None:
    random = Random(3)
    alike = [[0.02 * exp(0.3 * random.gauss(0, 1)) for _ in range(20)] for _ in range(600)]
    waves = [[gap * (1 + (number // 100) % 2) for gap in gaps] for number, gaps in enumerate(alike)]
    assert known_of_gaps(list(map(steps_of, waves)), 0.9).is_tail_too_thin
    assert not known_of_gaps(list(map(steps_of, alike)), 0.9).is_tail_too_thin


@pytest.mark.parametrize("gaps", [[], [[]], [[0.01]], [[0.0, 1e-9]]])
def test_of_hardly_any_gaps_nothing_is_known(gaps: list[list[float]]) -> None:
    assert known_of_gaps([steps_of(each) for each in gaps], 0.5).half_width == inf


@pytest.mark.parametrize("amount", [1.0, 50.0])
def test_a_throughput_is_known_by_how_much_its_tenths_differ(amount: float) -> None:
    random = Random(5)
    even = [Done(number / 20, amount) for number in range(1001)]
    poisson = [Done(at_s, amount) for at_s in accumulate(random.expovariate(20) for _ in range(1001))]
    assert known_rate(even).value == pytest.approx(20 * amount)
    assert known_rate(even).half_width < 0.02
    assert known_rate(poisson).value == pytest.approx(20 * amount, rel=0.1)
    assert 0.02 < known_rate(poisson).half_width < 0.2
    assert known_rate(random.sample(even, len(even))) == known_rate(even)


def test_ends_at_one_time_are_no_throughput() -> None:
    assert known_rate([Done(1.0, 1.0)] * 5).half_width == inf


def test_a_throughput_is_within_what_was_asked_in_nearly_all_runs() -> None:
    """Poisson arrivals, answered at once: the rate is known to within 5 %."""
    found = []
    for seed in range(60):
        random, precision, done = Random(seed), of_rate(0.05), list[Done]()
        at_s = 0.0
        while not (precision.is_due(len(done)) and precision.look(done)):
            at_s += random.expovariate(10.0)
            done.append(Done(at_s, 1.0))
        assert precision.known is not None
        found.append(abs(precision.known.value / 10.0 - 1.0) <= 0.05)
    assert sum(found) >= 0.9 * len(found)


@pytest.mark.parametrize(
    ("until", "value"),
    [
        ({"metric": "request_throughput"}, 1.0),
        ({"metric": "output_token_throughput"}, 7.0),
        ({"metric": "input_token_throughput"}, 3.0),
        ({"metric": "total_token_throughput"}, 10.0),
    ],
)
def test_a_request_adds_itself_or_its_tokens_to_a_throughput(until: dict[str, str], value: float) -> None:
    ended = result(0, 0.5)
    ended.data.completion_tokens, ended.data.prompt_tokens = 7, 3
    assert part_of(ended, Until.model_validate(until)) == (ended.data.completed_time, value)
    assert part_of(result(0, 0.5, success=False), Until.model_validate(until)) is None


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ({"metric": "itl", "statistic": "p90"}, "itl p90 is known to ±"),
        ({"metric": "request_throughput"}, "request_throughput is known to ±"),
    ],
)
def test_a_stage_ends_when_gaps_or_a_throughput_are_known(until: dict[str, str], words: str) -> None:
    stage = Stage.model_validate({"concurrency": 4, "requests": 9999, "until": until | {"within": "20%"}})
    endings, random, reason = Endings.of(stage, Guards()), Random(2), None
    for seq in range(2000):
        ended = result(seq, 0.5)
        ended.data.completed_time = seq / 10
        ended.data.inter_chunk_latency = [0.02 * exp(0.2 * random.gauss(0, 1)) for _ in range(9)]
        endings.add(ended)
        if endings.is_due():
            reason = reason or endings.look(None)
    assert words in (reason or "")


def test_a_quantile_of_a_throughput_is_refused() -> None:
    with pytest.raises(ValueError, match="request_throughput has no quantiles"):
        Until.model_validate({"metric": "request_throughput", "statistic": "p50"})


@pytest.mark.parametrize(
    ("plan", "requests", "looks"),
    [
        ({}, 10_000, 1),
        ({"until": {"metric": "ttft", "statistic": "p99"}}, 300, 1),
        ({"until": {"metric": "ttft", "statistic": "p99"}}, 1_000, 1),
        ({"until": {"metric": "ttft", "statistic": "p99"}}, 1_010, 2),
        ({"until": {"metric": "ttft", "statistic": "p99"}}, 16_000, 5),
        ({"until": {"metric": "ttft", "statistic": "p50"}}, 1_600, 4),
        ({"until": {"metric": "itl", "statistic": "p99"}}, 400, 2),
        ({"until": {"metric": "request_throughput", "statistic": "p99"}}, 800, 3),
    ],
)
def test_looks_at_growing_data_count_by_doublings(plan: dict[str, Any], requests: int, looks: int) -> None:
    assert doublings(plan, requests) == looks


def test_failed_and_ramped_requests_have_no_value() -> None:
    assert value_of(result(0, 0.5, success=False), "ttft") is None
    assert value_of(result(0, None), "ttft") is None
    assert [value_of(result(0, 0.5), name) for name in ("ttft", "e2e_latency", "scheduled_latency", "tpot")] == [
        0.5,
        2.0,
        2.5,
        None,
    ]
    endings = Endings.of(
        Stage.model_validate({"concurrency": 4, "requests": 9999, "until": {"statistic": "p50"}}), Guards()
    )
    for seq in range(500):
        endings.add(result(seq, 1.0, excluded="ramp_up"))
    assert not endings.is_due()


def test_without_until_a_stage_ends_as_it_always_did() -> None:
    endings = Endings.of(Stage(concurrency=4, requests=9), Guards())
    endings.add(result(0, 1.0))
    assert (endings.is_due(), endings.are_any) == (False, False)


def series(seed: int, count: int, phi: float) -> list[float]:
    """Lognormal latencies, each like the one before it by phi."""
    random, at, found = Random(seed), 0.0, list[float]()
    for _ in range(count):
        at = phi * at + (1 - phi * phi) ** 0.5 * random.gauss(0, 1)
        found.append(exp(0.5 * at))
    return found


@pytest.mark.parametrize(
    ("seed", "count", "phi", "p", "figures"),
    [
        (1, 200, 0, 0.5, (1.0247573624741686, 0.9365360897615794, 1.1152581543519948, False)),
        (2, 1150, 0, 0.99, (3.052415876334659, 2.5511206854808766, 3.566952027404282, True)),
        (3, 1234, 0.5, 0.9, (1.7929102850961245, 1.682481884732212, 1.941508525486437, False)),
        (4, 12345, 0.9, 0.95, (2.362198293738539, 2.1912577991244113, 2.522858459578566, False)),
        (6, 999, 0, 0.5, (1.0181403947695644, 0.9696154494286421, 1.0700135125819046, False)),
    ],
)
def test_figures_of_latencies_stay_what_they_are(
    seed: int, count: int, phi: float, p: float, figures: tuple[float, float, float, bool]
) -> None:
    """To the last digit, as bench/until.py has found the numbers that docs/load.md gives."""
    assert known(series(seed, count, phi), p) == figures


@pytest.mark.parametrize(
    ("seed", "count", "p", "figures"),
    [
        (1, 600, 0.5, (0.01998552759142754, 0.01978716129940103, 0.020185882505531577, False)),
        (2, 601, 0.99, (0.03977701049748664, 0.03841224654268619, 0.04119026369256751, False)),
        (3, 2345, 0.9, (0.029342855355777152, 0.029196871000773252, 0.029489569632556025, False)),
    ],
)
def test_figures_of_gaps_stay_what_they_are(
    seed: int, count: int, p: float, figures: tuple[float, float, float, bool]
) -> None:
    random = Random(seed)
    gaps = [[0.02 * exp(0.3 * random.gauss(0, 1)) for _ in range(random.randrange(1, 40))] for _ in range(count)]
    assert known_of_gaps(list(map(steps_of, gaps)), p) == figures


@pytest.mark.parametrize(
    ("seed", "count", "figures"),
    [
        (1, 201, (21.469007248382507, 18.251574919476703, 24.68643957728831)),
        (2, 1001, (19.855072984461962, 18.42529759332406, 21.284848375599864)),
    ],
)
def test_figures_of_throughputs_stay_what_they_are(seed: int, count: int, figures: tuple[float, float, float]) -> None:
    random = Random(seed)
    done = [Done(at_s, 1.0) for at_s in accumulate(random.expovariate(20) for _ in range(count))]
    assert known_rate(done)[:3] == pytest.approx(figures, rel=2e-6)


@pytest.mark.parametrize(("seed", "requests"), [(100, 7661), (101, 6661), (105, 2502), (123, 1644), (130, 13401)])
def test_a_stage_ends_after_as_many_requests_as_it_always_did(seed: int, requests: int) -> None:
    values, precision = series(seed, 20_000, 0.5), of_quantile(0.9, 0.05)
    found = (count for count in range(200, 20_000) if precision.is_due(count) and precision.look(values[:count]))
    assert next(found) == requests


def test_gaps_longer_than_any_run_are_taken_for_the_longest() -> None:
    assert list(steps_of([1e300, 1e9, -1.0, 1.7e308])) == [steps_of([1e9])[0]] * 2 + [0, steps_of([1e9])[0]]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Known(1.0, 0.9, 1.1, is_tail_too_thin=False), "after 1,234 requests f is known to ±10.0%"),
        (Known(1.0, 0.9, inf, is_tail_too_thin=False), "after 1,234 requests f has no upper bound"),
        (Known(0.0, 0.0, 0.0, is_tail_too_thin=False), "after 1,234 requests f is 0"),
        (
            Known(0.0, 0.0, inf, is_tail_too_thin=True),
            "1,234 requests depend on each other too much to say how well f is known",
        ),
    ],
)
def test_how_well_a_figure_is_known_in_words(found: Known, words: str) -> None:
    """Such as of tokens where the server tells of none: that is 0, and not without bound."""
    assert in_words(found, 1234, "f") == words
