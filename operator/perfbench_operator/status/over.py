"""The status of a run that is over: how it ended, what was measured, where it is stored."""

from collections.abc import Sequence

from perfbench_api.outcome import MESSAGE_LENGTH, FoundLoad, Outcome, Verdict
from perfbench_api.status import ClientStatus, ResultsStatus, RunProgress, Status
from perfbench_operator.kube import Data
from perfbench_operator.objects.layout import RESULTS
from perfbench_operator.status import troubles
from perfbench_operator.status.draft import Draft
from perfbench_operator.status.figures import final_figures, found_load, stages_of
from perfbench_operator.status.observed import Observed
from perfbench_operator.status.pods import ended_at, is_gone
from perfbench_operator.status.troubles import Trouble

_REASONS = (8, 300)
"""How many reasons of the client's state are kept, and how many characters of each."""
UNKNOWN_RESULTS = "nobody could look on the claim; `perfbench recover` on the benchmark's folder finishes what is there"


def finish(draft: Draft, observed: Observed) -> None:
    """Say how the run ended, or that somebody is looking for what it has stored."""
    if observed.needs_recovery:
        _look_for_results(draft)
        return
    outcome = observed.word
    draft.status.completion_time = draft.status.completion_time or ended_at(observed.job or {}, observed.pods)
    are_known = observed.recovery.state != "failed" and not observed.is_lost
    if outcome:
        _record(draft, outcome, observed.claim)
    if outcome and outcome.outcome == "succeeded":
        _complete(draft, outcome)
    elif observed.is_cancelled:
        cancel(draft, "cancelled" + _stored(outcome) + _omitted(draft.status))
    else:
        fail(draft, _cause(observed, outcome), are_known)


def _look_for_results(draft: Draft) -> None:
    message = "the runner is gone and left no termination message; looking on the claim for what it has stored"
    draft.set_phase("Running", message)
    draft.set_condition("Running", False, "Recovering", message)


def _stored(outcome: Outcome | None) -> str:
    return "; what was measured until then is stored" if outcome and outcome.results else ""


def _cause(observed: Observed, outcome: Outcome | None) -> Trouble:
    """Why the run failed."""
    if outcome and outcome.outcome == "failed":
        return Trouble(outcome.reason or "RunnerFailed", outcome.message or "see the pod's log")
    cause = _loss(observed)
    return Trouble(cause.reason, cause.message + _stored(outcome))


def _loss(observed: Observed) -> Trouble:
    """Why the runner could not go on to its end. Kubernetes may know."""
    pod, job = observed.pod, observed.job
    if observed.is_lost and pod is not None:
        return troubles.lost_node(pod, observed.lost_timeout_s)
    if observed.is_preempted:
        return troubles.PREEMPTED
    if job is None:
        return Trouble("JobGone", f"its Job {observed.previous.job} was deleted; run again under a new name")
    if pod is None:
        return troubles.job_failure(job) or Trouble("RunnerLost", "the runner's pod was deleted; run again")
    cause = troubles.lost(pod)
    was_told = any(outcome.outcome == "interrupted" for outcome in [observed.word] if outcome)
    if cause.reason in ("RunnerFailed", "RunnerKilled", "RunnerLost") and was_told and not observed.recovery.outcome:
        is_deleted = bool(pod["metadata"].get("deletionTimestamp")) or is_gone(pod)
        why = "its pod was deleted" if is_deleted else "it was told to stop"
        return Trouble("Interrupted", f"the runner ended early: {why}; run again")
    return cause


def _record(draft: Draft, outcome: Outcome, claim: str) -> None:
    """Copy the runner's outcome into the status."""
    status = draft.status
    _judge(draft, outcome)
    if not status.summary:  # else the runner has told all of it before it ended
        status.summary, status.stages_omitted = stages_of(outcome)
    if outcome.search:
        status.search = found_load(outcome.search)
        _say_what_was_found(draft, status.search)
    if outcome.client:
        count, length = _REASONS
        reasons = [reason[:length] for reason in outcome.client_reasons[:count]]
        status.client = ClientStatus(state=outcome.client, reasons=reasons)
    if status.summary and not (status.stages_omitted and status.live):
        _show_last_stage(status, status.summary)
    if outcome.results:
        status.results = ResultsStatus(
            claim=claim,
            path=outcome.results.path.removeprefix(f"{RESULTS}/"),
            bytes=outcome.results.bytes,
            sha256=outcome.results.sha256,
            rows=outcome.results.rows,
            complete=outcome.results.is_complete,
        )


_JUDGED: dict[Verdict, tuple[bool | None, str]] = {
    "Passed": (True, "ObjectivesMet"),
    "Failed": (False, "ObjectiveMissed"),
    "Inconclusive": (None, "Inconclusive"),
}


