"""What one must know to read a stage's figures right, in words. Pure functions."""

from typing import Any

from perfbench_runner.results.client_health import Stamps
from perfbench_runner.results.summary import StageSummary
from perfbench_runner.results.throughput import Estimate
from perfbench_runner.results.windows import Span


def notes(
    stage: StageSummary, span: Span, estimate: Estimate | None, choices: int, plan: dict[str, Any], why_program: str
) -> list[str]:
    """All of them, the most important first. `why_program`: why the machine does not give the kernel's stamps."""
    found = [
        _killed(plan),
        _recorded(plan),
        _stamps(stage.client.stamps, why_program),
        _window(span),
        _censored(stage),
        _repeats(stage),
        _estimate(estimate),
        _choices(choices),
        _resent(stage.requests.resent),
    ]
    return [note for note in found if note]


def _killed(plan: dict[str, Any]) -> str:
    if not plan.get("killed"):
        return ""
    return "the run was killed in this stage: requests that were in flight or held by a limit then are in no count"


def _recorded(plan: dict[str, Any]) -> str:
    use = plan.get("recordedTimes")
    if use == "unused":
        return "the dataset's recorded times are not played, since this is a closed loop; arrival: recorded plays them"
    if use == "played" and "rate" in plan:
        return f"the dataset's recorded times are played; rate {plan['rate']:g} is not used"
    return ""


def _stamps(stamps: Stamps | None, why_program: str) -> str:
    why = f" ({why_program})" if why_program else ""
    if stamps == "program":
        return f"times of arrival are by the program's clock{why}: its own delay is in every latency"
    if stamps == "mixed":
        return f"some times of arrival are by the program's clock{why}: its own delay is in those latencies"
    return ""


def _window(span: Span) -> str:
    if span.kind != "overall":
        return ""
    return f"throughputs are from the first request sent to the last end, ramps included, since {span.reason}"


def _censored(stage: StageSummary) -> str:
    counts = stage.requests
    parts = [f"{counts.unfinished} requests were cut off unfinished"] if counts.unfinished else []
    parts += [f"{counts.unsent} that were due were never sent"] if counts.unsent else []
    if not parts:
        return ""
    text = f"{' and '.join(parts)}: in latencies they count as longer than was seen (Kaplan-Meier)"
    return f"{text}; the longer such a stage is, the longer requests wait" if counts.unsent else text


def _repeats(stage: StageSummary) -> str:
    repeated = stage.prompts.repeated if stage.prompts else 0
    cached = stage.cached_prompt_share or 0.0
    if not repeated and not cached:
        return ""
    parts = []
    if repeated:
        parts.append(f"{repeated} of {stage.requests.total} requests had a prompt that this run had sent before")
    if cached:
        parts.append(f"the server took {cached:.0%} of prompt tokens from its cache")
    return f"{', and '.join(parts)}: a prefix cache may explain these figures"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return (
        f"the output tokens of {estimate.requests} requests that did not succeed are not known:"
        f" {estimate.chunks:.0f} chunks x {estimate.tokens_per_chunk:.2f} tokens are counted in the throughput"
    )


def _choices(choices: int) -> str:
    if choices == 1:
        return ""
    return (
        f"each request asked for {choices} answers: time per output token takes an equal part of the tokens for each,"
        " and gaps are between chunks of any of them"
    )


def _resent(resent: int) -> str:
    if not resent:
        return ""
    return f"{resent} requests were sent again, since the server had closed their idle connection"
