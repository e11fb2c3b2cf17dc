"""Arguments are the manifest's flat view: the same benchmark both ways, under EvalScope's names."""

import argparse
import json
import logging
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import yaml

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_plugins.arguments import Arguments, resource_name
from perfbench_plugins.evalscope.flags import add_argument
from perfbench_plugins.foreign import WITHOUT_EFFECT

URL = "http://x:8000/v1"


def arguments(**values: Any) -> Arguments:
    return Arguments(**{"url": URL, "model": "m"} | values)


def spec_of(**values: Any) -> Any:
    return arguments(**values).to_benchmark().spec


def loads(**values: Any) -> list[tuple[Any, ...]]:
    return [
        (stage.concurrency, stage.rate, stage.max_concurrency, stage.requests, stage.duration)
        for stage in spec_of(**values).load.stages
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [(1, None, None, 1000, None)]),
        ({"parallel": 8, "number": 20}, [(8, None, None, 20, None)]),
        ({"parallel": [1, 8], "number": [10, 20]}, [(1, None, None, 10, None), (8, None, None, 20, None)]),
        ({"parallel": [1, 8], "number": 10}, [(1, None, None, 10, None), (8, None, None, 10, None)]),
        ({"parallel": [8], "number": [20]}, [(8, None, None, 20, None)]),
        ({"open_loop": True, "rate": 5, "number": 20}, [(None, 5, None, 20, None)]),
        ({"open_loop": True, "rate": [5, 9], "number": [2, 3]}, [(None, 5, None, 2, None), (None, 9, None, 3, None)]),
        ({"rate": 5, "parallel": 4, "number": 20}, [(None, 5, 4, 20, None)]),
        ({"parallel": 8, "number": 20, "duration": 30}, [(8, None, None, 20, 30)]),
    ],
)
def test_number_parallel_and_rate_make_stages(values: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    assert loads(**values) == expected


@pytest.mark.parametrize(("values", "times"), [({}, None), ({"retry": 0}, None), ({"retry": 5}, 5)])
def test_refused_requests_are_sent_again_if_asked(values: dict[str, Any], times: int | None) -> None:
    rule = spec_of(**values).load.retry
    assert (rule and rule.times) == times


@pytest.mark.parametrize(
    ("values", "stage"),
    [
        ({"open_loop": True, "rate": 5, "arrival": "gamma", "cv": 2}, {"rate": 5, "arrival": "gamma", "cv": 2}),
        ({"rate": 5, "parallel": 3, "arrival": "gamma", "cv": 0.5}, {"rate": 5, "maxConcurrency": 3, "cv": 0.5}),
        ({"profile": {"ramp": {"from": 1, "to": 20}}, "duration": 60}, {"duration": "1m", "requests": None}),
        (
            {"profile": {"sine": {"mean": 5, "amplitude": 2, "period": 9}}, "arrival": "gamma", "cv": 3, "number": 40},
            {"arrival": "gamma", "cv": 3, "requests": 40},
        ),
        ({"until": "ttft.p90=4%", "number": 500}, {"concurrency": 1, "requests": 500}),
        ({"until": "tpot=0.1", "duration": 60}, {"duration": "1m", "requests": None}),
    ],
)
def test_flags_say_when_requests_are_sent_and_when_a_stage_ends(values: dict[str, Any], stage: dict[str, Any]) -> None:
    (found,) = arguments(**values).to_benchmark().dump()["spec"]["load"]["stages"]
    assert {name: found.get(name) for name in stage} == stage
    assert found.get("profile") == values.get("profile") or "sine" in found["profile"]
    until = {"ttft.p90=4%": ("ttft", "p90", 0.04), "tpot=0.1": ("tpot", "p99", 0.1)}.get(values.get("until", ""))
    assert until == (tuple(found["until"].values()) if "until" in found else None)


def test_limits_of_a_request_are_given_as_objectives_are() -> None:
    limits = spec_of(goodput=["ttft<=500ms", "scheduled_latency <= 2s"]).goodput.limits
    assert limits == {"ttft": 0.5, "scheduled_latency": 2.0}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"until": "ttft.p99"}, "'ttft.p99' is no figure with its precision; write it as ttft.p99=5%"),
        ({"until": "ttft.p42=5%"}, "statistic"),
        ({"goodput": ["ttft>=500ms"]}, "no limit of a single request"),
        ({"goodput": ["ttft.p99<=500ms"]}, "no limit of a single request"),
        ({"goodput": ["ttft<=1s", "ttft<=2s"]}, "ttft is given twice"),
        ({"goodput": ["tttf<=1s"]}, "tttf"),
        ({"cv": 2, "parallel": 4}, "cv: belongs to rate, profile or open_loop"),
        ({"cv": 2, "rate": 4}, "cv belongs to arrival: gamma"),
        ({"profile": {"ramp": {"from": 1, "to": 2}}}, "how long ramp takes is not known; give duration"),
        ({"profile": {"ramp": {"from": 1, "to": 2}}, "rate": 4, "duration": 5}, "rate: profile says when requests"),
        ({"search_rate": "1:4", "until": "ttft.p99=5%"}, "until: search_rate finds the load by itself"),
    ],
)
def test_flags_that_make_no_sense_together_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        arguments(**values).to_benchmark()
    assert words in str(caught.value)


