"""What servers call their metrics, and what we call them: one table, for live metrics and for the summary.

Names and meanings are those of the servers' own sources, read in November 2026: vLLM (vllm/v1/metrics), SGLang
(srt/observability), TensorRT-LLM (tensorrt_llm/metrics, triton_backend), Triton (docs/user_guide/metrics.md), TGI
(docs/source/reference/metrics.md), llama.cpp (tools/server/README.md), DCGM (etc/default-counters.csv).
They are not the same everywhere: prompt tokens leave out cached ones in llama.cpp only; SGLang and TensorRT-LLM count
tokens when a request ends.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

PERIOD_S = 1.0
"""How often servers are looked at."""
STALE_S = 5 * PERIOD_S
"""A reading this old says nothing of now."""
ABSURD = 1e15
"""What is that large is no value: DCGM writes 2^63 where a GPU cannot tell."""
_RANKS = ("tp_rank", "pp_rank", "moe_ep_rank", "priority")
"""SGLang's ranks tell the same again, and so do its priorities beside their total; only `dp_rank` is another replica."""
_MIG = ("GPU_I_ID", "GPU_I_PROFILE")
"""DCGM repeats a GPU's power for each of its slices."""
Key = tuple[str, str]
"""A server's metric and its labels, as JSON."""


class Name(NamedTuple):
    """A metric under its server's own name."""

    name: str
    scale: float = 1.0
    """To come to our unit."""
    label: str = ""
    """Only samples with this label, as JSON: `"request_type": "scheduled"`."""
    copies: tuple[str, ...] = ()
    """Labels by which the same thing is told several times: the largest value counts."""
    is_zero_none: bool = False
    """0 stands for: does not apply."""

    def fits(self, key: Key) -> bool:
        """Whether this is one of its samples."""
        return key[0] == self.name and self.label in key[1]


@dataclass(frozen=True)
class Figure:
    """A neutral name, and where it is found: of `names`, the first that a source has."""

    name: str
    kind: Literal["sum", "mean", "counter"]
    """Of several samples (replicas, GPUs): gauges are added or averaged, counters added."""
    names: tuple[Name, ...]


@dataclass(frozen=True)
class Ratio:
    """A neutral name for one counter's increase over another's; a server's own gauge stands in where it has no counters."""

    name: str
    counters: tuple[tuple[Name, ...], ...]
    """Hits, and what they are of: of several counters there their sum."""
    gauges: tuple[Name, ...] = ()


