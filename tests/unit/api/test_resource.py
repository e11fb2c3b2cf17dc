"""A manifest is validated once: each mistake becomes one line that names the field and the way out."""

from typing import Any

import pytest
from pydantic import ValidationError

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import Stage

TARGET = {"url": "http://x:8000/v1", "model": "m"}
RAMP = {"ramp": {"from": 1, "to": 5}}


def read(**spec: Any) -> PerfBenchmark:
    return PerfBenchmark.read({"metadata": {"name": "a"}, "spec": {"target": TARGET} | spec})


def problems_of(data: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        PerfBenchmark.read(data)
    return caught.value.problems


def stage(**fields: Any) -> dict[str, Any]:
    return {"load": {"stages": [fields]}}


def test_everything_but_the_target_has_a_default() -> None:
    spec = read().spec
    assert (spec.dataset.name, spec.target.api, spec.request.max_tokens) == ("openqa", "openai", 2048)
    assert [(each.concurrency, each.requests) for each in spec.load.stages] == [(1, 1000)]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"dataset": {"nam": "x"}}, "spec.dataset.nam: unknown field; did you mean 'name'?"),
        ({"laod": {}}, "spec.laod: unknown field; did you mean 'load'?"),
        ({"target": {"url": "http://x", "max_tokens": 5}}, "spec.target.max_tokens: unknown field; "),
        ({"request": {"max_tokens": 5}}, "spec.request.max_tokens: unknown field; did you mean 'maxTokens'?"),
        (stage(concurency=1, requests=1), "spec.load.stages[0].concurency: unknown field; did you mean 'concurrency'?"),
        ({"target": {"mock": {"ttf": 1}}}, "spec.target.mock.ttf: unknown field; did you mean 'ttft'?"),
        ({"target": {"model": "m"}}, "spec.target: nothing to measure; give url, service or mock"),
        ({"target": {"url": "http://x", "mock": {}}}, "spec.target: url and mock exclude each other; give one of them"),
        ({"target": {"url": "x:8000/v1"}}, "spec.target: url 'x:8000/v1' has no scheme; write http://x:8000/v1 or "),
        (stage(requests=1), "spec.load.stages[0]: give exactly one of concurrency (closed loop) and rate (open loop)"),
        (stage(concurrency=1, rate=1, requests=1), "spec.load.stages[0]: give exactly one of concurrency"),
        (stage(concurrency=1), "spec.load.stages[0]: has no end; give requests or duration"),
        (stage(rate=-1, requests=1), "spec.load.stages[0].rate: input should be greater than 0, got -1"),
        (stage(rate=0, requests=1), "spec.load.stages[0].rate: input should be greater than 0, got 0"),
        (stage(rate=".inf", requests=1), "spec.load.stages[0].rate: "),
        (stage(rate=float("inf"), requests=1), "spec.load.stages[0].rate: "),
        (stage(rate=float("nan"), requests=1), "spec.load.stages[0].rate: "),
        (stage(concurrency=0, requests=1), "spec.load.stages[0].concurrency: input should be greater than or equal to"),
        (
            stage(concurrency=10**12, requests=1),
            "spec.load.stages[0].concurrency: input should be less than or equal to 1000000",
        ),
        (
            stage(rate=1, maxConcurrency=10**7, requests=1),
            "spec.load.stages[0].maxConcurrency: input should be less than or equal",
        ),
        (
            stage(concurrency=1, duration="10x"),
            "spec.load.stages[0].duration: '10x' is not a duration; write it as 30s",
        ),
        (stage(concurrency=1, duration="0s"), "spec.load.stages[0].duration: input should be greater than 0"),
        (stage(concurrency=1, requests=1, maxConcurrency=1), "spec.load.stages[0]: maxConcurrency belongs to rate"),
        (stage(rate=1, profile=RAMP, duration=9), "spec.load.stages[0]: rate and profile exclude each other"),
        (
            stage(profile=RAMP, requests=9),
            "spec.load.stages[0]: profile: how long ramp takes is not known; give duration",
        ),
        (
            stage(profile={}, duration=9),
            "spec.load.stages[0].profile: give exactly one of ramp, steps, sine, burst and",
        ),
        (
            stage(profile=RAMP | {"sine": {"mean": 2, "amplitude": 1, "period": 9}}, duration=9),
            "spec.load.stages[0].profile: give",
        ),
        (
            stage(profile={"ramp": {"from": 0, "to": 0}}, duration=9),
            "spec.load.stages[0]: profile: its rate is always 0",
        ),
        (
            stage(profile={"ramp": {"from": -1, "to": 0}}, duration=9),
            "spec.load.stages[0].profile.ramp.from: input should",
        ),
        (
            stage(profile={"sine": {"mean": 1, "amplitude": 2, "period": 9}}, duration=9),
            "spec.load.stages[0].profile.sine: amplitude 2 is",
        ),
        (
            stage(profile={"points": [{"at": 1, "rate": 1}, {"at": 2, "rate": 1}]}, duration=9),
            "spec.load.stages[0].profile: points: the first",
        ),
        (
            stage(profile={"points": [{"at": 0, "rate": 1}, {"at": 5, "rate": 1}, {"at": 2, "rate": 1}]}, duration=9),
            "spec.load.stages[0].profile: points: one is",
        ),
        (
            stage(profile={"burst": {"base": 1, "peak": 2, "for": 9, "every": 5}}, duration=9),
            "spec.load.stages[0].profile.burst: every is no",
        ),
        (stage(rate=1, arrival="gamma", requests=1), "spec.load.stages[0]: arrival: gamma needs cv"),
        (stage(rate=1, cv=2, requests=1), "spec.load.stages[0]: cv belongs to arrival: gamma, not to poisson"),
        (stage(rate=1, cv=0, arrival="gamma", requests=1), "spec.load.stages[0].cv: input should be greater than 0"),
        (stage(rate=1, rampDown=5, requests=1), "spec.load.stages[0]: rampDown ends with the duration; give duration"),
        (stage(rate=1, rampUp=5, rampDown=5, duration=10), "spec.load.stages[0]: rampUp and rampDown leave nothing"),
        (
            stage(profile=RAMP, rampUp=5, duration=10),
            "spec.load.stages[0]: rampUp and rampDown belong to concurrency or rate",
        ),
        (stage(timestamps={"path": "a.csv"}, arrival="constant"), "spec.load.stages[0]: timestamps are the arrivals"),
        ({"load": {"stages": []}}, "spec.load.stages: "),
        (
            stage(concurrency=1, requests=1, name="a\nb"),
            "spec.load.stages[0].name: 'a\\nb' has characters that cannot be printed",
        ),
        (stage(concurrency=True, requests=1), "spec.load.stages[0].concurrency: must be a number, got true"),
        (stage(concurrency=1, requests=True), "spec.load.stages[0].requests: must be a number, got true"),
        (stage(rate=True, requests=1), "spec.load.stages[0].rate: must be a number, got true"),
        ({"load": {"repeat": True}}, "spec.load.repeat: must be a number, got true"),
        ({"load": {"maxFailedShare": False}}, "spec.load.maxFailedShare: must be a number, got false"),
        (
            {"load": {"maxFailedShare": "20%"}},
            "spec.load.maxFailedShare: must be a number, got '20%'; write it as 0.2",
        ),
        (
            stage(concurrency=1, requests=1000, until={"within": "50ms"}),
            "spec.load.stages[0].until.within: '50ms' is not a share; write it as 1% or 0.01",
        ),
        ({"load": {"maxFailedShare": 5}}, "spec.load.maxFailedShare: "),
        ({"request": {"maxTokens": 0}}, "spec.request: maxTokens must be at least 1"),
        ({"request": {"maxTokens": [9, 2]}}, "spec.request: maxTokens [9, 2] is not a range; write [min, max]"),
        ({"request": {"maxTokens": "many"}}, "spec.request.maxTokens: "),
        ({"objectives": [{"metric": "ttft"}]}, "spec.objectives[0]: bounds nothing; give max or min"),
        ({"objectives": [{"metric": "tft", "max": 1}]}, "spec.objectives[0].metric: "),
        ({"objectives": [{"metric": "ttft", "max": "fast"}]}, "spec.objectives[0].max: 'fast' is not a duration"),
        ({"objectives": [{"metric": "ttft", "max": 1, "stage": "x"}]}, "spec: objectives: no stage is named 'x'"),
        ({"results": {"messages": "some"}}, "spec.results.messages: input should be 'all', 'failed' or 'none'"),
        (
            {"plugins": [{"file": "a", "module": "b"}]},
            "spec.plugins[0]: give exactly one of file, module and configMap",
        ),
        ({"target": TARGET | {"headers": [{"name": "A B", "value": "x"}]}}, "spec.target.headers[0].name: "),
        ({"target": TARGET | {"headers": [{"name": "A", "value": "x\ny"}]}}, "spec.target.headers[0].value: "),
        (
            {"target": TARGET | {"headers": [{"name": "A"}]}},
            "spec.target.headers[0]: give one of value, secretKeyRef and env",
        ),
        ({"target": TARGET | {"connectTimeout": "-1s"}}, "spec.target.connectTimeout: '-1s' is not a duration"),
        ({"target": TARGET | {"metrics": "on"}}, "spec.target.metrics: "),
        (
            {"objectives": [{"metric": "ttft", "max": "1%"}]},
            "spec.objectives[0]: max: 1% is a share, and ttft is a time",
        ),
        (
            {"objectives": [{"metric": "failed_share", "max": "5ms"}]},
            "spec.objectives[0]: max: 5ms is a duration, and failed_share is a share; write it as 1%",
        ),
        ({"objectives": [{"metric": "failed_share", "max": 5}]}, "spec.objectives[0]: max: a share is from 0 to 1"),
        (
            {"objectives": [{"metric": "failed_share", "max": "500%"}]},
            "spec.objectives[0]: max: a share is from 0 to 1",
        ),
        ({"objectives": [{"metric": "request_throughput", "min": "5s"}]}, "spec.objectives[0]: min: 5s is no number"),
        (
            {"objectives": [{"metric": "output_token_throughput", "min": "5%"}]},
            "spec.objectives[0]: min: 5% is no number",
        ),
        ({"objectives": [{"metric": "itl", "min": "2s", "max": "1s"}]}, "spec.objectives[0]: min 2 is above max 1"),
        ({"objectives": [{"metric": "itl", "max": -1}]}, "spec.objectives[0]: max: -1 is negative"),
        ({"request": {"minTokens": 9, "maxTokens": 8}}, "spec.request: minTokens 9 is above maxTokens 8"),
        ({"request": {"minTokens": 9, "maxTokens": [8, 20]}}, "spec.request: minTokens 9 is above maxTokens 8"),
        ({"dataset": {"minPromptLength": 9, "maxPromptLength": 8}}, "spec.dataset: minPromptLength 9 is above"),
        ({"dataset": {"minTurns": 9, "maxTurns": 8}}, "spec.dataset: minTurns 9 is above maxTurns 8"),
        ({"target": TARGET | {"model": ""}}, "spec.target.model: string should have at least 1 character"),
        *(
            ({"target": TARGET | {name: 0}}, f"spec.target.{name}: input should be greater than 0")
            for name in ("connectTimeout", "readTimeout", "totalTimeout")
        ),
        *(
            (
                {"target": TARGET | {"headers": [{"name": name, "value": "5"}]}},
                f"spec.target.headers[0].name: {name} says how a request is framed",
            )
            for name in ("Content-Length", "transfer-encoding", "Connection", "Expect")
        ),
        (
            {"target": TARGET | {"headers": [{"name": "X-A", "value": "1"}, {"name": "x-a", "value": "2"}]}},
            "spec.target: headers: x-a is given twice",
        ),
        (
            {"target": {"url": "ftp://x/v1"}},
            "spec.target: url 'ftp://x/v1' is of scheme ftp; only http:// and https://",
        ),
        ({"target": {"mock": {"ttft": "5ms", "ttftJitter": "6ms"}}}, "spec.target.mock: ttftJitter is more than ttft"),
        ({"target": {"mock": {"outputTokens": 0}}}, "spec.target.mock.outputTokens: "),
        ({"target": TARGET | {"tls": {"keyFile": "a.pem"}}}, "spec.target.tls: keyFile is the key of a certificate"),
        ({"target": TARGET | {"tls": {"ca": {}}}}, "spec.target.tls.ca: give exactly one of file, secretKeyRef"),
        ({"load": {"warmup": {"concurrency": 4}}}, "spec.load.warmup: concurrency of no requests"),
        (
            {"objectives": [{"metric": "failed_share", "statistic": "p50", "max": "1%"}]},
            "spec.objectives[0]: statistic: failed_share has only one value",
        ),
        (stage(concurrency=2, requests=5, arrival="constant"), "spec.load.stages[0]: concurrency makes a closed loop"),
        ({"target": TARGET | {"apiKey": "sk-abcdefgh1234"}}, "spec.target.apiKey: "),
        ({"target": 5}, "spec.target: "),
        ({"target": None}, "spec.target: "),
    ],
)
def test_each_mistake_is_one_line_that_names_the_field(spec: dict[str, Any], line: str) -> None:
    problems = problems_of({"metadata": {"name": "a"}, "spec": {"target": TARGET} | spec})
    assert any(problem.startswith(line) for problem in problems), problems
    assert all("\n" not in problem and "://errors.pydantic" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("objective", "bound"),
    [
        ({"metric": "ttft", "max": "500ms"}, 0.5),
        ({"metric": "ttft", "max": 0.5}, 0.5),
        ({"metric": "ttft", "max": "0.5"}, 0.5),
        ({"metric": "failed_share", "max": "1%"}, 0.01),
        ({"metric": "failed_share", "max": 0.01}, 0.01),
        ({"metric": "failed_share", "max": "0.01"}, 0.01),
        ({"metric": "failed_share", "max": 0}, 0.0),
        ({"metric": "request_throughput", "max": "20"}, 20.0),
    ],
)
def test_bounds_in_their_metrics_unit(objective: dict[str, Any], bound: float) -> None:
    assert read(objectives=[objective]).spec.objectives[0].max == bound