def test_levels_given_twice_get_names_of_their_own() -> None:
    assert [stage.title for stage in spec_of(parallel=[8, 8], number=[5, 5]).load.stages] == ["1", "2"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"parallel": [1, 8, 16], "number": [1, 2]}, "number has 2 values and parallel has 3"),
        ({"open_loop": True, "rate": [0, 5], "number": [1, 1]}, "open_loop needs a rate above 0"),
        ({"paralel": 3}, "paralel: unknown argument; did you mean 'parallel'?"),
        ({"max_tokens": [1, 2, 3]}, "not a range"),
        ({"temperature": -1}, "temperature: "),
        ({"max_prompt_length": "long"}, "max_prompt_length: "),
        ({"warmup_num": -1}, "warmup_num: "),
    ],
)
def test_a_mistake_is_named_as_python_names_it(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        arguments(**values)
    assert words in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"parallel": 0}, "concurrency"),
        ({"number": 0}, "requests"),
        ({"url": "x:8000"}, "no scheme"),
        ({"messages": "some"}, "messages"),
        ({"data_source": "ftp"}, "source"),
        ({"url": None}, "nothing to measure"),
    ],
)
def test_what_only_the_manifest_knows_is_refused_with_it(values: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError, match=field):
        arguments(**values).to_benchmark()


@pytest.mark.parametrize(("warmup", "requests"), [(0, 0), (5, 5), (0.1, 10), (0.001, 1)])
def test_warmup_is_a_number_or_a_share_of_the_first_stage(warmup: float, requests: int) -> None:
    assert spec_of(number=[100, 7], parallel=[1, 2], warmup_num=warmup).load.warmup.requests == requests


