"""What a server had of the prompts in its prefix cache, and so what its latencies are latencies of."""

import numpy as np

from perfbench_runner.results.measured import PromptCache, ServerFigure
from perfbench_runner.results.quantiles import distribution
from perfbench_runner.results.rows import Rows

COLD_BELOW, WARM_FROM = 0.1, 0.5
"""Cached shares of all prompt tokens. A chat template alone is a few percent of usual prompts, and more of short ones."""
HIT_FROM = 0.5
"""A request of whose prompt so much was cached is a hit, any other a miss."""


def prompt_cache(rows: Rows, server: dict[str, ServerFigure], is_intended: bool) -> PromptCache:
    """By what answers report; where none does, by the server's own metrics."""
    cached, prompt = rows["cached_tokens"], rows["prompt_tokens"]
    counted = rows.is_ok & (prompt > 0)
    if not (counted & ~np.isnan(cached)).any():
        share = server.get("prefix_cache_hit_ratio", {}).get("value")
        source = "none" if share is None else "server_metrics"
        return PromptCache(state=_state(share), source=source, share=share, is_intended=is_intended)
    if (cached[counted] == 0).any():
        counted = counted & ~np.isnan(cached)
    else:  # vLLM leaves it out where nothing was cached
        cached = np.nan_to_num(cached)
    share = float(cached[counted].sum() / prompt[counted].sum())
    hit = counted & (cached >= HIT_FROM * prompt)
    miss = counted & ~hit
    first = rows["first_chunk_latency"]
    return PromptCache(
        state=_state(share),
        source="usage",
        share=share,
        is_intended=is_intended,
        hits=int(hit.sum()),
        misses=int(miss.sum()),
        hit_ttft_s=distribution(first[hit]),
        miss_ttft_s=distribution(first[miss]),
    )


def _state(share: float | None) -> str:
    if share is None:
        return "unknown"
    return "cold" if share < COLD_BELOW else "partly_warm" if share < WARM_FROM else "warm"
