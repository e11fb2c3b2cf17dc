"""Whether answers are what was asked for: by the model that was meant, of the whole prompt, as long as asked."""

from collections import Counter
from collections.abc import Sequence

from perfbench_runner.results.asked import Asked
from perfbench_runner.results.measured import Answers
from perfbench_runner.results.quantiles import Array
from perfbench_runner.results.rows import Rows
from perfbench_runner.results.summary import StageSummary

TOLERANCE = 0.05
"""Prompts whose reported length differs by no more from the one asked for are the same prompts."""
FEWEST = 20
"""Shorter prompts are not compared: a chat template is a large part of them."""


def answers(rows: Rows, asked: Asked) -> Answers:
    """Counts over succeeded requests."""
    ok = rows.is_ok
    wanted, reported = rows["asked_tokens"], rows["prompt_tokens"]
    is_checked = ok & (wanted >= FEWEST) & (reported > 0) & (rows["is_usage"] > 0)
    is_cut = is_checked & (reported < (1 - TOLERANCE) * wanted)
    is_longer = is_checked & (reported > (1 + TOLERANCE) * wanted) & asked.has_tokenizer
    tokens = rows["completion_tokens"] / asked.choices
    return Answers(
        prompts_checked=int(is_checked.sum()),
        prompts_cut=int(is_cut.sum()),
        prompts_longer=int(is_longer.sum()),
        mean_asked_tokens=_mean(wanted[is_checked]),
        mean_reported_tokens=_mean(reported[is_checked]),
        counted_in="tokens" if asked.has_tokenizer else "words",
        too_short=int((ok & (tokens < asked.min_tokens)).sum()),
        models=dict(rows.models.most_common()),
        other_model=sum(count for name, count in rows.models.items() if not is_same_model(asked.model, name)),
    )


def of_smallest_parts(summary: StageSummary) -> list[Answers]:
    """Those of the smallest parts, each of which was asked for one thing; none where the stage is its only part."""
    smallest = [each for target in summary.targets for each in target.workloads]
    return [each.answers for each in smallest or (*summary.workloads, *summary.targets) if each.answers]


def together(parts: Sequence[Answers]) -> Answers:
    """Those of several workloads: each was compared with what it asked for itself."""
    names = ("prompts_checked", "prompts_cut", "prompts_longer", "too_short", "other_model")
    models = sum((Counter(part.models) for part in parts), Counter[str]())
    return Answers(
        **{name: sum(getattr(part, name) for part in parts) for name in names},
        mean_asked_tokens=_mean_of(parts, "mean_asked_tokens"),
        mean_reported_tokens=_mean_of(parts, "mean_reported_tokens"),
        counted_in="tokens" if all(part.counted_in == "tokens" for part in parts) else "words",
        models=dict(models.most_common()),
    )


def _mean_of(parts: Sequence[Answers], name: str) -> float | None:
    known = [(getattr(part, name), part.prompts_checked) for part in parts if part.prompts_checked]
    return sum(mean * count for mean, count in known) / sum(count for _, count in known) if known else None


def is_same_model(asked: str, answered: str) -> bool:
    """Whether a name in an answer is the one that was asked for.

    Servers write a version behind a name (`gpt-4o-2024-08-06`, `llama3:latest`), and leave out or add a path before it.
    """
    if not asked:
        return True
    ours, theirs = (name.rstrip("/").rsplit("/", 1)[-1].lower() for name in (asked, answered))
    short, long = sorted((ours, theirs), key=len)
    return long == short or (long.startswith(short) and long[len(short)] in "-:@.")


def _mean(values: Array) -> float | None:
    return float(values.mean()) if len(values) else None
