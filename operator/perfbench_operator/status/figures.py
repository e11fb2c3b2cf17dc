"""A runner's figures as the status shows them: rounded, and without NaN or infinity, which JSON does not have. Pure."""

import json
import math
from collections.abc import Mapping
from typing import Any

from perfbench_api.outcome import FoundLoad, Outcome, Progress
from perfbench_api.status import LiveFigures, RunProgress
from perfbench_api.values import format_duration
from perfbench_operator.kube import Data

SUMMARY_BYTES = 400_000
"""How long the summary in a status may be: Kubernetes keeps objects of up to 1.5 MB, and every list carries all of them."""


def run_progress(progress: Progress) -> RunProgress:
    """How far the run is."""
    percent = int(progress.percent)
    return RunProgress(
        stage=progress.stage,
        stage_index=progress.stage_index,
        stage_count=progress.stage_count,
        percent=percent,
        done=f"{percent}%",
        eta=None if progress.eta_s is None else format_duration(float(round(progress.eta_s))),
    )


def live_figures(progress: Progress) -> LiveFigures:
    """Figures of the stage under way."""
    return LiveFigures(
        requests=progress.requests,
        failed=progress.failed,
        in_flight=progress.in_flight,
        requests_per_second=_rounded(progress.request_throughput_rps),
        output_tokens_per_second=_rounded(progress.output_token_throughput_tps),
        ttft_p50=_duration(progress.ttft_p50_s),
        ttft_p99=_duration(progress.ttft_p99_s),
        itl_p50=_duration(progress.itl_p50_s),
        itl_p99=_duration(progress.itl_p99_s),
    )


def found_load(found: FoundLoad) -> FoundLoad:
    """What a search knows, rounded."""
    ends = {name: _rounded(getattr(found, name)) for name in ("load", "low", "high")}
    return found.model_copy(update=ends)


def final_figures(stage: Data, live: LiveFigures | None) -> LiveFigures:
    """Figures of a stage's summary; counts that it does not have stay as they were."""
    requests = stage.get("requests") or {}
    ttft, itl = stage.get("ttft_s") or {}, stage.get("itl_s") or {}
    return LiveFigures(
        requests=requests.get("total", live.requests if live else 0),
        failed=requests.get("failed", live.failed if live else 0),
        requests_per_second=_rounded(stage.get("request_throughput_rps")),
        output_tokens_per_second=_rounded(stage.get("output_token_throughput_tps")),
        ttft_p50=_duration(ttft.get("p50")),
        ttft_p99=_duration(ttft.get("p99")),
        itl_p50=_duration(itl.get("p50")),
        itl_p99=_duration(itl.get("p99")),
    )


def stages_of(outcome: Outcome) -> tuple[list[Any] | None, int | None]:
    """Figures of the stages for the status, as many as there is space for, and how many stages are left out."""
    stages, size = [], 0
    for stage in map(cleaned, outcome.stages):
        size += len(json.dumps(stage))
        if size > SUMMARY_BYTES:
            break
        stages.append(stage)
    return stages or None, outcome.stages_omitted + len(outcome.stages) - len(stages) or None


def cleaned(value: Any) -> Any:
    """A summary with its floats rounded, and without those that are null, NaN or infinite."""
    if isinstance(value, Mapping):
        return {key: item for key, item in ((key, cleaned(item)) for key, item in value.items()) if item is not None}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return _rounded(value, 6) if isinstance(value, float) else value


def _rounded(value: float | None, digits: int = 4) -> float | None:
    """A number with few significant digits; None if it is missing, NaN or infinite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def _duration(seconds: float | None) -> str | None:
    """Seconds as people read a latency: 31.2ms, 1.25s."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return f"{seconds:.3g}s" if seconds >= 1 else f"{seconds * 1e3:.3g}ms"
