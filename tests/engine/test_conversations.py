"""Conversations and schedules that datasets bring: order, replies, think times, ends, and what is measured of them."""

import json
import signal
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from perfbench_runner.results.encoding import decode

COLUMNS = "trace_id, turn, request, response_messages, start_time, completed_time, scheduled_time, success, seq"


def chat_file(folder: Path, conversations: int, turns: int) -> str:
    """Recorded chats; their answers are never sent."""
    lines = [
        [
            message
            for turn in range(1, turns + 1)
            for message in (
                {"role": "user", "content": f"c{number} t{turn}"},
                {"role": "assistant", "content": "recorded"},
            )
        ]
        for number in range(conversations)
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(folder / "chats.jsonl")


def played(run: Any) -> dict[str, list[dict[str, Any]]]:
    """The turns of each conversation in the order in which they were stored, what was sent decoded."""
    names = COLUMNS.split(", ")
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in run.rows(COLUMNS):
        turn = dict(zip(names, row, strict=True))
        turn["sent"] = [(one["role"], one["content"]) for one in decode(turn["request"])["messages"]]
        found[turn["trace_id"]].append(turn)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_turns_keep_their_order_and_carry_real_replies_without_reasoning(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, workers: int
) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 6, 3)}
    server = mock(output_tokens=5, reasoning_tokens=2)
    load = {"concurrency": 3, "requests": 6}
    run = perfbench(spec_for(server, load, dataset=dataset, request={"maxTokens": 5}, runner={"workers": workers}))
    assert run.wait() == 0
    conversations = played(run)
    assert len(conversations) == 6
    for turns in conversations.values():
        assert [turn["turn"] for turn in turns] == [1, 2, 3]
        assert all(one["completed_time"] <= two["start_time"] for one, two in pairwise(turns))
        (_, first), *_ = turns[0]["sent"]
        for number, turn in enumerate(turns, 1):
            roles = ["user"] + ["assistant", "user"] * (number - 1)
            assert [role for role, _ in turn["sent"]] == roles
            assert [text for role, text in turn["sent"] if role == "user"] == [
                f"{first.split()[0]} t{n}" for n in range(1, number + 1)
            ]
            assert {text for role, text in turn["sent"] if role == "assistant"} <= {reply_of(turns[0])}
    assert server.stats()["done"] == 18 + 1  # and the connection test
    assert {turns[0]["sent"][0][1] for turns in conversations.values()} == {f"c{n} t1" for n in range(6)}


def reply_of(turn: dict[str, Any]) -> str:
    """The content of an answer as the server sent it, reasoning left out."""
    text = ""
    for message in map(json.loads, decode(turn["response_messages"])):
        for choice in message.get("choices", []):
            text += choice["delta"].get("content") or ""
    return text


def test_the_reply_that_is_sent_has_no_reasoning(mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 1, 2)}
    server = mock(output_tokens=6, reasoning_tokens=4)
    run = perfbench(spec_for(server, {"concurrency": 1, "requests": 1}, dataset=dataset, request={"maxTokens": 6}))
    assert run.wait() == 0
    (turns,) = played(run).values()
    raw = "".join(decode(turns[0]["response_messages"]))
    assert raw.count("reasoning_content") >= 4
    assert turns[1]["sent"] == [("user", "c0 t1"), ("assistant", reply_of(turns[0])), ("user", "c0 t2")]
    assert len(reply_of(turns[0]).split()) == 2


def test_think_time_passes_between_answer_and_next_turn(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 2, 3), "args": {"think_time": 0.15}}
    run = perfbench(spec_for(mock(), {"concurrency": 2, "requests": 2}, dataset=dataset))
    assert run.wait() == 0
    for turns in played(run).values():
        for one, two in pairwise(turns):
            assert 0.15 <= two["start_time"] - one["completed_time"] < 0.4
            assert 0.15 - 1e-6 <= two["scheduled_time"] - one["completed_time"] < 0.35, "a difference of large numbers"
    lag = run.stage["dispatch_lag_s"]
    assert lag["p50"] < 0.02, "think time is no lag"


def test_max_turns_end_conversations(mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 2, 9), "maxTurns": 2}
    run = perfbench(spec_for(mock(), {"concurrency": 1, "requests": 2}, dataset=dataset))
    assert run.wait() == 0
    assert [len(turns) for turns in played(run).values()] == [2, 2]