@pytest.mark.parametrize("name", sorted(WITHOUT_EFFECT))
def test_what_has_no_effect_is_accepted_with_a_word(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        arguments(**{name: 1})
        arguments(**{name: None})
    assert [record.getMessage() for record in caplog.records] == [f"{name} has no effect: {WITHOUT_EFFECT[name]}"]


def test_every_field_reaches_the_manifest_and_comes_back() -> None:
    given = arguments(
        api="openai",
        connect_timeout=3,
        read_timeout=4.5,
        total_timeout="1h",
        tokenizer_path="t",
        max_prompt_length=9,
        min_prompt_length=2,
        prefix_length=1,
        prompt="p",
        apply_chat_template=False,
        multi_turn=True,
        min_turns=2,
        max_turns=3,
        image_width=5,
        image_num=2,
        max_tokens=[5, 9],
        min_tokens=1,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        n_choices=2,
        seed=7,
        stop=["a", ","],
        stop_token_ids=[1, 2],
        stream=False,
        extra_args={"snake_case": {"max_tokens": 1, "nothing": None}},
        dataset="random",
        dataset_path="/d",
        dataset_args={"max_tokens": 1, "snake_case": 2},
        dataset_offset=4,
        data_source="local",
        random_seed=11,
        name="run",
    )
    benchmark = given.to_benchmark()
    back = Arguments.from_benchmark(PerfBenchmark.read(benchmark.dump()))
    left_out = {
        "number",
        "parallel",
        "duration",
        "warmup_num",
        "sleep_interval",
        "outputs_dir",
        "no_timestamp",
        "debug",
    }
    for name in Arguments.model_fields.keys() - left_out:
        assert getattr(back, name) == getattr(given, name), name
    assert (back.number, back.parallel) == (given.number, given.parallel)


@pytest.mark.parametrize(
    "name", ["connect_timeout", "read_timeout", "total_timeout", "max_tokens", "temperature", "stream"]
)
def test_none_is_not_the_default(name: str) -> None:
    """`total_timeout=None` is no bound, `temperature=None` leaves it to the server."""
    benchmark = arguments(**{name: None}).to_benchmark()
    assert getattr(Arguments.from_benchmark(PerfBenchmark.read(benchmark.dump())), name) is None


def test_load_and_credentials_reach_the_manifest_too() -> None:
    spec = spec_of(
        sleep_interval=3,
        grace_period="5s",
        max_failed_share=0.5,
        workers=2,
        messages="none",
        no_test_connection=True,
        insecure=True,
        ca_file="/ca.pem",
        headers={"X-A": "b"},
        arrival="constant",
        rate=2,
        open_loop=True,
    )
    assert (spec.load.pause, spec.load.grace_period, spec.load.max_failed_share) == (3, 5, 0.5)
    assert (spec.runner.workers, spec.results.messages, spec.target.connection_test) == (2, "none", False)
    assert spec.target.tls.insecure_skip_verify
    assert spec.target.tls.ca is not None
    assert spec.target.tls.ca.file == "/ca.pem"
    assert [(header.name, header.value) for header in spec.target.headers] == [("X-A", "b")]
    assert spec.load.stages[0].arrival == "constant"


def test_an_open_loop_of_the_manifest_is_one_for_plugins() -> None:
    stages = [{"rate": 2, "requests": 5}, {"rate": 3, "duration": "5s"}]
    benchmark = PerfBenchmark.read(
        {"metadata": {"name": "a"}, "spec": {"target": {"url": URL, "model": "m"}, "load": {"stages": stages}}}
    )
    found = Arguments.from_benchmark(benchmark)
    assert found.open_loop
    assert found.rate == [2, 3]


def test_mixed_loads_of_the_manifest_are_seen_as_they_are() -> None:
    stages = [{"rate": 2, "requests": 5}, {"concurrency": 3, "duration": "5s"}]
    benchmark = PerfBenchmark.read(
        {"metadata": {"name": "a"}, "spec": {"target": {"url": URL, "model": "m"}, "load": {"stages": stages}}}
    )
    found = Arguments.from_benchmark(benchmark)
    assert (found.open_loop, found.rate, found.parallel) == (False, [2, -1], [-1, 3])


def test_one_seed_fixes_prompts_too_unless_they_have_their_own() -> None:
    assert spec_of(seed=5).load.random_seed == 5
    assert spec_of(seed=5, random_seed=6).load.random_seed == 6
    assert spec_of().load.random_seed is None, "each run draws one"


def test_the_key_is_in_no_text() -> None:
    secret = arguments(api_key="sk-very-secret")
    assert "sk-very-secret" not in repr(secret) + str(secret) + secret.model_dump_json()
    assert "sk-very-secret" not in str(secret.to_benchmark().dump())


def test_from_dict_leaves_out_none() -> None:
    assert Arguments.from_dict({"url": URL, "model": "m", "number": None, "temperature": None}).temperature == 0


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Qwen/Qwen3-8B_x", "qwen-qwen3-8b-x"),
        ("---", "benchmark"),
        ("ü", "benchmark"),
        ("a" * 90, "a" * 52),
        ("meta.llama:3", "meta-llama-3"),
    ],
)
def test_any_text_makes_a_kubernetes_name(text: str, name: str) -> None:
    assert resource_name(text) == name


@pytest.mark.parametrize(("model", "expected"), [("Qwen/Qwen3-8B", "Qwen3-8B"), ("/models/a/", "a"), (None, "openqa")])
def test_model_id_is_the_last_part_of_the_models_path(model: str | None, expected: str) -> None:
    assert arguments(model=model).model_id == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sla_auto_tune": True}, "write --search-concurrency 1:64"),
        ({"scenario": "agentx"}, "trie_agentic_coding"),
        ({"enable_pd_metrics": True}, "inter_token_latencies"),
        ({"dataset_args": "{"}, "dataset_args: '{' is no JSON"),
        ({"multi_turn_args": "{"}, "multi_turn_args: '{' is no JSON"),
        ({"prefix_count": 2}, "prefix_count: only random"),
        ({"prefix_count": 2, "dataset": "random"}, "needs prefix_length"),
        ({"query_template": "@/nowhere.json"}, "query_template: cannot read '/nowhere.json'"),
    ],
)
def test_what_would_be_another_run_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)):
        arguments(**values).to_benchmark()


def test_what_is_folded_becomes_fields_of_ours() -> None:
    found = arguments(
        multi_turn_args={"first_turn_length": 5, "num_workers": 2},
        dataset_args='{"subsequent_turn_length": 3}',
        alias="my server",
    )
    assert found.dataset_args == {"first_turn_length": 5, "subsequent_turn_length": 3}
    assert (found.name, found.alias) == ("my server", "my server")
    prefixed = arguments(dataset="random", prefix_length=9, prefix_count=3)
    assert (prefixed.dataset_args, prefixed.prefix_count) == ({"prefix_count": 3}, 3)


def test_plugins_read_what_evalscope_has_as_given_or_by_its_default() -> None:
    found = arguments(num_workers=4)
    assert (found.num_workers, found.port, found.visualizer, found.sla_num_runs) == (4, 8877, None, 3)
    found.num_workers = 5
    assert found.model_copy().num_workers == 5
    with pytest.raises(AttributeError):
        found.nothing  # noqa: B018


