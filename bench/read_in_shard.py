#!/usr/bin/env python3
"""Would throughput grow if shards read results, and not the control process? What each would do, microseconds a request.

    .venv/bin/python bench/read_in_shard.py [TOKENS]

Reading takes the same time wherever it is done; what is handed over differs: bytes and times as they came, or messages
and times understood. docs/exactness.md says what follows.
"""

import pickle
import statistics
import sys
import time
from array import array
from collections.abc import Callable
from typing import Any

import orjson

from perfbench_plugins.api.openai_api import OpenaiPlugin
from perfbench_plugins.arguments import Arguments
from perfbench_plugins.exchange import Exchange


def answer(tokens: int) -> Exchange:
    """A streamed answer as a shard has it when it is complete."""
    events = [
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "mock", "choices": [choice]}
        for choice in [{"index": 0, "delta": {"content": f"word{n} "}, "finish_reason": None} for n in range(tokens)]
    ]
    events[-1]["usage"] = {"prompt_tokens": 128, "completion_tokens": tokens, "total_tokens": 128 + tokens}
    pieces = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]
    ends = [sum(map(len, pieces[: n + 1])) for n in range(len(pieces))]
    return Exchange(
        sent_s=1.0,
        first_byte_s=1.05,
        end_s=2.0,
        status=200,
        content_type="text/event-stream",
        stamps=array("d", [1.05 + 0.01 * n for n in range(len(pieces))]),
        ends=array("Q", ends),
        body=b"".join(pieces),
    )


def cost_us(what: Callable[[], Any]) -> float:
    """Median time of a call."""
    spent = []
    for _ in range(400):
        began = time.perf_counter()
        what()
        spent.append(1e6 * (time.perf_counter() - began))
    return statistics.median(spent)


def main() -> None:
    """Print what each step costs."""
    exchange = answer(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
    plugin = OpenaiPlugin(Arguments(url="http://127.0.0.1/v1/chat/completions", model="mock"))
    data = plugin.read(exchange, "{}")
    raw, understood = pickle.dumps(exchange, 5), pickle.dumps(data, 5)
    rows = {
        "read (wherever it is)": cost_us(lambda: plugin.read(exchange, "{}")),
        "hand over as it came: pickle": cost_us(lambda: pickle.dumps(exchange, 5)),
        "hand over as it came: unpickle": cost_us(lambda: pickle.loads(raw)),
        "hand over understood: pickle": cost_us(lambda: pickle.dumps(data, 5)),
        "hand over understood: unpickle": cost_us(lambda: pickle.loads(understood)),
    }
    for name, spent in rows.items():
        print(f"{name:34} {spent:7.0f}")
    print(f"bytes: {len(raw)} as it came, {len(understood)} understood")


if __name__ == "__main__":
    main()
