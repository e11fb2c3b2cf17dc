"""Several workloads in one run: what each sends, in which shares, and what is told of each."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from asking import get
from prometheus_client.parser import text_string_to_metric_families

from perfbench_runner.results.encoding import decode

WORKLOADS: list[dict[str, Any]] = [
    {"name": "chat", "weight": 3, "request": {"maxTokens": 3}},
    {"name": "adapter", "weight": 1, "request": {"maxTokens": 5}, "model": "lora-a"},
    {"name": "talks", "weight": 1, "request": {"maxTokens": 2}},
]


def talks(folder: Path) -> dict[str, Any]:
    turns = [{"role": role, "content": "hello"} for role in ("user", "assistant", "user", "assistant")]
    (folder / "talks.jsonl").write_text("".join(json.dumps(turns) + "\n" for _ in range(30)))
    return {"name": "custom_multi_turn", "path": str(folder / "talks.jsonl"), "multiTurn": True}


@pytest.mark.parametrize("workers", [1, 3])
def test_each_workload_sends_its_own_requests_in_its_share(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, workers: int
) -> None:
    workloads = [*WORKLOADS[:2], WORKLOADS[2] | {"dataset": talks(tmp_path)}]
    stages = [{"concurrency": 6, "requests": 50}, {"rate": 100, "arrival": "constant", "requests": 25}]
    objectives = [{"metric": "failed_share", "max": "50%", "workload": "adapter", "stage": "c6"}]
    spec = spec_for(
        mock(output_tokens=8), *stages, workloads=workloads, runner={"workers": workers}, objectives=objectives
    )
    run = perfbench(spec | {"request": {}}, "--no-fail")
    assert run.wait() == 0, run.stderr
    rows = run.query(
        "SELECT stage, workload, count(DISTINCT seq), count(*), min(completion_tokens), max(completion_tokens),"
        " group_concat(DISTINCT model) FROM requests GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert rows == [
        (0, "adapter", 10, 10, 5, 5, "lora-a"),
        (0, "chat", 30, 30, 3, 3, "m"),
        (0, "talks", 10, 20, 2, 2, "m"),
        (1, "adapter", 5, 5, 5, 5, "lora-a"),
        (1, "chat", 15, 15, 3, 3, "m"),
        (1, "talks", 5, 10, 2, 2, "m"),
    ]
    for (body,) in run.query("SELECT request FROM bodies JOIN requests USING (id) WHERE workload = 'adapter'"):
        sent = decode(body)
        assert (sent["model"], sent["max_tokens"]) == ("lora-a", 5)
    stage = run.summary["stages"][0]
    assert [each["name"] for each in stage["workloads"]] == ["chat", "adapter", "talks"]
    assert [each["conversations"] is not None for each in stage["workloads"]] == [False, False, True]
    assert run.summary["unmeasured_requests"]["connection_test"] == 3
    (objective,) = run.summary["objectives"]
    assert (objective["workload"], objective["stage"]) == ("adapter", "c6")
    assert "stage c6 by workload" in run.stdout


def test_the_order_is_that_of_the_seed_however_many_processes_send(mock: Any, perfbench: Any, spec_for: Any) -> None:
    orders = []
    for number, runner in enumerate([{"workers": 1}, {"workers": 3}]):
        load = {"randomSeed": 7}
        spec = spec_for(mock(), {"rate": 300, "requests": 60}, workloads=WORKLOADS, runner=runner, load=load)
        run = perfbench(spec | {"request": {}}, name=f"run{number}")
        assert run.wait() == 0, run.stderr
        orders.append(run.query("SELECT workload, entry, prompt_id FROM requests ORDER BY scheduled_time"))
    assert orders[0] == orders[1]


def test_a_model_that_is_not_served_is_told_with_its_workload(served: Any, perfbench: Any, spec_for: Any) -> None:
    async def only_m(reader: Any, writer: Any) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        is_known = json.loads(await reader.readexactly(length))["model"] == "m"
        body = b'{"choices": [{"message": {"content": "a"}}]}' if is_known else b'{"error": "no such model"}'
        status = b"200 OK" if is_known else b"404 Not Found"
        writer.write(b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
                     % (status, len(body), body))  # fmt: skip
        await writer.drain()
        writer.close()

    workloads = [{"name": "base"}, {"name": "tuned", "model": "lora-x"}]
    run = perfbench(spec_for(served(only_m), workloads=workloads, target={"metrics": "off"}))
    assert run.wait() == 1
    assert "workload tuned: " in run.stderr
    assert run.count() == 0


def test_chat_and_embeddings_in_one_run_of_three_runners(mock: Any, perfbench: Any, spec_for: Any, listen: str) -> None:
    """Each has an API, limits and live counts of its own; together the runners send what one would."""
    server = mock(output_tokens=4)
    workloads = [
        {"name": "chat", "weight": 2, "request": {"maxTokens": 3}, "goodput": {"ttft": "60s", "tpot": "60s"}},
        {
            "name": "index",
            "api": "openai_embedding",
            "dataset": {"name": "random_embedding", "minPromptLength": 5, "maxPromptLength": 9},
            "request": {},
            "goodput": {"e2eLatency": 1e-6},
        },
    ]
    objectives = [{"metric": "goodput_share", "min": "99%", "workload": "chat"}]
    runner = {"replicas": 3, "linger": "60s"}
    target = {"url": server.base_url}
    stage = {"concurrency": 6, "requests": 90}
    spec = spec_for(server, stage, workloads=workloads, runner=runner, target=target, objectives=objectives)
    run = perfbench(spec | {"request": {}}, "--listen", listen, "--no-fail")
    run.until(lambda: json.loads(get(listen, "/progress") or "{}").get("phase") == "done", 90)
    live = {
        (one.name, one.labels["workload"], one.labels.get("outcome", "")): one.value
        for family in text_string_to_metric_families(get(listen, "/metrics"))
        for one in family.samples
        if one.name.startswith("perfbench_workload_")
    }
    run.signal(signal.SIGINT)  # it lingers no longer
    assert run.wait(60) == 0, run.stderr
    rows = run.query(
        "SELECT workload, count(*), count(DISTINCT entry), max(entry), sum(success), sum(completion_tokens)"
        " FROM requests GROUP BY 1 ORDER BY 1"
    )
    assert rows == [("chat", 60, 60, 59, 60, 180), ("index", 30, 30, 29, 30, 0)]
    assert run.query("SELECT count(DISTINCT coalesce(runner, 0)) FROM requests") == [(3,)]
    chat, index = run.stage["workloads"]
    assert (chat["goodput"]["share"], index["goodput"]["share"]) == (1.0, 0.0)
    assert run.stage["goodput"]["share"] == pytest.approx(2 / 3)
    assert [live["perfbench_workload_requests_total", name, "success"] for name in ("chat", "index")] == [60, 30]
    assert [live["perfbench_workload_requests_good_total", name, ""] for name in ("chat", "index")] == [60, 0]
    assert live["perfbench_workload_ttft_seconds_count", "chat", ""] == 60
