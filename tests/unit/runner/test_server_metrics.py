"""What the server says of itself: reading its page, storing it, and figures over exactly the measured window."""

import asyncio
import json
import logging
import random
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from aiohttp import web

from perfbench_api.outcome import Outcome
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import MetricsSource
from perfbench_runner.results.schema import migrate
from perfbench_runner.results.store import Store
from perfbench_runner.server import collector as server_metrics
from perfbench_runner.server.collector import ServerMetrics, Source, sources
from perfbench_runner.server.figures import server_figures
from perfbench_runner.server.live import ServerLive
from perfbench_runner.server.names import KNOWN, neutral
from perfbench_runner.server.scrape import Page, Reading, ScrapeError, addresses, fetch, is_exposition, readings
from perfbench_runner.shard.messages import Wiring
from perfbench_runner.shard.transport import Limits

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:generation_tokens_total{engine="0",model_name="m"} 640.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.01",model_name="m"} 2.0
process_cpu_seconds_total 12.5
"""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def wiring(url: str, **headers: str) -> Wiring:
    return Wiring(url, headers, Limits(), {}, None)


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{any:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def page(text: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text)

    return answer


# One page


def test_only_the_wanted_lines_are_read() -> None:
    found = list(readings(VLLM, ("vllm:num_*", "vllm:generation_tokens_total")))
    assert found == [
        Reading("vllm:num_requests_running", '{"engine": "0", "model_name": "m"}', 3.0),
        Reading("vllm:num_requests_waiting", '{"engine": "0", "model_name": "m"}', 1.0),
        Reading("vllm:generation_tokens_total", '{"engine": "0", "model_name": "m"}', 640.0),
    ]


def test_lines_that_cannot_be_read_are_left_out() -> None:
    assert list(readings('a{b="c" 1\na 2\na{b="c"} x\n', ("a",))) == [Reading("a", "{}", 2.0)]


EXPOSITIONS = [
    VLLM,
    "up 1\n",
    'x{a="b"} 2 1700000000\n',
    "# TYPE a gauge\n",
    "# EOF\n",
    "# a word\n_a:b 1 \n",
    f'a{{b="{"x" * 600}"}} 1',
]


@pytest.mark.parametrize("text", EXPOSITIONS)
def test_prometheus_text_is_known_by_its_first_line(text: str) -> None:
    assert is_exposition(text)


@pytest.mark.parametrize(
    "text", ["", "<!doctype html>\n<html>", '{"error": "not found"}', "Not Found", "# a title\ntext 1 x"]
)
def test_other_pages_are_none(text: str) -> None:
    assert not is_exposition(text)


async def test_a_page_is_fetched_with_its_headers_whole_or_in_chunks() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for part in (request.path_qs, " ", request.headers["X-Key"]):
            await response.write(part.encode())
        return response

    async with serving(answer) as url:
        assert (
            await fetch(Page(f"{url}/metrics?all=1", {"X-Key": "secret"}), "127.0.0.1")
        ).text == "/metrics?all=1 secret"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\na 1\nb 64", "a 1\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\na 1\nb 64", "the answer was cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\na 1\nb 64\r\n", "the answer was cut off"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ".+"),
        (b"HTTP/1.1 2", ".+"),
        (b"", "no answer"),
    ],
)
async def test_a_page_that_is_cut_off_is_not_read_to_a_wrong_number(answer: bytes, text: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    page = Page(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics")
    if text.startswith("a 1"):
        assert (await fetch(page, "127.0.0.1")).text == text
    else:
        with pytest.raises(ScrapeError, match=text):
            await fetch(page, "127.0.0.1")
    server.close()
    await server.wait_closed()


async def test_what_is_no_page_is_said_in_words() -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPNotFound

    async with serving(answer) as url:
        with pytest.raises(ScrapeError, match="HTTP 404"):
            await fetch(Page(f"{url}/metrics"), "127.0.0.1")
    with pytest.raises(ScrapeError, match="Connect call failed"):
        await fetch(Page(f"{url}/metrics"), "127.0.0.1")
    with pytest.raises(ScrapeError, match="no-such-host"):
        await addresses(Page("http://no-such-host.invalid/metrics"))


async def test_a_page_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfbench_runner.server.scrape.TIMEOUT_S", 0.1)

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(1)
        return response

    async with serving(answer) as url:
        with pytest.raises(ScrapeError, match=r"no answer within 0\.1 s"):
            await fetch(Page(f"{url}/metrics"), "127.0.0.1")


# What is asked for


def test_auto_looks_beside_the_target_with_its_headers() -> None:
    found = sources("auto", wiring("http://llama.models.svc:8000/v1/chat/completions", Authorization="Bearer x"))
    base = "http://llama.models.svc:8000"
    assert [source.page.url for source in found] == [f"{base}/metrics", f"{base}/prometheus/metrics"]
    assert all(source.page.headers == {"Authorization": "Bearer x"} for source in found)
    assert all(source.patterns == KNOWN for source in found)


def test_credentials_go_to_the_target_s_origin_only() -> None:
    given = [
        MetricsSource(url="http://llama:8000/m"),
        MetricsSource(url="http://dcgm:9400/metrics", include=["DCGM_*"]),
    ]
    own, other = sources(given, wiring("http://llama:8000/v1", Authorization="Bearer x"))
    assert own.page.headers == {"Authorization": "Bearer x"}
    assert (other.page.headers, other.patterns) == ({}, ("DCGM_*",))


@pytest.mark.parametrize(("text", "metrics"), [("off", "off"), ("'off'", "off"), ("on", "auto"), ("auto", "auto")])
def test_off_without_quotes_is_off(text: str, metrics: str) -> None:
    """YAML reads a bare off as false."""
    spec = yaml.safe_load(f"target: {{mock: {{}}, metrics: {text}}}")
    assert PerfBenchmark.read({"metadata": {"name": "m"}, "spec": spec}).spec.target.metrics == metrics


def test_off_asks_for_nothing() -> None:
    assert sources("off", wiring("http://llama/v1")) == []


@pytest.mark.parametrize(
    "url", ["llama:8000/metrics", "http://h:99999/metrics", "http://h:abc/", "http://[::1/metrics", "http://u:p@h/", ""]
)
def test_an_address_that_is_none_is_told(url: str) -> None:
    with pytest.raises(SpecError, match=r"spec\.target\.metrics\[0\]: give the url of a metrics page"):
        sources([MetricsSource(url=url)], wiring("http://llama/v1"))


@pytest.mark.parametrize(
    ("target", "page", "is_own"),
    [
        ("http://llama:80/v1", "http://LLAMA/metrics", True),
        ("https://llama/v1", "https://llama:443/metrics", True),
        ("http://llama/v1", "https://llama/metrics", False),
        ("http://llama:8000/v1", "http://llama:9000/metrics", False),
    ],
)
def test_an_origin_is_scheme_host_and_port_however_they_are_written(target: str, page: str, is_own: bool) -> None:
    [source] = sources([MetricsSource(url=page)], wiring(target, Authorization="Bearer x"))
    assert bool(source.page.headers) == is_own


def test_sources_that_may_share_an_address_have_names_of_their_own() -> None:
    urls = [
        "http://a.example/metrics",
        "http://b.example/metrics",
        "http://a.example/other?x=1",
        "http://c:9400/metrics",
    ]
    found = sources([MetricsSource(url=url) for url in urls], wiring("http://llama/v1"))
    assert [source.prefix + source.path for source in found] == ["a.example/", "b.example/", "/other?x=1", ""]


# Neutral names


def test_gauges_of_replicas_are_added_and_shares_averaged() -> None:
    one = list(readings(VLLM, KNOWN))
    assert neutral([one, one]) == {"running": 6.0, "waiting": 2.0, "kv_cache_usage": 0.25, "generation_tokens": 1280.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('sglang:num_running_reqs{dp_rank="0",tp_rank="0"} 2\nsglang:num_running_reqs{dp_rank="0",tp_rank="1"} 2\n'
         'sglang:num_running_reqs{dp_rank="1",tp_rank="0"} 3\nsglang:token_usage 0.5\nsglang:spec_accept_rate 0\n'
         "sglang:cache_hit_rate 0.1\n",  # of the last batch only
         {"running": 5.0, "kv_cache_usage": 0.5}),
        ('sglang:num_queue_reqs{priority=""} 4\nsglang:num_queue_reqs{priority="1"} 3\nsglang:spec_accept_rate 0.6\n',
         {"waiting": 4.0, "spec_decode_acceptance": 0.6}),
        ("sglang:prompt_tokens_total 100\nsglang:cached_tokens_total 25\n",
         {"prompt_tokens": 100.0, "prefix_cache_hit_ratio": 0.25}),
        ('sglang:realtime_tokens_total{mode="prefill_cache"} 30\nsglang:realtime_tokens_total{mode="prefill_compute"} 70\n'
         'sglang:realtime_tokens_total{mode="decode"} 900\nsglang:prompt_tokens_total 1\nsglang:cached_tokens_total 1\n',
         {"prompt_tokens": 1.0, "prefix_cache_hit_ratio": 0.3}),
        ("trtllm_num_requests_running 2\ntrtllm_kv_cache_utilization 0.5\ntrtllm_prompt_tokens_total 100\n"
         "trtllm_prompt_cached_tokens_total 10\ntrtllm_kv_cache_hit_rate 0.9\n",
         {"running": 2.0, "kv_cache_usage": 0.5, "prompt_tokens": 100.0, "prefix_cache_hit_ratio": 0.1}),
        ("tgi_queue_size 4\ntgi_batch_current_size 8\ntgi_request_generated_tokens_sum 99\n",
         {"waiting": 4.0, "running": 8.0, "generation_tokens": 99.0}),
        ("llamacpp:requests_processing 1\nllamacpp:requests_deferred 3\nllamacpp:tokens_predicted_total 7\n",
         {"running": 1.0, "waiting": 3.0, "generation_tokens": 7.0}),
        ("llamacpp:prompt_tokens_total 30\nllamacpp:prompt_tokens_cached_total 10\n",  # the first leaves out the second
         {"prompt_tokens": 30.0, "prefix_cache_hit_ratio": 0.25}),
        ("llamacpp:prompt_tokens_total 30\n", {"prompt_tokens": 30.0}),
        ('nv_trt_llm_request_metrics{request_type="active"} 7\nnv_trt_llm_request_metrics{request_type="scheduled"} 5\n'
         'nv_trt_llm_request_metrics{request_type="max"} 64\nnv_inference_pending_request_count{model="m"} 2\n'
         'nv_gpu_utilization{gpu="0"} 0.5\nnv_gpu_utilization{gpu="1"} 1\nnv_gpu_power_usage{gpu="0"} 300\n',
         {"running": 5.0, "waiting": 2.0, "gpu_utilization": 0.75, "gpu_power_w": 300.0}),
        ('DCGM_FI_DEV_GPU_UTIL{gpu="0"} 50\nDCGM_FI_DEV_POWER_USAGE{gpu="0"} 250.5\nDCGM_FI_DEV_FB_USED{gpu="0"} 2\n',
         {"gpu_utilization": 0.5, "gpu_power_w": 250.5, "gpu_memory_used_bytes": 2.0 * 2**20}),
        ('DCGM_FI_DEV_POWER_USAGE{GPU_I_ID="1",UUID="a"} 300\nDCGM_FI_DEV_POWER_USAGE{GPU_I_ID="2",UUID="a"} 300\n'
         'DCGM_FI_DEV_POWER_USAGE{GPU_I_ID="1",UUID="b"} 200\nDCGM_FI_DEV_GPU_UTIL{UUID="a"} 9223372036854775794\n'
         'DCGM_FI_DEV_GPU_UTIL{UUID="b"} 80\n',
         {"gpu_power_w": 500.0, "gpu_utilization": 0.8}),
        ('vllm:prompt_tokens_by_source_total{source="local_cache_hit"} 20\n'
         'vllm:prompt_tokens_by_source_total{source="local_compute"} 60\nvllm:prefix_cache_hits_total 90\n'
         "vllm:prefix_cache_queries_total 100\n",
         {"prefix_cache_hit_ratio": 0.25}),
        ("vllm:spec_decode_num_accepted_tokens_total 30\nvllm:spec_decode_num_draft_tokens_total 40\n"
         "vllm:prefix_cache_hits_total 1\nvllm:prefix_cache_queries_total 4\nvllm:num_preemptions_total 2\n",
         {"spec_decode_acceptance": 0.75, "prefix_cache_hit_ratio": 0.25, "preemptions": 2.0}),
    ],
)  # fmt: skip
def test_every_server_s_names_become_ours(text: str, expected: dict[str, float]) -> None:
    assert neutral([list(readings(text, KNOWN))]) == pytest.approx(expected)


# Figures over the window


def database(*rows: tuple[float, str, str, float | None], labels: str = "{}") -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    migrate(db)
    db.executemany("INSERT INTO server_metric VALUES (?, 0, ?, ?, ?, ?)", [(t, s, n, labels, v) for t, s, n, v in rows])
    return db


def counter(*points: tuple[float, float], source: str = "a") -> list[tuple[float, str, str, float | None]]:
    return [(time_s, source, "vllm:generation_tokens_total", value) for time_s, value in points]


def gauge(*points: tuple[float, float], source: str = "a") -> list[tuple[float, str, str, float | None]]:
    return [(time_s, source, "vllm:num_requests_running", value) for time_s, value in points]


def test_a_counter_is_the_difference_of_the_readings_that_bracket_the_window() -> None:
    found = server_figures(database(*counter((9, 0), (11, 20), (12, 120), (14, 160))), 10.0, 13.0)
    assert found["generation_tokens"] == {"increase": 160.0, "per_second": 32.0, "window_s": 5.0}


@pytest.mark.parametrize("length_s", [0.01, 0.186, 0.9])
def test_a_stage_between_two_readings_has_all_of_its_tokens_and_no_gauges(length_s: float) -> None:
    db = database(*counter((9, 100), (9.99, 100), (10.95, 112), (12, 112)), *gauge((9.99, 0), (10.95, 0)))
    found = server_figures(db, 10.0, 10.0 + length_s)
    assert found["generation_tokens"] == {
        "increase": 12.0,
        "per_second": pytest.approx(12 / 0.96),
        "window_s": pytest.approx(0.96),
    }
    assert found["running"] == {"mean": None, "min": None, "max": None, "readings": 0.0}


@pytest.mark.parametrize(
    ("first", "last", "step"),
    [
        (1_234_570, 1_234_590, 10.0),  # 1.23457e+06 and the next but one
        (1_234_570, 1_234_900, 0.0),  # rounded, and enough
        (1_234_571, 1_234_590, 0.0),  # not rounded
        (12_345_600, 12_346_000, 100.0),
        (999_990, 999_999, 0.0),
        (999_990, 1_000_010, 10.0),
    ],
)
def test_a_counter_of_six_digits_is_not_known_where_they_are_too_coarse(first: int, last: int, step: float) -> None:
    found = server_figures(database(*counter((10, first), (13, last))), 10.0, 13.0)["generation_tokens"]
    expected: dict[str, float | None] = {"increase": last - first, "per_second": (last - first) / 3, "window_s": 3.0}
    if step:
        expected |= {"increase": None, "per_second": None, "rounded_to": step}
    assert found == pytest.approx(expected)


def test_a_server_that_was_started_again_counts_from_zero() -> None:
    found = server_figures(database(*counter((10, 1000), (11, 1100), (12, 50), (13, 150))), 10.0, 13.0)
    assert found["generation_tokens"] == {"increase": 250.0, "per_second": pytest.approx(250 / 3), "window_s": 3.0}


def test_a_counter_that_was_seen_in_a_part_of_the_window_only_is_a_rate_over_that_part() -> None:
    found = server_figures(database(*counter((11, 0), (12, 100))), 10.0, 14.0)
    assert found["generation_tokens"] == {"increase": 100.0, "per_second": 100.0, "window_s": 1.0}


def test_a_gauge_s_mean_is_over_time_and_replicas_are_added_moment_by_moment() -> None:
    db = database(*gauge((10, 2), (11, 2), (14, 2)), *gauge((10, 0), (12, 4), (14, 4), source="b"))
    assert server_figures(db, 10.0, 14.0)["running"] == {"mean": 5.0, "min": 2.0, "max": 6.0, "readings": 4.0}


def test_a_server_at_rest_before_and_after_does_not_count() -> None:
    db = database(*gauge((9.9, 0), (10.5, 8), (11.5, 8), (12.1, 0)))
    assert server_figures(db, 10.0, 12.0)["running"] == {"mean": 8.0, "min": 8.0, "max": 8.0, "readings": 2.0}


def test_a_replica_that_goes_or_comes_counts_for_as_long_as_it_was_seen() -> None:
    there = [(float(time_s), 4.0) for time_s in range(10, 41)]
    gone = [(float(time_s), 2.0) for time_s in range(10, 16)]
    found = server_figures(database(*gauge(*there), *gauge(*gone, source="b")), 10.0, 40.0)["running"]
    assert (found["min"], found["max"]) == (4.0, 6.0)
    assert found["mean"] == pytest.approx(4 + 2 * 7.5 / 30, abs=0.05), (
        "five seconds of thirty, and two until it is missed"
    )


def test_a_server_that_is_started_again_under_a_new_name_does_not_count_twice() -> None:
    before, after = ([(float(time_s), 4.0) for time_s in part] for part in (range(10, 21), range(22, 41)))
    found = server_figures(database(*gauge(*before), *gauge(*after, source="a#2")), 10.0, 40.0)["running"]
    assert found.pop("readings") == 30.0
    assert found == {"mean": pytest.approx(4.0, abs=0.25), "min": 4.0, "max": 8.0}, "for a moment"


def test_replicas_that_follow_each_other_are_one_rate() -> None:
    first = [(float(time_s), 1000.0 * time_s) for time_s in range(10, 41)]
    second = [(float(time_s), 1000.0 * (time_s - 40)) for time_s in range(40, 71)]
    found = server_figures(database(*counter(*first), *counter(*second, source="b")), 10.0, 70.0)
    assert found["generation_tokens"] == {"increase": 60000.0, "per_second": 1000.0, "window_s": 60.0}


def test_a_counter_that_appears_in_the_window_began_at_zero() -> None:
    name = "sglang:num_retracted_requests_total"
    rows = [*gauge((10, 1), (11, 1), (12, 1), (13, 1)), (12.0, "a", name, 5.0), (13.0, "a", name, 6.0)]
    assert server_figures(database(*rows), 10.0, 13.0)["preemptions"] == {
        "increase": 6.0,
        "per_second": 3.0,
        "window_s": 2.0,
    }


@pytest.mark.parametrize("points", [[(11, 5)], [(6, 1), (8, 9)], [(11, float("inf")), (12, float("inf"))]])
def test_what_is_not_known_of_a_counter_is_left_out(points: list[tuple[float, float]]) -> None:
    assert server_figures(database(*counter(*points)), 10.0, 13.0) == {}


def test_a_gpu_that_cannot_tell_its_energy_is_left_out() -> None:
    name = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
    rows = [(time_s, "a", name, 9223372036854775794.0) for time_s in (10.0, 13.0)]
    assert server_figures(database(*rows), 10.0, 13.0) == {}


def test_replicas_that_are_seen_now_and_then_are_added() -> None:
    db = database(*gauge((10, 2), (13, 4)), *gauge((11, 6), (14, 6), source="a#2"))
    assert server_figures(db, 10.0, 14.0)["running"]["max"] == 10.0


def test_ranks_that_tell_the_same_count_once() -> None:
    db = database(labels='{"tp_rank": "0"}')
    for rank in ("0", "1"):
        for time_s, value in ((10.0, 0.0), (14.0, 8.0)):
            for name in ("sglang:num_retracted_requests_total", "sglang:num_running_reqs"):
                row = (time_s, 0, "a", name, json.dumps({"tp_rank": rank}), value)
                db.execute("INSERT INTO server_metric VALUES (?, ?, ?, ?, ?, ?)", row)
    found = server_figures(db, 10.0, 14.0)
    assert found["preemptions"] == {"increase": 8.0, "per_second": 2.0, "window_s": 4.0}
    assert found["running"] == {"mean": 4.0, "min": 0.0, "max": 8.0, "readings": 2.0}


def test_servers_that_answer_by_turns_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    turns = [(10.0 + number / 2, 100.0 + number if number % 2 else 900.0 + number) for number in range(20)]
    other = counter((10, 0), (20, 50), source="b")
    with caplog.at_level(logging.WARNING):
        found = server_figures(database(*counter(*turns), *gauge((10, 3), (20, 3)), *other), 10.0, 20.0)
    assert found == {"generation_tokens": {"increase": 50.0, "per_second": 5.0, "window_s": 10.0}}
    assert "server metrics of a are of several servers by turns" in caplog.text


def test_a_ratio_is_of_the_increases_in_the_window() -> None:
    rows: list[tuple[float, str, str, float | None]] = []
    for time_s, hits, queries in ((10.0, 90, 100), (12.0, 95, 120)):
        rows += [
            (time_s, "a", "vllm:prefix_cache_hits_total", hits),
            (time_s, "a", "vllm:prefix_cache_queries_total", queries),
        ]
    assert server_figures(database(*rows), 10.0, 12.0)["prefix_cache_hit_ratio"] == {"value": 0.25}


def test_without_readings_there_are_no_figures() -> None:
    assert server_figures(database(), 10.0, 12.0) == {}
    assert server_figures(database((11.0, "a", "vllm:num_requests_running", None)), 10.0, 12.0) == {}
    assert server_figures(database(*gauge((99.0, 1))), 10.0, 12.0) == {}


# The observer


class Run:
    """As much of a RunView as the observer looks at."""

    def __init__(self, folder: Path) -> None:
        self.store, self.clock, self.phase, self.stage_index = Store(folder), perf_counter, "running", 0
        self.store_server_metrics = self.store.add_server_metrics

    def rows(self) -> list[Any]:
        return self.store.db.execute("SELECT stage, source, name, value FROM server_metric").fetchall()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # files and counters have no events
            await asyncio.sleep(0.01)


async def test_readings_are_stored_and_live(tmp_path: Path) -> None:
    run: Any = Run(tmp_path)
    async with serving(page(VLLM)) as url:
        watch = ServerMetrics(sources("auto", wiring(f"{url}/v1/chat/completions")), is_auto=True, period_s=0.02)
        await watch.open(run)
        await until(lambda: len(run.rows()) >= 10)
        await watch.loaded(run)
        await watch.close(Outcome(outcome="succeeded"))
    assert watch.latest() == {"running": 3.0, "waiting": 1.0, "kv_cache_usage": 0.25, "generation_tokens": 0.0}
    assert (0, url.removeprefix("http://"), "vllm:generation_tokens_total", 640.0) in run.rows()
    assert not [name for _, _, name, _ in run.rows() if "bucket" in name or "process" in name]


async def test_nothing_is_read_before_the_load(tmp_path: Path) -> None:
    run: Any = Run(tmp_path)
    run.phase = "waiting"
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text=VLLM)

    async with serving(answer) as url:
        watch = ServerMetrics(sources("auto", wiring(url)), is_auto=True, period_s=0.02)
        await watch.open(run)
        await until(lambda: len(asked) > 2)
        assert run.rows() == []
        run.phase = "running"
        await until(run.rows)
        assert run.rows()[0][0] == -1, "what was seen before the load belongs to no stage"
        await watch.close(Outcome(outcome="succeeded"))


async def test_a_server_without_metrics_is_asked_once_during_the_load(tmp_path: Path) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPNotFound

    async with serving(answer) as url:
        watch = ServerMetrics(sources("auto", wiring(url)), is_auto=True, period_s=0.01)
        run: Any = Run(tmp_path)
        await watch.open(run)
        await until(lambda: watch._task is None or watch._task.done())
        await watch.loaded(run)
        await watch.close(Outcome(outcome="succeeded"))
    assert asked == ["/metrics", "/prometheus/metrics"]
    assert run.rows() == []


async def test_auto_finds_a_page_that_is_elsewhere(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        is_page = request.path == "/prometheus/metrics"
        return web.Response(text="trtllm_num_requests_running 2\n") if is_page else web.json_response([])

    run: Any = Run(tmp_path)
    async with serving(answer) as url:
        watch = ServerMetrics(sources("auto", wiring(url)), is_auto=True, period_s=0.01)
        await watch.open(run)
        await until(lambda: len(run.rows()) >= 3)
        await watch.close(Outcome(outcome="succeeded"))
    assert watch.latest() == {"running": 2.0}


async def test_auto_asks_again_where_there_was_no_answer(tmp_path: Path) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path != "/metrics":
            raise web.HTTPNotFound
        return web.Response(text=VLLM) if len(asked) > 4 else web.Response(status=503)

    run: Any = Run(tmp_path)
    async with serving(answer) as url:
        watch = ServerMetrics(sources("auto", wiring(url)), is_auto=True, period_s=0.01)
        await watch.open(run)
        await until(run.rows)
        await watch.close(Outcome(outcome="succeeded"))
    assert asked.count("/prometheus/metrics") == 1
    assert watch.latest()["running"] == 3.0


async def test_nothing_that_goes_wrong_hurts_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(page: Page) -> list[list[str]]:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(server_metrics, "addresses", broken)
    run: Any = Run(tmp_path)
    watch = ServerMetrics(sources("auto", wiring("http://llama")), is_auto=True, period_s=0.01)
    await watch.open(run)
    await until(lambda: watch._task is None or watch._task.done())
    await watch.loaded(run)
    await watch.close(Outcome(outcome="succeeded"))
    assert "no longer read" in caplog.text


async def test_addresses_that_were_known_hold_when_a_name_cannot_be_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def once(page: Page) -> list[list[str]]:
        asked.append(page)
        if len(asked) > 1:
            raise ScrapeError("no DNS")
        return [["127.0.0.1"]]

    monkeypatch.setattr(server_metrics, "addresses", once)
    monkeypatch.setattr(server_metrics, "RESOLVE_S", 0.01)
    run: Any = Run(tmp_path)
    async with serving(page(VLLM)) as url:
        watch = ServerMetrics(sources("auto", wiring(url)), is_auto=True, period_s=0.02)
        await watch.open(run)
        await until(lambda: len(asked) > 2 and len(run.rows()) > 12)
        await watch.close(Outcome(outcome="succeeded"))


def test_live_counters_never_fall_and_begin_with_the_run() -> None:
    now_s = 0.0
    live = ServerLive(lambda: now_s)
    shown = []
    for now_s, source, value in (
        (0.0, "a", 5e6), (1.0, "b", 1e6), (2.0, "a", 5e6 + 10), (9.0, "b", 1e6 + 5), (10.0, "b", 3), (11.0, "a", 5e6 + 20)
    ):  # fmt: skip
        live.add(now_s, source, [Reading("vllm:generation_tokens_total", "{}", value)])
        shown.append(live.latest()["generation_tokens"])
    assert shown == [0, 0, 10, 15, 18, 28]


def test_live_gauges_of_a_server_that_is_gone_are_left_out() -> None:
    now_s = 0.0
    live = ServerLive(lambda: now_s)
    live.add(0.0, "a", [Reading("vllm:num_requests_running", "{}", 3.0)])
    live.add(0.0, "b", [Reading("vllm:num_requests_running", "{}", 4.0)])
    assert live.latest() == {"running": 7.0}
    now_s = 4.0
    live.add(4.0, "b", [Reading("vllm:num_requests_running", "{}", 4.0)])
    now_s = 6.0
    assert live.latest() == {"running": 4.0}
    now_s = 60.0
    assert live.latest() == {}


async def test_replicas_behind_one_address_are_told_apart_by_when_they_started(tmp_path: Path) -> None:
    """A Service with a cluster IP leads each connection to another pod."""
    counts = [1000, 50, 300]
    order = random.Random(1)

    async def answer(request: web.Request) -> web.Response:
        which = order.randrange(3)
        counts[which] += 1
        text = f"process_start_time_seconds 1.7e+0{which}\nvllm:generation_tokens_total {counts[which]}\n"
        return web.Response(text=f"# TYPE x gauge\n{text}vllm:num_requests_running {which + 1}\n")

    run: Any = Run(tmp_path)
    async with serving(answer) as url:
        watch = ServerMetrics(sources("auto", wiring(url)), is_auto=True, period_s=0.02)
        await watch.open(run)
        await until(lambda: len(run.rows()) >= 100)
        assert watch.latest()["running"] == 6.0
        await watch.close(Outcome(outcome="succeeded"))
    where = url.removeprefix("http://")
    assert {row[1] for row in run.rows()} == {where, f"{where}#2", f"{where}#3"}
    for source in (where, f"{where}#2", f"{where}#3"):
        values = [value for _, own, name, value in run.rows() if own == source and "tokens" in name]
        assert values == sorted(values), "each is one server's"


async def test_a_source_that_was_named_and_fails_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run: Any = Run(tmp_path)
    named = [Source(Page("http://127.0.0.1:1/metrics"))]
    watch = ServerMetrics(named, is_auto=False, period_s=0.01)
    with caplog.at_level(logging.WARNING):
        await watch.open(run)
        await asyncio.sleep(0.1)
        await watch.close(Outcome(outcome="succeeded"))
    assert len([record for record in caplog.records if record.name != "asyncio"]) == 1
    assert "no server metrics from http://127.0.0.1:1/metrics: " in caplog.text


async def test_all_addresses_behind_a_name_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def two(page: Page) -> list[list[str]]:
        return [["127.0.0.1", "127.0.0.2"]]

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=VLLM)

    monkeypatch.setattr(server_metrics, "addresses", two)
    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    run: Any = Run(tmp_path)
    port = runner.addresses[0][1]
    watch = ServerMetrics(sources("auto", wiring(f"http://replicas:{port}")), is_auto=True)
    await watch.open(run)
    await until(run.rows)
    await watch.close(Outcome(outcome="succeeded"))
    await runner.cleanup()
    assert {row[1] for row in run.rows()} == {f"127.0.0.1:{port}", f"127.0.0.2:{port}"}
    assert watch.latest()["running"] == 6.0


async def test_without_sources_nothing_happens(tmp_path: Path) -> None:
    run: Any = SimpleNamespace()
    watch = ServerMetrics([], is_auto=False)
    await watch.open(run)
    watch.stage(run)
    await watch.loaded(run)
    await watch.close(Outcome(outcome="succeeded"))
    assert watch.latest() == {}


def test_labels_are_json_for_those_who_query_the_file() -> None:
    [reading] = readings('DCGM_FI_DEV_GPU_UTIL{gpu="0",Hostname="n"} 3\n', ("DCGM_*",))
    assert json.loads(reading.labels) == {"gpu": "0", "Hostname": "n"}
