"""`evalscope.perf.utils.db_util`: columns, and small things that plugins and scripts use.

Its readers of results are not here: EvalScope's own read our files.
"""

import base64
import json
import pickle
from collections.abc import Iterable
from math import ceil, nan
from pathlib import Path
from typing import Any


class DatabaseColumns:
    """EvalScope's columns of table `result`."""

    REQUEST = "request"
    START_TIME = "start_time"
    INTER_TOKEN_LATENCIES = "inter_token_latencies"  # noqa: S105  # no password
    SUCCESS = "success"
    RESPONSE_MESSAGES = "response_messages"
    COMPLETED_TIME = "completed_time"
    LATENCY = "latency"
    FIRST_CHUNK_LATENCY = "first_chunk_latency"
    PROMPT_TOKENS = "prompt_tokens"
    COMPLETION_TOKENS = "completion_tokens"
    MAX_GPU_MEMORY_COST = "max_gpu_memory_cost"
    TIME_PER_OUTPUT_TOKEN = "time_per_output_token"  # noqa: S105  # no password
    REQUEST_ID = "request_id"
    IS_STREAM = "is_stream"


def load_prompt(prompt_path_or_text: str) -> str:
    """A prompt, of a file where it is @FILE."""
    if not prompt_path_or_text.startswith("@"):
        return prompt_path_or_text
    return Path(prompt_path_or_text[1:]).read_text(encoding="utf-8")


def encode_data(data: Any) -> str:
    """Base64 of a pickle."""
    return base64.b64encode(pickle.dumps(data)).decode()


def write_json_file(data: Any, output_path: str) -> None:
    """Write JSON."""
    Path(output_path).write_text(json.dumps(data, indent=4, ensure_ascii=False), encoding="utf-8")


def calculate_percentiles(data: list[float], percentiles: Iterable[int]) -> dict[int, float]:
    """The least value that at least so many percent do not exceed, for each percentile; NaN without values."""
    ordered = sorted(data)
    last = len(ordered) - 1
    ranks = {each: min(last, max(0, ceil(len(ordered) * each / 100) - 1)) for each in percentiles}
    return {each: round(ordered[rank], 4) if ordered else nan for each, rank in ranks.items()}
