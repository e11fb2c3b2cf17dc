"""Flags are EvalScope's: every one of its 76 works, is accepted without effect, or is refused with a reason."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from perfbench_api.resource import SpecError
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.foreign import FOLDED, WITHOUT_EFFECT
from perfbench_runner.cli.flags import REFUSED, FlagsCommand, arguments_of, evalscope_flags

EVALSCOPE = """
model attn-implementation api tokenizer-path port url headers connect-timeout read-timeout total-timeout api-key
no-test-connection number parallel rate warmup-num open-loop sleep-interval duration sla-auto-tune sla-variable
sla-params sla-num-runs sla-upper-bound sla-lower-bound sla-fixed-parallel sla-number-multiplier db-commit-interval
queue-size-multiplier in-flight-task-multiplier num-workers log-every-n-query debug enable-progress-tracker visualizer
wandb-api-key swanlab-api-key swanlab-host name outputs-dir no-timestamp max-prompt-length min-prompt-length
prefix-length prompt query-template apply-chat-template image-width image-height image-format image-num
image-patch-size dataset dataset-path data-source dataset-offset dataset-args frequency-penalty repetition-penalty
logprobs max-tokens min-tokens n-choices seed stop stop-token-ids stream temperature top-p top-k extra-args
tokenize-prompt multi-turn min-turns max-turns multi-turn-args scenario enable-pd-metrics alias prefix-count
""".split()
SWITCHES = """
no-test-connection open-loop sla-auto-tune debug enable-progress-tracker no-timestamp apply-chat-template
no-apply-chat-template logprobs stream no-stream tokenize-prompt multi-turn enable-pd-metrics
""".split()
"""Flags that take no value there."""


@click.command(cls=FlagsCommand)
@click.argument("file", required=False)
@click.option("-o", "--outputs-dir")
@evalscope_flags
@click.pass_context
def command(context: click.Context, /, file: str | None, outputs_dir: str | None, **flags: Any) -> None:
    context.obj.update({name: value for name, value in flags.items() if value is not None})
    context.obj.update({"file": file} if file else {})
    context.obj.update({"outputs_dir": outputs_dir} if outputs_dir else {})


def parse(*args: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    result = CliRunner().invoke(command, args, obj=found)
    if isinstance(result.exception, SpecError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return found


def test_evalscope_has_80_flags() -> None:
    assert len(EVALSCOPE) == len(set(EVALSCOPE)) == 80


@pytest.mark.parametrize("flag", EVALSCOPE)
def test_every_flag_of_evalscope_works_or_says_why_not(flag: str) -> None:
    name = flag.replace("-", "_")
    value = [] if flag in SWITCHES else ["5"]
    if flag in ("headers", "dataset-args", "extra-args"):
        value = ['{"a": "b"}']
    if name in REFUSED:
        with pytest.raises(SpecError, match=f"^--{flag}: "):
            parse(f"--{flag}", *value, "--model", "m")
        return
    found = parse(f"--{flag}", *value, "--model", "m")
    assert found.pop("model") in ("m", "5")
    if flag == "model":
        return
    assert list(found) == [name]
    assert name in {*Arguments.model_fields, *WITHOUT_EFFECT, *FOLDED}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("--parallel 1 8 64 --number 10 20 30", {"parallel": [1, 8, 64], "number": [10, 20, 30]}),
        ("-n 10 20 --parallel 1 2 --model m", {"number": [10, 20], "parallel": [1, 2], "model": "m"}),
        ("--parallel 8", {"parallel": 8}),
        ("--parallel=8 -n 5", {"parallel": 8, "number": 5}),
        ("--parallel 1,8", {"parallel": [1, 8]}),
        ("--parallel [1,8]", {"parallel": [1, 8]}),
        ("--parallel 1 --parallel 8", {"parallel": [1, 8]}),
        ("--rate 0.5 2 --open-loop", {"rate": [0.5, 2], "open_loop": True}),
        ("--rate 1 .5 1e1 --number 4 --open-loop", {"rate": [1, ".5", 10], "number": 4, "open_loop": True}),
        ("--rate -1", {"rate": -1}),
        ("--max-tokens 128", {"max_tokens": 128}),
        ("--max-tokens 16 128", {"max_tokens": [16, 128]}),
        ("--stop-token-ids 1 2", {"stop_token_ids": [1, 2]}),
        ("--stop-token-ids 1", {"stop_token_ids": [1]}),
        ("--stop END", {"stop": ["END"]}),
        ("--stop END STOP --model m", {"stop": ["END", "STOP"], "model": "m"}),
        ("--stop 1 , a,b", {"stop": ["1", ",", "a,b"]}),
        ('--stop ["a","b"]', {"stop": ["a", "b"]}),
        ("--headers a=b c=d --model m", {"headers": {"a": "b", "c": "d"}, "model": "m"}),
        ("--headers a=b=c", {"headers": {"a": "b=c"}}),
        ('--headers {"a":"b"}', {"headers": {"a": "b"}}),
        ('--extra-args {"ignore_eos":true}', {"extra_args": {"ignore_eos": True}}),
        ("--extra-args ignore_eos=true n=2 s=text", {"extra_args": {"ignore_eos": True, "n": 2, "s": "text"}}),
        ("--no-stream --no-apply-chat-template", {"stream": False, "apply_chat_template": False}),
        ("--duration 1m30s", {"duration": "1m30s"}),
        ("--connect-timeout 3", {"connect_timeout": "3"}),
        ("--seed 0 --temperature 0", {"seed": 0, "temperature": 0.0}),
        ("--enable-progress-tracker --model m", {"enable_progress_tracker": True, "model": "m"}),
        ("--dataset line_by_line --dataset-path a.txt", {"dataset": "line_by_line", "dataset_path": "a.txt"}),
        ("--parallel 8 file.yaml", {"parallel": 8, "file": "file.yaml"}),
    ],
)
def test_values_are_read_as_evalscope_reads_them(args: str, expected: dict[str, Any]) -> None:
    found = parse(*args.split())
    assert found == expected
    for name, value in found.items():
        assert type(value) is type(expected[name]), name


@pytest.mark.parametrize("value", ["Bearer a b", "text/html, application/json"])
def test_a_header_keeps_its_spaces_and_commas(value: str) -> None:
    assert parse("--headers", f"X-A={value}", "X-B=c") == {"headers": {"X-A": value, "X-B": "c"}}


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--headers", "nothing"], "--headers: 'nothing' is neither a JSON object nor name=value"),
        (["--extra-args", "{a:1}"], "--extra-args: '{a:1}' is no JSON"),
        (["--extra-args", "[1]"], "--extra-args: '[1]' is neither a JSON object nor name=value"),
        (["--parallel", "[1"], "--parallel: '[1' is no JSON"),
    ],
)
def test_what_cannot_be_read_is_one_line(args: list[str], line: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(*args)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(line)


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"parallel": "many"}, "--parallel: "),
        ({"max_tokens": "many"}, "--max-tokens: "),
        ({"number": 1.5}, "--number: "),
        ({"duration": "long"}, "--duration: 'long' is not a duration"),
        ({"number": [1, 2], "parallel": [1, 2, 3]}, "number has 2 values and parallel has 3"),
    ],
)
def test_a_wrong_value_names_the_flag(flags: dict[str, Any], line: str) -> None:
    with pytest.raises(SpecError) as caught:
        arguments_of({"url": "http://x", "model": "m"} | flags)
    assert [line in problem for problem in caught.value.problems] == [True]


def test_every_flag_has_a_help_text() -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden and parameter.name != "outputs_dir":
            described = parameter.get_help_record(click.Context(command))
            assert described is not None
            assert described[1].strip(), parameter.name


@pytest.mark.parametrize("flag", ["headers", "api-args", "extra-args", "dataset-args"])
def test_help_of_a_map_says_what_it_takes(flag: str) -> None:
    text = " ".join(CliRunner().invoke(command, ["--help"], obj={}).output.split())
    own = text.partition(f"--{flag} ")[2].partition(" --")[0]
    assert own.startswith("NAME=VALUE…")
    assert "Takes name=value or 'Name: value', several of them, or one JSON object." in own


def test_flags_for_what_a_manifest_has() -> None:
    found = parse(
        *("--url", "https://x", "--model", "m", "--wait-for", "5m", "--proxy", "environment"),
        *("--cert-file", "c.pem", "--key-file", "k.pem", "--ca-file", "ca.pem"),
        *("--objectives", "ttft.p99<=500ms", "failed_share <= 1%", "--number", "10"),
        *("--objectives", "output_token_throughput>=20"),
    )
    spec = arguments_of(found).to_benchmark().dump()["spec"]
    assert spec["target"]["waitFor"] == "5m"
    assert spec["target"]["proxy"] == "environment"
    tls = {"insecureSkipVerify": False, "ca": {"file": "ca.pem"}, "certFile": "c.pem", "keyFile": "k.pem"}
    assert spec["target"]["tls"] == tls
    bounds = [(each["metric"], each.get("max"), each.get("min")) for each in spec["objectives"]]
    assert bounds == [("ttft", 0.5, None), ("failed_share", 0.01, None), ("output_token_throughput", None, 20.0)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ttft.p99", "--objectives: 'ttft.p99' is no objective"),
        ("ttft.p99=500ms", "is no objective; write it as 'ttft.p99<=500ms'"),
        ("ttft.p99<500ms", "is no objective"),
        ("ttft<=1%", "1% is a share, and ttft is a time"),
        ("ttft.p98<=1s", "objectives[0].statistic: input should be 'mean'"),
        ("tfft<=1s", "objectives[0].metric: input should be 'ttft'"),
        ("ttft<=-1s", "'-1s' is not a duration"),
    ],
)
def test_an_objective_that_is_none_is_told(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        arguments_of({"url": "http://x", "model": "m", "objectives": [text]}).to_benchmark()
    assert words in str(caught.value)
