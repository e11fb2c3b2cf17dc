"""Every API against the bundled mock: whole runs, streamed and plain, and each way in which a request can fail."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from perfbench_plugins.api.default_api import DefaultApiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.benchmark_data import BenchmarkData
from perfbench_plugins.registry import ApiRegistry
from perfbench_runner.main import run_perf_benchmark
from perfbench_runner.mock.process import MockProcess
from perfbench_runner.mock.server import MockServer
from perfbench_runner.mock.settings import MockSettings
from perfbench_runner.shard.transport import HttpTransport, Limits

TTFT_S, TOKENS = 0.02, 6
TEMPLATE = {
    "body": '{"inputs": {{ prompt | tojson }}, "parameters": {"max_new_tokens": {{ max_tokens }}, "details": true}}',
    "content": "[token][?!special].text",
    "end": "details.finish_reason != null",
    "prompt_tokens": "details.input_length",
    "completion_tokens": "details.generated_tokens",
    "path": "/generate_stream",
}
PLAIN = {"path": "/generate", "content": "generated_text", "end": None, "prompt_tokens": None}
GENERATING: dict[str, dict[str, Any]] = {
    "openai": {},
    "openai_responses": {},
    "anthropic": {},
    "dashscope": {},
    "tgi": {"decoder_input_details": True},
    "custom": {},
    "ollama": {},
    "template": TEMPLATE,
}
CHAT = [{"role": "user", "content": "one two three"}]
RERANK = {"query": "one two", "documents": ["three", "four five"]}


@pytest.fixture(scope="module")
def mock_url() -> Any:
    with MockProcess(MockSettings(ttft_s=TTFT_S, itl_s=0.002, reasoning_tokens=2, api_key="secret")) as mock:
        yield mock.base_url


def run(url: str, api: str, folder: Path, **values: Any) -> dict[str, Any]:
    """The figures of a small run."""
    arguments = {
        "url": url,
        "model": "m",
        "api": api,
        "api_key": "secret",
        "prompt": "one two three",
        "number": 4,
        "parallel": 2,
        "max_tokens": TOKENS,
        "workers": 1,
        "outputs_dir": str(folder),
    }
    (result,) = run_perf_benchmark(Arguments(**arguments | values)).values()
    metrics: dict[str, Any] = result["metrics"]
    return metrics


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", GENERATING)
def test_a_run_of_an_api_that_generates(mock_url: str, tmp_path: Path, api: str, stream: bool) -> None:
    args = dict(GENERATING[api])
    if api == "template" and not stream:
        args |= PLAIN
    metrics = run(mock_url, api, tmp_path, stream=stream, api_args=args)
    assert metrics["requests"].items() >= {"total": 4, "succeeded": 4, "failed": 0}.items()
    assert metrics["token_sources"] == {"usage": 4}
    assert (metrics["output_tokens"]["min"], metrics["output_tokens"]["max"]) == (TOKENS, TOKENS)
    counted = None if args.get("prompt_tokens", "") is None else 3
    assert (metrics["prompt_tokens"]["min"], metrics["prompt_tokens"]["max"]) == (counted, counted)
    assert metrics["ttft_s"]["count"] == (4 if stream else 0)
    assert metrics["itl_s"]["count"] == (4 * (TOKENS - 1) if stream else 0)
    if stream:
        assert metrics["ttft_s"]["min"] >= TTFT_S
    assert metrics["e2e_latency_s"]["min"] >= TTFT_S + 0.002 * (TOKENS - 1)


@pytest.mark.parametrize(
    ("api", "values", "prompt_tokens"),
    [
        ("embedding", {}, 3),
        ("openai_embedding", {"extra_args": {"dimensions": 4000}}, 3),
    ],
)
def test_a_run_of_an_api_that_does_not_generate(
    mock_url: str, tmp_path: Path, api: str, values: dict[str, Any], prompt_tokens: int
) -> None:
    metrics = run(mock_url, api, tmp_path, **values)
    assert metrics["requests"].items() >= {"total": 4, "succeeded": 4, "failed": 0}.items()
    assert (metrics["output_tokens"]["max"], metrics["ttft_s"]["count"], metrics["token_sources"]) == (
        0,
        0,
        {"usage": 4},
    )
    assert metrics["prompt_tokens"]["max"] == prompt_tokens
    assert metrics["input_token_throughput_tps"] == pytest.approx(4 * prompt_tokens / metrics["duration_s"])
    assert metrics["e2e_latency_s"]["min"] >= TTFT_S


@pytest.mark.parametrize(("dialect", "source"), [("jina", "usage"), ("cohere", "usage"), ("tei", "none")])
def test_a_run_of_reranking(mock_url: str, tmp_path: Path, dialect: str, source: str) -> None:
    lines = tmp_path / "rerank.jsonl"
    lines.write_bytes(orjson.dumps(RERANK) + b"\n")
    metrics = run(
        mock_url,
        "rerank",
        tmp_path,
        prompt=None,
        dataset="line_by_line",
        dataset_path=str(lines),
        api_args={"dialect": dialect},
    )
    assert metrics["requests"].items() >= {"total": 4, "succeeded": 4, "failed": 0}.items()
    assert metrics["token_sources"] == {source: 4}
    assert metrics["prompt_tokens"]["max"] == (7 if source == "usage" else None)
    assert (metrics["input_token_throughput_tps"] is None) == (source == "none")
    assert metrics["output_tokens"]["max"] == 0


# ------------------------------------------------------------ failures


async def ask(api: str, stream: bool = True, key: str | None = None, **settings: Any) -> BenchmarkData:
    """One request through the measuring loop's own transport."""
    args = GENERATING.get(api)
    async with MockServer(MockSettings(**{"ttft_s": 0, "itl_s": 0} | settings)) as mock:
        arguments = Arguments(url=mock.base_url, model="m", api=api, stream=stream, max_tokens=TOKENS, api_args=args)
        found = ApiRegistry.get_class(api)
        plugin: DefaultApiPlugin = found(arguments)
        transport = plugin.transport = HttpTransport(Limits())
        try:
            messages = RERANK if api == "openai_rerank" else CHAT
            body = plugin.build_request(messages)
            url, no_session = found.complete_url(mock.base_url, arguments), None
            return await plugin.process_request(no_session, url, plugin.headers(key), body)  # type: ignore[arg-type]
        finally:
            await transport.close()