def test_a_key_in_the_place_of_its_variable_is_not_shown() -> None:
    (problem,) = problems_of({"metadata": {"name": "a"}, "spec": {"target": TARGET | {"apiKey": "my-own-key"}}})
    assert "my-own-key" not in problem
    assert "{env: VARIABLE}" in problem


def test_several_mistakes_are_all_told() -> None:
    problems = problems_of(
        {"metadata": {"name": "a"}, "spec": {"target": TARGET, "dataset": {"nam": 1}, "request": {"topP": "x"}}}
    )
    assert [problem.partition(":")[0] for problem in problems] == ["spec.dataset.nam", "spec.request.topP"]


def test_two_stages_of_one_name_are_refused() -> None:
    stages = [{"name": "a", "concurrency": load, "requests": 1} for load in (1, 2)]
    assert problems_of({"metadata": {"name": "a"}, "spec": {"target": TARGET, "load": {"stages": stages}}}) == [
        "spec: load.stages: two stages are named 'a'; give each its own name"
    ]


def test_derived_stage_names_are_told_apart_too() -> None:
    """c8 twice would give two rows of one name, and an objective would not know which it means."""
    stages = [{"concurrency": 8, "requests": 1}, {"concurrency": 8, "requests": 2}]
    assert problems_of({"metadata": {"name": "a"}, "spec": {"target": TARGET, "load": {"stages": stages}}})[
        0
    ].startswith("spec: load.stages: two stages are named 'c8'")


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "text",
        {},
        {"kind": "Deployment", "apiVersion": "apps/v1"},
        {"kind": "PerfBenchmark", "apiVersion": 1},
        {"kind": ["PerfBenchmark"]},
        {"apiVersion": "perfbench.io/v9", "metadata": {"name": "a"}, "spec": {"target": TARGET}},
        {"metadata": {"name": "Not A Name"}, "spec": {"target": TARGET}},
        {"metadata": {"name": "a"}, "spec": None},
        {"metadata": None, "spec": {"target": TARGET}},
    ],
)
def test_what_is_no_benchmark_is_said_to_be_none(data: Any) -> None:
    assert problems_of(data)


