"""The end of a run: its results file is summarised and judged, and its files are finished; also of killed runs."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any

import yaml

from perfbench_api.outcome import FoundLoad, Outcome, StoredResults, Verdict
from perfbench_api.resource import PerfBenchmark
from perfbench_runner.engine.advice import in_one_line
from perfbench_runner.engine.state import End
from perfbench_runner.load.repeats import Repeats
from perfbench_runner.results import reading, store
from perfbench_runner.results.kept import exclude_settling
from perfbench_runner.results.reading import Tell, told_nobody
from perfbench_runner.results.result import LATENCIES
from perfbench_runner.results.store import Store, StoreError
from perfbench_runner.results.writer import told_in_words
from perfbench_runner.run.facts import own_version
from perfbench_runner.run.folders import MANIFEST, SUMMARY, held, write_whole


class Seldom:
    """Passes progress on where it takes long: not in the first second, and not more often than twice a second."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._next_s = clock() + 1.0

    def __call__(self, done: int, total: int) -> None:
        """Tell, or not."""
        if self._clock() >= self._next_s:
            self._next_s = self._clock() + 0.5
            self._tell(done, total)


@dataclass
class Finished:
    """A run that is over."""

    folder: Path
    results: Path
    """The results file; its temporary name where it could not be finished."""
    summary: Any
    end: End
    benchmark: PerfBenchmark
    summary_file: Path | None = None
    """summary.json; None where it could not be written."""

    @property
    def exit_code(self) -> int:
        """0 fine, 1 failed or too many errors, 130 interrupted; of a run that went to its end, 3 Failed, 4 Inconclusive."""
        if self.end.state != "complete":
            return {"interrupted": 130, "failed": 1}[self.end.state]
        return {"Failed": 3, "Inconclusive": 4}.get(self.summary.verdict, 0)

    @cached_property
    def outcome(self) -> Outcome:
        """The run's outcome, for the pod's termination message."""
        summary = self.summary
        return Outcome(
            outcome="succeeded" if self.end.state == "complete" else self.end.state,
            reason=self.end.reason,
            message=self.end.message,
            verdict=summary.verdict,
            verdict_reasons=summary.verdict_reasons[:5],
            client=summary.client.state,
            client_reasons=summary.client.reasons[:5],
            stages=[compact(stage) for stage in summary.stages],
            search=_found(summary.search),
            results=self._stored(),
        )

    def _stored(self) -> StoredResults | None:
        with suppress(OSError, sqlite3.Error, StoreError):  # such as of a disk that is full
            found = reading.stored(self.results)
            return found.model_copy(update={"is_complete": self.results.name == store.FILE})
        return None


def _found(search: Any) -> FoundLoad | None:
    if search is None:
        return None
    names = ("load", "low", "high")
    rounded = {name: _rounded(getattr(search, name)) for name in names}
    return FoundLoad(
        kind=search.kind, goal=search.goal, confirmed=search.confirmed, reason=search.reason, points=len(search.points),
        **rounded,
    )  # fmt: skip


THROUGHPUTS = ("request_throughput_rps", "output_token_throughput_tps", "total_token_throughput_tps")


MOST_DIFFERENCES = 6
"""As many as two targets have."""


def compact(stage: Any) -> dict[str, Any]:
    """A stage's summary for status and termination message: the figures people look at, rounded."""
    latencies = {f"{name}_s": getattr(stage, f"{name}_s") for name in LATENCIES}
    return {
        "name": stage.name,
        "requests": stage.requests.model_dump(),
        "duration_s": round(stage.duration_s, 3),
        **{name: _rounded(getattr(stage, name)) for name in THROUGHPUTS},
        **{
            name: {key: _rounded(getattr(figures, key)) for key in ("mean", "p50", "p99")}
            for name, figures in latencies.items()
            if figures.count
        },
        **({"errors": stage.errors} if stage.errors else {}),
        **({"goodput": _goodput(stage.goodput)} if stage.goodput else {}),
        **_cache(stage),
        **({"workloads": {each.name: _of_part(each) for each in stage.workloads}} if stage.workloads else {}),
        **({"targets": {each.name: _of_part(each) for each in stage.targets}} if stage.targets else {}),
        **({"differences": _differences(stage)} if stage.comparisons else {}),
    }


