"""Arguments are the manifest's flat view: the same benchmark both ways, under EvalScope's names."""

import logging
from typing import Any

import pytest

from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_plugins.arguments import Arguments, resource_name
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


def test_levels_given_twice_get_names_of_their_own() -> None:
    assert [stage.title for stage in spec_of(parallel=[8, 8], number=[5, 5]).load.stages] == ["1", "2"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"parallel": [1, 8, 16], "number": [1, 2]}, "number has 2 values and parallel has 3"),
        ({"open_loop": True}, "open_loop needs a rate above 0"),
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
    assert spec_of().load.random_seed == 0


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
