"""The judgement of the client: by process, the worst one counts, and a word for each."""

from typing import Any

import pytest

from perfbench_runner.results.client_health import (
    BY_KERNEL,
    BY_PROGRAM,
    COLUMNS,
    CONTROL,
    CONTROL_THRESHOLDS,
    LOAD,
    NEVER,
    figures,
    judge,
    worst,
)


def sample(shard: int = 0, interval_s: float = 0.5, **values: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS, 0.0) | {"shard": shard, "interval_s": interval_s} | values


CASES = (
    [({}, each, "latencies") for each in BY_KERNEL]
    + [({"program_stamps_share": 1.0}, each, "latencies") for each in BY_PROGRAM]
    + [({"program_stamps_share": 0.0}, each, "load") for each in LOAD]
)


@pytest.mark.parametrize(("known", "threshold", "what"), CASES, ids=lambda value: getattr(value, "name", ""))
def test_each_figure_has_two_thresholds_and_an_advice(known: Any, threshold: Any, what: str) -> None:
    assert threshold.degraded < threshold.invalid
    for value, state in (
        (threshold.degraded, "valid"),
        (threshold.degraded * 1.01, "degraded"),
        (min(threshold.invalid, 1e12), "degraded"),
        (threshold.invalid * 1.01, "invalid"),
    ):
        if value == NEVER:
            continue
        found = judge({0: {**known, threshold.name: value}})
        assert getattr(found, what) == state
        assert len(found.reasons) == (state != "valid")
        assert "{" not in "".join(found.reasons)
        assert all(reason.endswith(f"({threshold.advice})") for reason in found.reasons)
        assert all(what in reason.partition(":")[0] for reason in found.reasons)


@pytest.mark.parametrize("threshold", CONTROL_THRESHOLDS, ids=lambda value: str(value.name))
def test_the_control_process_spoils_the_load_and_no_latency(threshold: Any) -> None:
    for value, state in ((threshold.degraded * 1.01, "degraded"), (threshold.invalid * 1.01, "invalid")):
        found = judge({CONTROL: {threshold.name: value}})
        assert (found.latencies, found.load, found.state) == ("valid", state, state)


LATE = {"loop_lag_mean_s": 0.05, "loop_lag_max_s": 0.5, "loop_lag_peak_s": 0.2, "wakeup_delay_s": 0.01, "gc_share": 0.1}


@pytest.mark.parametrize(
    ("figures_of_it", "latencies", "load"),
    [
        ({**LATE, "program_stamps_share": 0.0}, "valid", "valid"),
        ({**LATE, "program_stamps_share": 1.0}, "invalid", "valid"),
        ({**LATE, "program_stamps_share": 0.001}, "invalid", "valid"),
        (LATE, "invalid", "valid"),
        ({"program_stamps_share": 0.0, "dispatch_lag_mean_s": 0.05}, "valid", "invalid"),
        ({"program_stamps_share": 0.0, "idle_share": 0.1}, "valid", "degraded"),
        (
            {"program_stamps_share": 0.0, "wait_share": 0.9, "cpu_share": 1.0, "throttled_share": 0.5},
            "valid",
            "degraded",
        ),
        ({"program_stamps_share": 1.0, "wait_share": 0.9}, "invalid", "degraded"),
        ({"program_stamps_share": 0.0, "merged_share": 0.02}, "degraded", "valid"),
        ({"program_stamps_share": 0.0, "merged_share": 0.2}, "invalid", "valid"),
    ],
)
def test_a_late_program_spoils_latencies_only_where_its_own_clock_stamps_them(
    figures_of_it: Any, latencies: str, load: str
) -> None:
    found = judge({0: figures_of_it})
    assert (found.latencies, found.load) == (latencies, load)


def test_a_reason_that_speaks_against_both_is_said_once() -> None:
    found = judge({0: {"program_stamps_share": 1.0, "cpu_share": 0.99}})
    assert found.reasons == [
        "latencies and load: shard 0 of 1: uses 99 % of a CPU (more runner.workers, or lower the load)"
    ]