def _differences(stage: Any) -> list[str]:
    """In words, a few of those that are beyond doubt: a status has many stages."""
    from perfbench_runner.results import differing

    return [line for each in stage.comparisons for line in differing.in_words(each, only_seen=True)][:MOST_DIFFERENCES]


def _of_part(found: Any) -> dict[str, Any]:
    """Few figures of each workload or target of a stage: a status has many stages."""
    return {
        "requests": found.requests.total,
        "failed": found.requests.failed,
        "request_throughput_rps": _rounded(found.request_throughput_rps),
        "ttft_p99_s": _rounded(found.ttft_s.p99),
        "e2e_latency_p99_s": _rounded(found.e2e_latency_s.p99),
    }


def _goodput(found: Any) -> dict[str, Any]:
    return {"share": _rounded(found.share), "rate_rps": _rounded(found.rate_rps)}


def _cache(stage: Any) -> dict[str, Any]:
    """What of the prompts was cached, where that is known: no latency may go without it."""
    cache = stage.prompt_cache
    return {} if cache is None or cache.share is None else {"cached_prompt_share": _rounded(cache.share)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def conclude(results: Store, benchmark: PerfBenchmark, end: End, tell: Tell = told_nobody) -> tuple[Path, Any, End]:
    """Summarise a results file, put the summaries into it and close it: its path, the summary, how the run ended.

    `tell` gets the number of rows that were read, and of all.
    """
    try:
        results.settle()
        with told_in_words(results.path):
            exclude_settling(results.db)
        summary = summarise_run(results.db, benchmark, end, tell)
        results.set_run(state=end.state, reason=end.reason, message=end.message)
        results.set_summaries([stage.model_dump(mode="json") for stage in summary.stages])
        return results.close(), summary, end
    except StoreError as error:
        kept = f". What was stored is in {results.path}" if results.path.exists() else ""
        end = End("failed", "CannotStore", f"{error}{kept}")
        return results.path, _summary_of_what_is_there(results.path, benchmark, end), end


def _summary_of_what_is_there(path: Path, benchmark: PerfBenchmark, end: End) -> Any:
    """The summary of a file that could not be finished; without any stage where it cannot be read either."""
    try:
        with closing(sqlite3.connect(path)) as db:
            return summarise_run(db, benchmark, end)
    except (StoreError, sqlite3.Error):  # such as of a folder that somebody has deleted
        return _summary([], [], benchmark, end, {})


def summarise_run(db: sqlite3.Connection, benchmark: PerfBenchmark, end: End, tell: Tell = told_nobody) -> Any:
    """The summary of a results file, objectives and verdict included."""
    # numpy is loaded only now: a fifth of a second that no request waits for.
    from perfbench_runner.results.client_figures import runners_of
    from perfbench_runner.results.evidence import Judges
    from perfbench_runner.results.figures import summarise
    from perfbench_runner.results.objectives import Judging
    from perfbench_runner.results.repeated import Repeated, by_name
    from perfbench_runner.results.verdict import nothing_sent, too_many_failures
    from perfbench_runner.server.figures import server_figures

    judging = Judging(
        benchmark.spec.objectives, benchmark.spec.confidence, lambda names: _judged_names(names, benchmark)
    )
    repeated, repeats = Repeated(), _repeats(db)
    stages = summarise(db, server_figures, tell, Judges(judging, repeated) if repeats else judging)
    if end.state == "complete":
        if failure := too_many_failures(_judged(stages, benchmark), benchmark.spec.load.max_failed_share):
            end.state, end.reason = "failed", "TooManyFailures"
            end.message = f"{failure}{_first_error(db)}"
        elif nothing := nothing_sent(stages):
            end.state, end.reason, end.message = "failed", "NothingSent", nothing
    summary = _summary(stages, judging.results, benchmark, end, reading.facts(db))
    summary.runners = runners_of(db, stages)
    if repeats:
        summary.repeated = repeated.stages(repeats.stages, by_name(repeats.stages, stages))
    return summary


def _repeats(db: sqlite3.Connection) -> Repeats | None:
    """What was repeated, as the results file says."""
    found = reading.facts(db).get("repeats")
    return Repeats(**json.loads(found)) if found else None


def _first_error(db: sqlite3.Connection) -> str:
    """What the first request that failed was told; nothing where it has no words."""
    sql = "SELECT failure, error FROM requests WHERE failure != '' AND error != '' AND failure != 'unfinished' LIMIT 1"
    found = db.execute(sql).fetchone()
    return f"; the first, {found[0]}: {in_one_line(found[1])}" if found else ""


def _summary(
    stages: list[Any], objectives: list[Any], benchmark: PerfBenchmark, end: End, facts: dict[str, str]
) -> Any:
    from perfbench_runner.results.cost import cost
    from perfbench_runner.results.figures import worst_client
    from perfbench_runner.results.objectives import verdict
    from perfbench_runner.results.summary import SearchResult, Summary

    for stage in stages:
        stage.cost = cost(stage, benchmark.spec.price)
    summary = Summary(
        name=benchmark.metadata.name,
        verdict=None,
        state=end.state,
        message=end.message,
        started_at=facts.get("started_at", ""),
        perfbench_version=own_version(),
        client=worst_client(stages),
        objectives=objectives,
        unmeasured_requests=json.loads(facts.get("unmeasured_requests", "{}")),
        search=SearchResult.model_validate_json(facts["search"]) if "search" in facts else None,
        stages=stages,
    )
    summary.verdict, summary.verdict_reasons = verdict(summary)
    if benchmark.spec.load.search is not None and benchmark.spec.objectives and not summary.objectives:
        summary.verdict, summary.verdict_reasons = without_confirmation(summary)
    return summary


def _judged(stages: list[Any], benchmark: PerfBenchmark) -> list[Any]:
    """The stages whose failures decide."""
    names = _judged_names([stage.name for stage in stages], benchmark)
    return [stage for stage in stages if stage.name in names]


def _judged_names(stages: Sequence[str], benchmark: PerfBenchmark) -> list[str]:
    """The stages whose objectives and failures decide: of a search, which goes where they break, the one that confirms it."""
    if benchmark.spec.load.search is None:
        return list(stages)
    from perfbench_runner.engine.searching import confirms

    return [name for name in stages[-1:] if confirms(name)]


def without_confirmation(summary: Any) -> tuple[Verdict, list[str]]:
    """The verdict of a search that came to no load to confirm."""
    from perfbench_runner.results.objectives import doubts

    found = summary.search
    if found is None:
        return "Inconclusive", ["the search has not come to an answer"]
    if found.load is None and found.high is not None:
        return "Failed", [found.reason]
    in_doubt = doubts(summary, summary.client.state != "invalid")
    if found.confirmed and not in_doubt:
        return "Passed", []
    return "Inconclusive", [*in_doubt, found.reason]


def finished(folder: Path, path: Path, summary: Any, end: End, benchmark: PerfBenchmark) -> Finished:
    """Write summary.json, whole or not at all: the run as it is over."""
    file: Path | None = folder / SUMMARY
    try:
        write_whole(folder / SUMMARY, summary.model_dump_json(indent=2) + "\n")
    except StoreError as error:
        file = None
        if end.reason != "CannotStore":
            end = End("failed", "CannotStore", f"{error} Its figures are in {path}, table stage")
            summary.state, summary.message = end.state, end.message
    return Finished(folder, path, summary, end, benchmark, file)


def recover(folder: Path, tell: Tell = told_nobody) -> Finished:
    """Finish the files of a run that was killed, or had no room left: what was committed becomes results and summary."""
    partial, manifest = folder / store.PARTIAL, folder / MANIFEST
    missing = [file.name for file in (partial, manifest) if not file.exists()]
    if missing:
        raise StoreError(f"{folder} holds no unfinished run: no {' and no '.join(missing)} in it")
    with told_in_words(folder):
        benchmark = PerfBenchmark.read(yaml.safe_load(manifest.read_text()))
    with told_in_words(folder), held(folder):
        results = Store(folder, benchmark.spec.results.messages)
        results.cut_stage_short()
        if (replicas := benchmark.spec.runner.replicas) > 1:
            from perfbench_runner.run.leading import recover_workers  # it loads what serves the agreement, too

            recover_workers(results, folder, replicas)
        end = End(
            "interrupted", "Interrupted", "the run's process was killed, or could no longer store; recovered afterwards"
        )
        path, summary, end = conclude(results, benchmark, end, tell)
    return finished(folder, path, summary, end, benchmark)