def test_each_stage_has_numbers_of_its_own() -> None:
    found = arguments(number=[5, 7], parallel=[1, 2], warmup_num=3)
    one = found.for_stage(1)
    assert (one.number, one.parallel, one.rate, one.warmup_count, one.total_count) == (7, 2, -1, 3, 10)
    assert (found.number, arguments(number=4, parallel=[1, 2]).for_stage(1).number) == ([5, 7], 4)


@pytest.mark.parametrize(
    ("api", "url", "chat"),
    [
        ("openai", "http://h", True),
        ("openai", "http://h/v1/completions", False),
        ("openai", "http://h/mine", True),
        ("responses", "http://h/v1", False),
        ("mine", "http://h/v1/chat/completions", None),
    ],
)
def test_whether_to_chat_is_said_where_the_url_says_it_and_stays_out_of_the_manifest(
    api: str, url: str, chat: bool | None
) -> None:
    found = arguments(api=api, url=url)
    assert found.apply_chat_template is chat
    assert found.to_benchmark().spec.dataset.apply_chat_template is None
    assert arguments(api=api, url=url, apply_chat_template=True).to_benchmark().spec.dataset.apply_chat_template


def test_the_usual_url_is_evalscopes() -> None:
    assert Arguments(model="m").url == "http://127.0.0.1:8877/v1/chat/completions"


def test_arguments_come_from_files_and_flags_and_become_a_dict(tmp_path: Path) -> None:
    values = {"model": "m", "url": URL, "number": 3}
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(values))
    found = [
        Arguments.from_json(str(tmp_path / "a.json")),
        Arguments.from_yaml(str(tmp_path / "a.yaml")),
        Arguments.from_args(Namespace(**values, func=print, seed=None)),
    ]
    assert [one.to_dict()["number"] for one in found] == [3, 3, 3]
    assert arguments(api_key="sk-1").to_dict()["api_key"] == "**********"
    with found[0].output_context("elsewhere") as path:
        assert found[0].outputs_dir == path == "elsewhere"
    assert found[0].outputs_dir == "outputs"


def test_evalscopes_flags_are_there_for_argparse() -> None:
    parser = argparse.ArgumentParser()
    add_argument(parser)
    line = "--model m --url http://h --parallel 1 8 -n 2 4 --headers A=b C=d --no-stream --max-tokens 5 9 --stop x"
    given = parser.parse_args([*line.split(), "--extra-args", '{"top_k": 1}', "--num-workers", "3"])
    found = Arguments.from_args(given)
    assert (found.parallel, found.number, found.headers) == ([1, 8], [2, 4], {"A": "b", "C": "d"})
    assert (found.stream, found.max_tokens, found.stop, found.extra_args) == (False, [5, 9], ["x"], {"top_k": 1})
    assert found.num_workers == 3


@pytest.mark.parametrize(
    ("values", "stage"),
    [
        ({"open_loop": True}, {"arrival": "recorded"}),
        ({"open_loop": True, "number": 5}, {"arrival": "recorded", "requests": 5}),
        ({"open_loop": True, "duration": "20s"}, {"arrival": "recorded", "duration": "20s"}),
    ],
)
def test_an_open_loop_without_a_rate_plays_the_times_that_the_dataset_has(
    values: dict[str, Any], stage: dict[str, Any]
) -> None:
    (made,) = spec_of(**values).load.stages
    assert made.model_dump(exclude_none=True) == stage


def test_a_default_number_does_not_end_what_has_a_duration() -> None:
    """`--duration 20s` alone stopped after 1,000 requests."""
    assert Arguments(url="http://x", model="m", duration="20s").stages() == [{"concurrency": 1, "duration": "20s"}]
    given = Arguments(url="http://x", model="m", duration="20s", number=[10, 20], parallel=[1, 2]).stages()
    assert [(stage["requests"], stage["duration"]) for stage in given] == [(10, "20s"), (20, "20s")]
    for more in ({"rate": 5}, {"rate": 5, "open_loop": True}):
        assert "requests" not in Arguments(url="http://x", model="m", duration="20s", **more).stages()[0]


def test_flags_and_manifest_ask_for_the_same_where_neither_says_anything() -> None:
    flags = Arguments(url="http://x", model="m").to_benchmark().spec.load
    manifest = PerfBenchmark.read({"metadata": {"name": "m"}, "spec": {"target": {"url": "http://x", "model": "m"}}})
    assert flags == manifest.spec.load


def test_open_loop_alone_plays_recorded_times() -> None:
    for dataset in ("mooncake", "workload_trace", "replay"):
        asked = Arguments(url="http://x", model="m", dataset=dataset, open_loop=True)
        assert asked.stages() == [{"arrival": "recorded"}]