def test_one_shard_with_the_programs_clock_is_judged_as_such_among_others() -> None:
    lag = {"loop_lag_mean_s": 0.02}
    found = judge({0: {**lag, "program_stamps_share": 0.0}, 1: {**lag, "program_stamps_share": 1.0}})
    assert found.latencies == "invalid"
    assert [reason.partition(" of")[0] for reason in found.reasons] == ["latencies: shard 1"]


def test_the_worst_reason_comes_first() -> None:
    found = judge({0: {"loop_lag_mean_s": 0.005, "cpu_share": 0.99}})
    assert found.state == "invalid"
    assert "99 % of a CPU" in found.reasons[0]
    assert "event loop" in found.reasons[1]


def test_nothing_known_is_nothing_wrong() -> None:
    assert judge(figures([])) == ("valid", "valid", [])


def test_shares_are_of_the_worst_shard_weighted_by_time() -> None:
    rows = [
        sample(0, 0.5, cpu_share=0.2),
        sample(1, 0.5, cpu_share=1.0),
        sample(1, 1.5, cpu_share=0.2, gc_pause_s=0.2, throttled_s=0.1),
    ]
    found = worst(figures(rows))
    assert found["cpu_share"] == pytest.approx(0.4)
    assert found["gc_share"] == pytest.approx(0.1)
    assert found["throttled_share"] == pytest.approx(0.05)


@pytest.mark.parametrize("shards", [1, 3, 5, 16])
def test_one_shard_that_stalls_is_not_averaged_away(shards: int) -> None:
    bad = shards - 1
    rows = [sample(shard, loop_lag_max_s=0.5 if shard == bad else 0.001) for _ in range(20) for shard in range(shards)]
    state, _, reasons = judge(figures(rows))
    assert state == "invalid"
    assert reasons[0].startswith(
        f"latencies: shard {bad} of {shards}: event loop 500 ms late once in every tenth half-second"
    )
    assert not any("shard 0 of 16" in reason for reason in reasons)


def test_a_single_stall_of_one_shard_does_not_read_valid() -> None:
    rows = [sample(shard, loop_lag_max_s=0.001) for _ in range(200) for shard in range(16)]
    rows[1000]["loop_lag_max_s"] = 0.5
    state, _, reasons = judge(figures(rows))
    assert (state, len(reasons)) == ("degraded", 1)
    assert "once" in reasons[0]


def test_the_lag_of_the_control_process_is_no_error_of_latencies() -> None:
    late = {"loop_lag_mean_s": 0.05, "loop_lag_max_s": 0.5, "wait_share": 0.9, "wakeup_delay_s": 0.1}
    assert judge(figures([sample(CONTROL, **late), sample(0)])) == ("valid", "valid", [])


@pytest.mark.parametrize(
    ("values", "state", "words"),
    [
        ({"cpu_share": 0.95}, "degraded", "uses 95 % of a CPU: the load may not be as asked"),
        ({"cpu_share": 1.0}, "invalid", "the load may not be as asked"),
        ({"backlog_bytes": 64e6}, "degraded", "64 MB of results wait to be stored"),
        ({"loop_lag_mean_s": 2.0}, "invalid", "shards may wait for requests"),
    ],
)
def test_a_saturated_control_process_is_told_with_advice_of_its_own(values: Any, state: str, words: str) -> None:
    latencies, found, reasons = judge(figures([sample(CONTROL, **values), sample(0)]), shards=4)
    assert (latencies, found) == ("valid", state)
    assert reasons[0].startswith("load: control process: ")
    assert words in reasons[0]
    assert "results.messages" in reasons[0]


def test_figures_of_the_control_process_have_names_of_their_own() -> None:
    found = worst({0: {"cpu_share": 0.5}, 1: {"cpu_share": 0.6}, CONTROL: {"cpu_share": 0.9, "feed_share": 0.1}})
    assert found == {"cpu_share": 0.6, "control_cpu_share": 0.9, "feed_share": 0.1}
