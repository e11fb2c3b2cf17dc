"""Several workloads in one run: what each sends, in which shares, and what is told of each."""

import json
from pathlib import Path
from typing import Any

import pytest

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