def _judge(draft: Draft, outcome: Outcome) -> None:
    """The verdict and its reason."""
    if outcome.verdict is None:
        return
    status, (state, reason) = draft.status, _JUDGED[outcome.verdict]
    status.verdict = outcome.verdict
    status.verdict_reason = "; ".join(outcome.verdict_reasons)[:MESSAGE_LENGTH] or None
    draft.set_condition("ObjectivesMet", state, reason, status.verdict_reason or "")


def _say_what_was_found(draft: Draft, found: FoundLoad) -> None:
    """True: a load that is known, and not contradicted by its confirmation; False: the target carries none of the range."""
    if found.low is None:
        is_none = found.load is None and found.high is not None
        draft.set_condition("LoadFound", False if is_none else None, "NoneCarried" if is_none else "Open", found.reason)
    elif found.confirmed is False:
        draft.set_condition("LoadFound", None, "NotConfirmed", found.reason)
    elif found.confirmed is None and found.goal == "objectives":
        draft.set_condition("LoadFound", None, "Open", found.reason)
    else:
        draft.set_condition("LoadFound", True, "Confirmed" if found.confirmed else "KneeFound", found.reason)


def _show_last_stage(status: Status, summary: Sequence[Data]) -> None:
    """Name and figures of the last stage: the columns show both, so both come from the same stage."""
    last = summary[-1]
    status.live = final_figures(last, status.live)
    name = str(last.get("name") or "") or None
    status.progress = (status.progress or RunProgress()).model_copy(update={"stage": name})


def _complete(draft: Draft, outcome: Outcome) -> None:
    status = draft.status
    why = f"; verdict {status.verdict}: {status.verdict_reason}" if status.verdict_reason else ""
    draft.set_phase("Succeeded", (outcome.message or "the run is complete") + why + _omitted(status))
    progress = status.progress or RunProgress()
    status.progress = progress.model_copy(update={"percent": 100, "done": "100%", "eta": None})
    draft.set_condition("TargetReady", True, "TargetAnswers", "")
    _end(draft, "Completed")
    draft.set_condition("Complete", True, outcome.reason or "Completed", outcome.message)
    draft.set_condition("Failed", False, "Completed", "")


def _omitted(status: Status) -> str:
    """What the summary leaves out, as the end of a sentence."""
    count = status.stages_omitted
    return f"; {count} more {'stage is' if count == 1 else 'stages are'} only in summary.json" if count else ""


def fail(draft: Draft, trouble: Trouble, are_results_known: bool = True) -> None:
    """The run has failed, or never will begin."""
    draft.set_phase("Failed", trouble.message)
    if trouble.reason == "TargetUnreachable":
        draft.set_condition("TargetReady", False, trouble.reason, trouble.message)
    _end(draft, trouble.reason, are_results_known)
    draft.set_condition("Complete", False, trouble.reason, "")
    draft.set_condition("Failed", True, trouble.reason, trouble.message)


def cancel(draft: Draft, message: str) -> None:
    """Neither complete nor failed: the user ended it."""
    draft.set_phase("Cancelled", message)
    _end(draft, "Cancelled")
    draft.set_condition("Complete", False, "Cancelled", message)
    draft.set_condition("Failed", False, "Cancelled", "")


def _end(draft: Draft, reason: str, are_results_known: bool = True) -> None:
    status = draft.status
    status.completion_time = status.completion_time or draft.now
    draft.set_condition("Running", False, reason, "")
    if any(one.type == "Queued" and one.status == "True" for one in status.conditions):
        draft.set_condition("Queued", False, reason, "")
    draft.set_condition("Finished", True, reason, status.message)
    if status.verdict is None:
        draft.set_condition("ObjectivesMet", None, reason if draft.has_objectives else "NoObjectives", "")
    if status.progress:
        status.progress.eta = None
    if status.live:
        status.live.in_flight = 0
    _tell_of_results(draft, reason, are_results_known)


def _tell_of_results(draft: Draft, reason: str, are_known: bool) -> None:
    results = draft.status.results
    if results and results.complete:
        draft.set_condition("ResultsStored", True, "Stored", f"claim {results.claim}, {results.path}")
    elif results:
        text = f"claim {results.claim}, {results.path} was not finished: make room and run `perfbench recover` on its folder"
        draft.set_condition("ResultsStored", False, "Unfinished", text)
    elif are_known:
        draft.set_condition("ResultsStored", False, reason, "no results were stored")
    else:
        draft.set_condition("ResultsStored", None, reason, UNKNOWN_RESULTS)
