"""What one must know to read a stage's figures right, in words. Pure functions."""

from typing import Any

from perfbench_runner.results.answers import is_same_model
from perfbench_runner.results.asked import Asked
from perfbench_runner.results.client_health import Stamps
from perfbench_runner.results.measured import Prompts
from perfbench_runner.results.ramps import Ramps
from perfbench_runner.results.summary import Figures, StageSummary
from perfbench_runner.results.throughput import Estimate
from perfbench_runner.results.windows import Span


def notes(
    stage: StageSummary,
    span: Span,
    estimate: Estimate | None,
    asked: Asked,
    plan: dict[str, Any],
    why_program: str,
    reached: str = "",
) -> list[str]:
    """All of them, the most important first.

    `why_program`: why the machine does not give the kernel's stamps. `reached`: what `results.reached` says of the stage.
    """
    found = [
        _killed(plan),
        str(plan.get("ending", "")),
        reached,
        _model(stage, asked),
        _cut(stage),
        _cache(stage, stage.prompts),
        _recorded(plan),
        _stamps(stage.client.stamps, why_program),
        _window(span),
        _excluded(stage, plan),
        _unsteady(stage),
        _censored(stage),
        _retried(stage),
        _too_short(stage, asked),
        _no_content(stage),
        _estimate(estimate),
        _counted(stage),
        _choices(asked.choices),
        _server(stage),
        _resent(stage.requests.resent),
    ]
    return [note for note in found if note]


def notes_of_part(part: Figures, estimate: Estimate | None, asked: Asked) -> list[str]:
    """Those on the answers of one workload's requests; what is of the whole stage, or follows from it, the stage says."""
    found = [
        _model(part, asked),
        _cut(part),
        _cache(part, None),
        _too_short(part, asked),
        _no_content(part),
        _estimate(estimate),
        _counted(part),
    ]
    return [note for note in found if note]


def _killed(plan: dict[str, Any]) -> str:
    if not plan.get("killed"):
        return ""
    return (
        "the run was killed, or could no longer store, in this stage: requests that were in flight or held by a limit then"
        " are in no count"
    )


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


def _unsteady(stage: StageSummary) -> str:
    steady = stage.steady
    if steady is None or steady.is_steady:
        return ""
    return (
        f"not steady: latencies have not settled in this stage's time ({steady.dropped_share:.0%} of it would have to be"
        " left out); make it longer, or warm up"
    )


def _excluded(stage: StageSummary, plan: dict[str, Any]) -> str:
    count = stage.requests.excluded
    if not count:
        return ""
    is_ramped = not Ramps.of_plan(plan).are_none
    when = "while the load was ramped up or down" if is_ramped else "to let the queue settle at this load"
    return f"{count} requests were sent {when}: they are stored, and in no figure"


def _censored(stage: StageSummary) -> str:
    counts = stage.requests
    parts = [f"{counts.unfinished} requests were cut off unfinished"] if counts.unfinished else []
    parts += [f"{counts.unsent} that were due were never sent"] if counts.unsent else []
    if not parts:
        return ""
    text = f"{' and '.join(parts)}: in latencies they count as longer than was seen (Kaplan-Meier)"
    return f"{text}; the longer such a stage is, the longer requests wait" if counts.unsent else text


def _retried(stage: StageSummary) -> str:
    found = stage.retries
    if found is None or not (found.requests or found.gave_up):
        return ""
    text = f"{found.requests} requests were refused with 429 or 503 and sent again, {found.gave_up} were given up"
    mean = found.wait_s.mean
    if mean is None:
        return text
    return f"{text}: latencies are from the first sending, the wait of {mean:.3g} s on average included"


def _model(stage: Figures, asked: Asked) -> str:
    found = stage.answers
    if found is None or not found.other_model:
        return ""
    others = ", ".join(repr(name) for name in found.models if not is_same_model(asked.model, name))
    return f"{found.other_model} answers are of model {others}, not of {asked.model!r}: check target.model"


def _cut(stage: Figures) -> str:
    found = stage.answers
    if found is None or not (found.prompts_cut or found.prompts_longer):
        return ""
    lengths = (
        f"{found.mean_asked_tokens:,.0f} {found.counted_in} were asked for, {found.mean_reported_tokens:,.0f} reported"
    )
    if found.prompts_cut:
        return (
            f"the server has cut {found.prompts_cut} of {found.prompts_checked} prompts ({lengths} on average):"
            " raise its context length, or send shorter prompts"
        )
    return (
        f"the server counts {found.prompts_longer} of {found.prompts_checked} prompts longer than"
        f" dataset.tokenizerPath does ({lengths} on average): another tokenizer, or another chat template"
    )


def _cache(stage: Figures, prompts: Prompts | None) -> str:
    """Whether latencies may be those of a prefix cache. Where nothing of it is known, repeats are what there is to say."""
    cache, repeated = stage.prompt_cache, prompts.repeated if prompts else 0
    again = f"{repeated} of {stage.requests.total} requests had a prompt that this run had sent before"
    if cache is None or cache.state == "unknown":
        return f"{again}: a prefix cache may explain these figures" if repeated else ""
    if cache.is_intended or cache.state == "cold":
        return ""
    if repeated:
        why = again
    elif stage.conversations:
        why = "turns find their conversation in it"
    else:
        why = "no prompt was sent twice in this run, so it is a common beginning, or left from an earlier run"
    return (
        f"the server had {cache.share:.0%} of prompt tokens in its cache ({why}): these are latencies of a"
        f" {cache.state.replace('_', ' ')} prefix cache; dataset.unique keeps it cold, dataset.measureCache says it is meant"
    )


def _too_short(stage: Figures, asked: Asked) -> str:
    count = stage.answers.too_short if stage.answers else 0
    return f"{count} answers have fewer than {asked.min_tokens} tokens (request.minTokens)" if count else ""


def _no_content(stage: Figures) -> str:
    count = stage.requests.no_content
    if not count:
        return ""
    return f"{count} answers have tokens and no content: all were hidden, such as the one that ends an answer"


COUNTED = {
    "chunks": "as one for each chunk, which is too few where a chunk holds several",
    "tokenizer": "by dataset.tokenizerPath, since the server reported none",
}


def _counted(stage: Figures) -> str:
    parts = [f"{stage.token_sources[who]} answers {how}" for who, how in COUNTED.items() if who in stage.token_sources]
    return f"output tokens are counted here: {'; '.join(parts)}" if parts else ""


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
        " and gaps are those of the first"
    )


def _server(stage: StageSummary) -> str:
    """Figures of the server that are null, and why."""
    unread = [name for name, figure in stage.server.items() if figure.get("readings") == 0]
    rounded = [name for name, figure in stage.server.items() if figure.get("rounded_to")]
    parts = []
    if unread:
        parts.append(f"no reading fell into this stage, so that {', '.join(unread)} are not known")
    if rounded:
        parts.append(f"{', '.join(rounded)} are written with six digits, too few for this stage")
    return f"server metrics: {'; '.join(parts)}" if parts else ""


def _resent(resent: int) -> str:
    if not resent:
        return ""
    return f"{resent} requests were sent again, since the server had closed their idle connection"