FIGURES = (
    Figure(
        "running",
        "sum",
        (
            Name("vllm:num_requests_running"),
            Name("sglang:num_running_reqs", copies=_RANKS),
            Name("trtllm_num_requests_running"),
            Name("tgi_batch_current_size"),
            Name("llamacpp:requests_processing"),
            Name("nv_trt_llm_request_metrics", label='"request_type": "scheduled"'),  # its `active` includes waiting
        ),
    ),
    Figure(
        "waiting",
        "sum",
        (
            Name("vllm:num_requests_waiting"),
            Name("sglang:num_queue_reqs", copies=_RANKS),
            Name("trtllm_num_requests_waiting"),
            Name("tgi_queue_size"),
            Name("llamacpp:requests_deferred"),
            Name("nv_trt_llm_request_metrics", label='"request_type": "waiting"'),
            Name("nv_inference_pending_request_count"),
        ),
    ),
    Figure(
        "kv_cache_usage",
        "mean",
        (
            Name("vllm:kv_cache_usage_perc"),
            Name("vllm:gpu_cache_usage_perc"),  # vLLM before 0.9, and Triton's vLLM backend
            Name("sglang:token_usage"),
            Name("trtllm_kv_cache_utilization"),
            Name("llamacpp:kv_cache_usage_ratio"),  # llama.cpp until spring 2025
            Name("nv_trt_llm_kv_cache_block_metrics", label='"kv_cache_block_type": "fraction"'),
        ),
    ),
    Figure(
        "gpu_utilization",
        "mean",
        (Name("DCGM_FI_DEV_GPU_UTIL", 0.01), Name("DCGM_FI_PROF_GR_ENGINE_ACTIVE"), Name("nv_gpu_utilization")),
    ),
    Figure(
        "gpu_power_w",
        "sum",
        (
            Name("DCGM_FI_DEV_POWER_USAGE", copies=_MIG),
            Name("DCGM_FI_DEV_BOARD_POWER_WATTS", copies=_MIG),
            Name("nv_gpu_power_usage"),
        ),
    ),
    Figure("gpu_memory_used_bytes", "sum", (Name("DCGM_FI_DEV_FB_USED", 2.0**20), Name("nv_gpu_memory_used_bytes"))),
    Figure(
        "gpu_energy_j",
        "counter",
        (Name("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 1e-3, copies=_MIG), Name("nv_energy_consumption")),
    ),
    Figure(
        "prompt_tokens",
        "counter",
        (
            Name("vllm:prompt_tokens_total"),
            Name("sglang:prompt_tokens_total"),
            Name("trtllm_prompt_tokens_total"),
            Name("tgi_request_input_length_sum"),
            Name("llamacpp:prompt_tokens_total"),
            Name("nv_llm_input_token_len_sum"),
        ),
    ),
    Figure(
        "generation_tokens",
        "counter",
        (
            Name("vllm:generation_tokens_total"),
            Name("sglang:generation_tokens_total"),
            Name("trtllm_generation_tokens_total"),
            Name("tgi_request_generated_tokens_sum"),
            Name("llamacpp:tokens_predicted_total"),
            Name("nv_llm_output_token_len_sum"),
        ),
    ),
    Figure(
        "preemptions",
        "counter",
        (Name("vllm:num_preemptions_total"), Name("sglang:num_retracted_requests_total", copies=_RANKS)),
    ),
)
RATIOS = (
    Ratio(
        "prefix_cache_hit_ratio",
        (
            (
                # Newer vLLM: not counted again for a request that waits.
                Name("vllm:prompt_tokens_by_source_total", label='"source": "local_cache_hit"'),
                Name("vllm:prompt_tokens_by_source_total"),
            ),
            (Name("vllm:prefix_cache_hits_total"), Name("vllm:prefix_cache_queries_total")),
            (Name("vllm:gpu_prefix_cache_hits_total"), Name("vllm:gpu_prefix_cache_queries_total")),
            (
                Name("sglang:realtime_tokens_total", label='"mode": "prefill_cache"'),
                Name("sglang:realtime_tokens_total", label='"mode": "prefill_'),
            ),
            (Name("sglang:cached_tokens_total"), Name("sglang:prompt_tokens_total")),
            (Name("trtllm_prompt_cached_tokens_total"), Name("trtllm_prompt_tokens_total")),
            (
                Name("llamacpp:prompt_tokens_cached_total"),
                Name("llamacpp:prompt_tokens_cached_total"),
                Name("llamacpp:prompt_tokens_total"),  # which leave out cached ones
            ),
        ),
        (Name("trtllm_kv_cache_hit_rate"),),
    ),
    Ratio(
        "spec_decode_acceptance",
        tuple(
            (
                Name(f"{server}spec_decode_num_accepted_tokens_total"),
                Name(f"{server}spec_decode_num_draft_tokens_total"),
            )
            for server in ("vllm:", "trtllm_", "llamacpp:")
        ),
        (Name("sglang:spec_accept_rate", is_zero_none=True),),
    ),
)
KNOWN = tuple(
    dict.fromkeys(
        name.name
        for names in (
            *(figure.names for figure in FIGURES),
            *((*sum(ratio.counters, ()), *ratio.gauges) for ratio in RATIOS),
        )
        for name in names
    )
)
"""The servers' names of all that is kept where the manifest names nothing."""
COUNTERS = frozenset(
    name.name
    for names in (
        *(figure.names for figure in FIGURES if figure.kind == "counter"),
        *(sum(ratio.counters, ()) for ratio in RATIOS),
    )
    for name in names
)
"""Those that only grow while a server lives."""


def chosen(had: Collection[Key]) -> list[tuple[str, Name]]:
    """What to make of what one source has: (neutral name, metric); ratios have parts: hits, of, gauge."""
    found, names = [], {name for name, _ in had}
    for figure in FIGURES:
        found += [(figure.name, name) for name in figure.names if _has(had, name)][:1]
    for ratio in RATIOS:
        # One label of a counter may be missing until it has a hit.
        pairs = [(hits, of) for hits, *of in ratio.counters if hits.name in names and all(_has(had, one) for one in of)]
        if pairs:
            hits, of = pairs[0]
            found += [(f"{ratio.name}/hits", hits), *((f"{ratio.name}/of", one) for one in of)]
        else:
            found += [(f"{ratio.name}/gauge", name) for name in ratio.gauges if _has(had, name)][:1]
    return found


def _has(had: Collection[Key], name: Name) -> bool:
    return any(name.fits(key) for key in had)


@cache
def thing(labels: str, copies: tuple[str, ...]) -> str:
    """What a sample is of: its labels without those by which the same is told several times."""
    if not copies:
        return labels
    return json.dumps({name: value for name, value in json.loads(labels).items() if name not in copies}, sort_keys=True)


def neutral(sources: Iterable[Collection[tuple[str, str, float]]]) -> dict[str, float]:
    """One moment's samples (name, labels, value), by source, under neutral names."""
    known: dict[str, list[float]] = defaultdict(list)
    for samples in sources:
        for neutral_name, name in chosen([(name, labels) for name, labels, _ in samples]):
            known[neutral_name] += _values(samples, name)
    found = {}
    for figure in FIGURES:
        if values := known[figure.name]:
            found[figure.name] = sum(values) / (len(values) if figure.kind == "mean" else 1)
    for ratio in RATIOS:
        of, gauges = sum(known[f"{ratio.name}/of"]), known[f"{ratio.name}/gauge"]
        if of:
            found[ratio.name] = sum(known[f"{ratio.name}/hits"]) / of
        elif gauges:
            found[ratio.name] = sum(gauges) / len(gauges)
    return found


def _values(samples: Collection[tuple[str, str, float]], name: Name) -> list[float]:
    """One value in our unit for each thing."""
    things: dict[str, float] = {}
    for own, labels, value in samples:
        if name.fits((own, labels)) and is_value(name, value):
            which = thing(labels, name.copies)
            things[which] = max(value, things.get(which, value))
    return [value * name.scale for value in things.values()]


def is_value(name: Name, value: float) -> bool:
    """Whether a sample says anything."""
    return abs(value) < ABSURD and not (name.is_zero_none and value == 0)
