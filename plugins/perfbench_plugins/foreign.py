"""What EvalScope's `Arguments` have and a benchmark of ours has not.

Some say nothing of what is sent: they are accepted without effect, and plugins can read them. Some would make another
run than the one asked for if they were overlooked: they are refused with the way out. Some are folded into fields that
we have.
"""

import json
from typing import Any

WITHOUT_EFFECT = {
    "attn_implementation": "perfbench runs no model itself",
    "port": "perfbench runs no model itself",
    "db_commit_interval": "rows are committed at least every second",
    "queue_size_multiplier": "there is no such queue",
    "in_flight_task_multiplier": "there are no such tasks",
    "num_workers": "requests are generated while they are sent; `workers` sets the load-generating processes",
    "log_every_n_query": "progress is shown live",
    "enable_progress_tracker": "progress is shown live",
    "visualizer": "results are in SQLite and Prometheus",
    "wandb_api_key": "results are in SQLite and Prometheus",
    "swanlab_api_key": "results are in SQLite and Prometheus",
    "swanlab_host": "results are in SQLite and Prometheus",
    "model_id": "it follows from model",
}
"""Fields that scripts may still set, and why nothing comes of it."""

_NO_TUNING = (
    "perfbench does not tune the load by this flag, whose bounds have another unit in each version; write"
    " --search-concurrency 1:64 (or --search-rate 1:64) --objectives 'ttft.p99<=500ms'; or give several loads"
)
REFUSED = {
    "sla_auto_tune": _NO_TUNING,
    "sla_variable": _NO_TUNING,
    "sla_params": _NO_TUNING,
    "sla_num_runs": _NO_TUNING,
    "sla_upper_bound": _NO_TUNING,
    "sla_lower_bound": _NO_TUNING,
    "sla_fixed_parallel": _NO_TUNING,
    "sla_number_multiplier": _NO_TUNING,
    "scenario": "perfbench plays no AgentX; agents' conversations are in the datasets trie_agentic_coding and swe_smith,"
    " and your own in custom_multi_turn",
    "enable_pd_metrics": "no summary of hand-offs between prefill and decode is made; each answer's gaps are in column"
    " inter_token_latencies of the results, the first of them is the hand-off",
}
"""Fields that would make another run than the one asked for if they were overlooked, and what to use instead."""

FOLDED = {
    "multi_turn_args": "goes into dataset_args",
    "prefix_count": "goes into dataset_args",
    "alias": "names the run, where `name` does not",
}
"""Fields that become others of ours."""

DEFAULTS: dict[str, Any] = {
    **dict.fromkeys((*WITHOUT_EFFECT, *REFUSED, *FOLDED)),
    "port": 8877,
    "db_commit_interval": 1000,
    "queue_size_multiplier": 5,
    "in_flight_task_multiplier": 2,
    "num_workers": 0,
    "log_every_n_query": 100,
    "enable_progress_tracker": False,
    "sla_auto_tune": False,
    "sla_variable": "parallel",
    "sla_num_runs": 3,
    "sla_upper_bound": 65536,
    "sla_lower_bound": 1,
    "enable_pd_metrics": False,
    "prefix_count": 1,
}
"""What plugins read where nothing is given."""

PREFIXED = ("random", "random_vl", "random_multi_turn")
"""Datasets whose prompts share prefixes."""


def take_out(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Take EvalScope's own fields out of `values`, and fold in what is folded: what was taken, and what is wrong."""
    taken = {name: values.pop(name) for name in DEFAULTS if name in values}
    problems = [
        f"{name}: {REFUSED[name]}" for name in ("sla_auto_tune", "scenario", "enable_pd_metrics") if taken.get(name)
    ]
    for name in ("dataset_args", "extra_args"):
        try:
            if isinstance(values.get(name), str):
                values[name] = json.loads(values[name])
        except ValueError as error:
            problems.append(f"{name}: {values.pop(name)!r} is no JSON: {error}")
    if taken.get("alias") and not values.get("name"):
        values["name"] = taken["alias"]
    problems += [*_fold_multi_turn_args(values, taken.get("multi_turn_args")), *_fold_prefix_count(values, taken)]
    return taken, problems


def _fold_multi_turn_args(values: dict[str, Any], given: Any) -> list[str]:
    """EvalScope's older options of conversations are options of the dataset; the newer ones win."""
    try:
        options = json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        return [f"multi_turn_args: {given!r} is no JSON: {error}"]
    if hasattr(options, "model_dump"):
        options = options.model_dump(exclude_unset=True)
    if options:
        options = {name: value for name, value in options.items() if name != "num_workers"}
        values["dataset_args"] = {**options, **(values.get("dataset_args") or {})}
    return []


def _fold_prefix_count(values: dict[str, Any], taken: dict[str, Any]) -> list[str]:
    count = taken.get("prefix_count")
    if count in (None, 1):
        return []
    if values.get("dataset") not in PREFIXED:
        return [f"prefix_count: only {', '.join(PREFIXED)} have prefixes that prompts share"]
    if values.get("prompt") or not values.get("prefix_length"):
        return ["prefix_count: needs prefix_length above 0, and no prompt"]
    values["dataset_args"] = {"prefix_count": count, **(values.get("dataset_args") or {})}
    return []