def test_metrics_tell_conversations_and_first_turns_apart(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 4, 3), "args": {"think_time": 0.1}}
    run = perfbench(spec_for(mock(ttft_s=0.02), {"concurrency": 2, "requests": 4}, dataset=dataset))
    assert run.wait() == 0
    stage = run.stage
    found = stage["conversations"]
    assert stage["requests"].items() >= {"total": 12, "succeeded": 12, "failed": 0}.items()
    assert (found["total"], found["completed"]) == (4, 4)
    assert (found["turns"]["min"], found["turns"]["max"]) == (3, 3)
    assert found["duration_s"]["min"] >= 0.2 + 3 * 0.02
    assert (found["first_turn_ttft_s"]["count"], found["later_turn_ttft_s"]["count"]) == (4, 8)
    assert stage["ttft_s"]["count"] == 12


def test_requests_without_conversations_have_no_such_figures(mock: Any, perfbench: Any, spec_for: Any) -> None:
    run = perfbench(spec_for(mock(), {"concurrency": 1, "requests": 2}))
    assert run.wait() == 0
    assert run.stage["conversations"] is None
    assert run.rows("trace_id, turn") == [(None, None)] * 2


def test_a_failed_turn_ends_its_conversation(mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 12, 4)}
    server = mock(error_rate=0.3, seed=3)
    load = {"maxFailedShare": 1.0}
    run = perfbench(
        spec_for(
            server, {"concurrency": 3, "requests": 12}, dataset=dataset, load=load, target={"connectionTest": False}
        )
    )
    assert run.wait() == 0
    conversations = played(run)
    ends = [[turn["success"] for turn in turns] for turns in conversations.values()]
    assert all(all(turns[:-1]) for turns in ends), "nothing comes after a failure"
    assert all(len(turns) == 4 for turns in ends if turns[-1])
    assert 0 < sum(turns[-1] for turns in ends) < 12
    found = run.stage["conversations"]
    assert (found["total"], found["completed"]) == (12, sum(turns[-1] for turns in ends))


def test_an_open_loop_starts_conversations_at_its_rate(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 3, 2), "args": {"think_time": 0.3}}
    load = {"rate": 20, "arrival": "constant", "requests": 8}
    run = perfbench(spec_for(mock(), load, dataset=dataset))
    assert run.wait() == 0
    first = sorted(turns[0]["scheduled_time"] for turns in played(run).values())
    assert [two - one for one, two in pairwise(first)] == pytest.approx([0.05] * 7, abs=1e-6)
    assert run.stage["requests"]["total"] == 16


@pytest.mark.parametrize("stage", [{"concurrency": 2, "requests": 50}, {"rate": 50, "requests": 50}])
def test_sigterm_between_two_turns_ends_the_run_at_once_and_counts_no_ghosts(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, stage: dict[str, Any]
) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 2, 3), "args": {"think_time": 60}}
    run = perfbench(spec_for(mock(), stage, dataset=dataset))
    run.wait_for_rows(2)
    run.signal(signal.SIGTERM)
    assert run.wait(10) == 130
    assert run.summary["state"] == "interrupted"
    counts = run.stage["requests"]
    assert counts["failed"] == 0
    assert run.rows("DISTINCT turn, success") == [(1, 1)]
    assert run.stage["conversations"]["completed"] == 0, "none of them came to its end"


def test_the_end_of_a_stage_ends_think_time_too(mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path) -> None:
    dataset = {"name": "custom_multi_turn", "path": chat_file(tmp_path, 2, 3), "args": {"think_time": 60}}
    run = perfbench(
        spec_for(
            mock(), {"concurrency": 2, "duration": "500ms"}, {"concurrency": 1, "duration": "300ms"}, dataset=dataset
        )
    )
    assert run.wait(20) == 0
    assert [stage["requests"]["failed"] for stage in run.summary["stages"]] == [0, 0]
    assert run.rows("DISTINCT turn") == [(1,)]


def test_headers_ids_and_lengths_of_turns_reach_the_server(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        dedent("""\
        from perfbench_plugins.datasets.base import DatasetPluginBase, Item, Turn
        from perfbench_plugins.registry import register_dataset

        @register_dataset("mine")
        class Mine(DatasetPluginBase):
            def build_messages(self):
                turns = [Turn([self.create_message("a")], max_tokens=2), Turn([self.create_message("b")], max_tokens=3)]
                yield Item(turns, request_id="conversation-1", extra={"user": "u"})
        """)
    )
    sections = {"dataset": {"name": "mine"}, "plugins": [{"file": str(tmp_path / "mine.py")}]}
    run = perfbench(spec_for(mock(output_tokens=9), {"concurrency": 1, "requests": 1}, **sections))
    assert run.wait() == 0
    assert run.rows("completion_tokens, request_id") == [(2, "conversation-1"), (3, "conversation-1")]
    assert [decode(request)["user"] for (request,) in run.rows("request")] == ["u", "u"]


# Schedules.

TIMES = [0.0, 0.1, 0.15, 0.4, 0.41, 0.6]