def test_a_dumped_manifest_reads_back_as_itself() -> None:
    benchmark = read(
        request={
            "temperature": None,
            "maxTokens": [5, 9],
            "extraArgs": {"ignore_eos": True, "snake_case": {"a_b": None}},
        },
        target=TARGET | {"connectTimeout": None, "totalTimeout": "90s", "headers": [{"name": "A", "value": "b"}]},
        dataset={"name": "random", "args": {"target_len": 5}},
        load={"stages": [{"rate": 2.5, "duration": "1m30s", "arrival": "constant"}], "warmup": {"requests": 3}},
        objectives=[{"metric": "ttft", "max": "500ms"}, {"metric": "failed_share", "max": "1%"}],
    )
    assert PerfBenchmark.read(benchmark.dump()) == benchmark


def test_a_truth_value_in_place_of_a_number_is_told_beside_all_else() -> None:
    with pytest.raises(SpecError) as error:
        read(**stage(concurrency=True, requests=1, duration=False, arival="poisson"))
    assert error.value.problems == [
        "spec.load.stages[0].concurrency: must be a number, got true",
        "spec.load.stages[0].duration: must be a number, got false",
        "spec.load.stages[0].arival: unknown field; did you mean 'arrival'?",
    ]


@pytest.mark.parametrize("name", ["max_concurrency", "maxConcurrency"])
def test_a_truth_value_is_no_number_under_any_name_of_a_field(name: str) -> None:
    with pytest.raises(ValidationError, match="int_parsing"):
        Stage.model_validate({"rate": 1, "requests": 1, name: True})