ALL = [*GENERATING, "openai_embedding", "openai_rerank"]


@pytest.mark.parametrize("api", ALL)
@pytest.mark.parametrize(
    ("settings", "failure", "words"),
    [
        ({"error_rate": 1, "error_status": 429}, "http_429", "as asked by error_rate"),
        ({"error_rate": 1, "error_status": 503}, "http_503", "as asked by error_rate"),
        ({"api_key": "secret"}, "http_401", "API key"),
        ({"broken_rate": 1}, "disconnected", ""),
    ],
)
async def test_a_refused_or_broken_request_is_told(
    api: str, settings: dict[str, Any], failure: str, words: str
) -> None:
    data = await ask(api, **settings)
    assert (data.success, data.failure) == (False, failure)
    assert words in (data.error or "")


@pytest.mark.parametrize("api", GENERATING)
@pytest.mark.parametrize(
    ("settings", "failure"), [({"stream_error_rate": 1}, "in_stream"), ({"truncate_rate": 1}, "truncated")]
)
async def test_a_stream_that_fails_under_status_200_is_a_failure(
    api: str, settings: dict[str, Any], failure: str
) -> None:
    data = await ask(api, **settings)
    assert (data.success, data.failure) == (False, failure)
    assert data.first_chunk_latency is not None


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", ["openai", "openai_responses", "anthropic", "dashscope"])
async def test_reasoning_is_timed_but_no_part_of_the_answer(api: str, stream: bool) -> None:
    data = await ask(api, stream, reasoning_tokens=2)
    assert (data.reasoning_text, data.generated_text) == ("a model", "a model reads this")
    assert data.completion_tokens == TOKENS
    assert len(data.chunk_times) == (TOKENS if stream else 0)


@pytest.mark.parametrize("api", ["openai", "openai_responses", "anthropic", "dashscope", "custom"])
async def test_without_usage_the_chunks_of_a_stream_are_counted(api: str) -> None:
    data = await ask(api, usage="never")
    assert (data.success, data.token_source, data.prompt_tokens, data.completion_tokens) == (
        True,
        "chunks",
        None,
        TOKENS,
    )


@pytest.mark.parametrize("api", ALL)
async def test_the_key_is_sent_where_the_api_looks_for_it(api: str) -> None:
    data = await ask(api, key="secret", api_key="secret")
    assert data.success, data.error