def workload(folder: Path) -> dict[str, Any]:
    lines = [
        {"body": {"messages": [{"role": "user", "content": f"r{number}"}]}, "timestamp": 1000 + at_s}
        for number, at_s in enumerate(TIMES)
    ]
    (folder / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"name": "workload_trace", "path": str(folder / "trace.jsonl")}


def mooncake(folder: Path) -> dict[str, Any]:
    lines = [{"timestamp": at_s * 1000, "input_length": 10, "output_length": 3} for at_s in TIMES]
    (folder / "mooncake.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"name": "mooncake", "path": str(folder / "mooncake.jsonl")}


def due(run: Any) -> list[float]:
    times = sorted(time for (time,) in run.rows("scheduled_time"))
    return [time - times[0] for time in times]


@pytest.mark.parametrize("trace", [workload, mooncake])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_open_loop_follows_the_times_of_a_trace_and_plays_it_once(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path, trace: Any, workers: int
) -> None:
    stage = {"rate": 1000, "requests": 500}
    run = perfbench(spec_for(mock(), stage, dataset=trace(tmp_path), runner={"workers": workers}))
    assert run.wait() == 0
    assert due(run) == pytest.approx(TIMES, abs=1e-3)
    assert run.stage["requests"].items() >= {"total": 6, "succeeded": 6, "failed": 0}.items()
    assert run.stage["dispatch_lag_s"]["p50"] < 0.05


def test_a_trace_ends_with_the_stages_duration_or_count(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    run = perfbench(spec_for(mock(), {"rate": 1, "duration": "300ms"}, dataset=workload(tmp_path)))
    assert run.wait() == 0
    assert due(run) == pytest.approx(TIMES[:3], abs=1e-3)
    run = perfbench(spec_for(mock(), {"rate": 1, "requests": 2}, dataset=workload(tmp_path)), name="two")
    assert run.wait() == 0
    assert due(run) == pytest.approx(TIMES[:2], abs=1e-3)


def test_a_second_stage_goes_on_where_the_first_ended(mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path) -> None:
    stages = {"name": "a", "rate": 1, "requests": 3}, {"name": "b", "rate": 1, "requests": 9}
    run = perfbench(spec_for(mock(), *stages, dataset=workload(tmp_path)))
    assert run.wait() == 0
    sent = [
        [decode(request)["messages"][0]["content"] for (request,) in run.rows("request", f"stage = {number}")]
        for number in (0, 1)
    ]
    assert [sorted(stage) for stage in sent] == [["r0", "r1", "r2"], ["r3", "r4", "r5"]]
    times = sorted(time for (time,) in run.rows("scheduled_time", "stage = 1"))
    assert [time - times[0] for time in times] == pytest.approx([0.0, 0.01, 0.2], abs=1e-3)


def test_a_closed_loop_leaves_the_times_of_a_trace_aside(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    run = perfbench(spec_for(mock(), {"concurrency": 1, "requests": 500}, dataset=workload(tmp_path)))
    assert run.wait() == 0
    assert run.stage["requests"]["total"] == 6
    assert run.stage["duration_s"] < 0.4


def repr_sorted(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)


def test_a_run_is_replayed_with_its_bodies_and_its_schedule(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    server = mock()
    first = perfbench(spec_for(server, {"rate": 20, "requests": 10}), name="first")
    assert first.wait() == 0
    dataset = {"name": "replay", "path": str(first.folder)}
    again = perfbench(spec_for(server, {"rate": 1, "requests": 100}, dataset=dataset), name="again")
    assert again.wait() == 0
    assert due(again) == pytest.approx(due(first), abs=1e-3)
    sent = [[decode(request) for (request,) in run.rows("request", "1")] for run in (first, again)]
    assert sorted(sent[0], key=repr_sorted) == sorted(sent[1], key=repr_sorted)


def test_conversations_go_through_an_api_that_sends_by_itself(
    mock: Any, perfbench: Any, spec_for: Any, tmp_path: Path
) -> None:
    plugin = Path(__file__).parents[2] / "examples" / "plugins" / "session_api.py"
    sections = {
        "dataset": {"name": "custom_multi_turn", "path": chat_file(tmp_path, 4, 3)},
        "plugins": [{"file": str(plugin)}],
        "target": {"api": "session"},
        "runner": {"workers": 2},
    }
    run = perfbench(spec_for(mock(), {"concurrency": 4, "requests": 4}, **sections))
    assert run.wait() == 0
    assert run.stage["conversations"]["completed"] == 4
    for turns in played(run).values():
        assert [role for role, _ in turns[-1]["sent"]] == ["user", "assistant", "user", "assistant", "user"]
        assert turns[-1]["sent"][1][1] == reply_of(turns[0])
