"""A search under way: each finished stage is a point, from which `load.search` says what the next stage is.

It adds to `load.stages` while the run goes on, and keeps what is known so far in the results file after each point.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from math import sqrt
from typing import Any

from perfbench_api.outcome import FoundLoad
from perfbench_api.resource import Spec
from perfbench_api.sections import Objective, Stage
from perfbench_runner.load.knee import Powered, propose_knee
from perfbench_runner.load.points import Answer, Budget, Next, Point, Range, measured
from perfbench_runner.load.search import first_cost, propose
from perfbench_runner.results.kept import kept, offered_rps, pace
from perfbench_runner.results.store import Store
from perfbench_runner.results.writer import told_in_words

CONFIRM = "confirm"


class Searching:
    """Chooses the stages of a search. Belongs to the control process's loop; it works between stages only."""

    def __init__(self, spec: Spec, store: Store, clock: Callable[[], float]) -> None:
        search = spec.load.search
        assert search is not None  # noqa: S101  # or there is nothing to do here
        self._search, self._load, self._store, self._clock = search, spec.load, store, clock
        self._objectives, self._limits = spec.objectives, spec.limits
        self._range = range_of(spec)
        self._points: list[Point] = []
        self._powers: list[Powered] = []
        self._told: list[dict[str, Any]] = []
        """Of each point what the results say of it."""
        self._used, self._began_s = 0, clock()
        self.message = f"search: at most {search.max_requests:,} requests and {search.max_duration:g} s"
        """How far it is, for people."""
        self.found: FoundLoad | None = None
        """What is known so far."""
        self._next = self._ask()
        self._load.stages.clear()
        self._append()

    def began(self, number: int, began_s: float) -> None:
        """The load of a stage begins: the time of the search counts from the first one on."""
        if number == 0:
            self._began_s = began_s

    def after(self, number: int, rows: sqlite3.Connection | None = None) -> None:
        """A stage is over: choose the next one, or none. `rows`: of all runners, where there are several. Raises StoreError."""
        if not isinstance(self._next, Next):
            return
        with told_in_words(self._store.path):
            self._note(number, self._next, self._store.db if rows is None else rows)
        self._next = self._ask()
        self._append()
        self._keep()

    def _ask(self, budget: Budget | None = None) -> Next | Answer:
        left = budget or Budget(
            self._search.max_requests - self._used, self._search.max_duration - (self._clock() - self._began_s)
        )
        if self._objectives:
            return propose(self._range, self._points, left)
        return propose_knee(self._range, self._powers, left)

    def _append(self) -> None:
        following, number = self._next, len(self._load.stages) + 1
        if isinstance(following, Answer):
            return
        left_s = max(1.0, self._search.max_duration - (self._clock() - self._began_s))
        if not self._range.is_whole:  # arrivals beyond these six standard deviations are none
            total = following.total
            left_s = min(left_s, total / following.load * (1 + 6 / sqrt(total)) + 1)
        letter = "c" if self._range.is_whole else "r"
        what = f"{CONFIRM}-" if following.role == CONFIRM else ""
        name = f"{number:02d}-{what}{letter}{following.load:g}"
        self._load.stages.append(Stage(**self._search.stage(name, following.load, following.total, left_s)))

    def _note(self, number: int, point: Next, db: sqlite3.Connection) -> None:
        stage = self._load.stages[number]
        told = {"stage": stage.title, "load": point.load, "role": point.role, "settling": point.settling}
        if self._objectives:
            counts = [kept(db, number, each, point.settling, self._limits) for each in self._objectives]
            rate_rps = None if self._range.is_whole else offered_rps(db, number, point.settling)
            self._points.append(measured(point, counts, rate_rps))
            shares = [round(share.value, 6) for share in self._points[-1].shares]
            told |= {"requests": len(counts[0]), "shares": shares}
        else:
            found = pace(db, number, point.settling)
            self._powers.append(Powered(point.load, found.throughput_rps, found.latency_s))
            told |= {"requests": point.requests, **asdict(found)}
        self._told.append(told)
        self._used += int(db.execute("SELECT count(*) FROM requests WHERE stage = ?", (number,)).fetchone()[0])

    def _keep(self) -> None:
        """Keep the answer, or what would be the answer if it ended now."""
        is_over = isinstance(self._next, Answer)
        answer = self._next if isinstance(self._next, Answer) else self._ask(Budget(0, 0))
        if isinstance(answer, Answer):
            found = asdict(answer) | ({} if is_over else {"reason": f"it ended after {len(self._told)} points"})
            found |= {"kind": self._search.kind, "goal": "objectives" if self._objectives else "knee"}
            self.found = FoundLoad(**{**found, "points": len(self._told)})
            used = {"requests": self._used, "duration_s": round(self._clock() - self._began_s, 3)}
            self._store.set_run(search=found | used | {"points": self._told})
            self.message = f"search: {len(self._told)} points, {in_words(answer)}"


def range_of(spec: Spec) -> Range:
    """What a manifest searches for."""
    search = spec.load.search
    assert search is not None  # noqa: S101  # or there is nothing to search for
    bounds = tuple(bound_of(objective) for objective in spec.objectives)
    return Range(*search.ends, search.precision, bounds, search.kind == "concurrency", search.requests)


def too_small_a_budget(spec: Spec) -> str | None:
    """Why a search could not even begin; else None."""
    search = spec.load.search
    if search is None:
        return None
    wanted = range_of(spec)
    ask: Callable[[Budget], Next | Answer] = (
        (lambda budget: propose(wanted, [], budget))
        if spec.objectives
        else (lambda budget: propose_knee(wanted, [], budget))
    )
    first = ask(Budget())
    if not isinstance(first, Next) or isinstance(ask(Budget(search.max_requests, search.max_duration)), Next):
        return None
    total = first_cost(wanted) if spec.objectives else first.total
    takes = f"{total:,} requests" + ("" if wanted.is_whole else f", {total / first.load:.0f} s")
    what = "a point and one that confirms it take" if spec.objectives else "one point takes"
    return (
        f"spec.load.search: {what} {takes}, and {search.max_requests:,} requests in"
        f" {search.max_duration:g} s are allowed; raise maxRequests or maxDuration, or lower requests"
    )


def bound_of(objective: Objective) -> float:
    """The share of requests that must keep an objective."""
    if objective.share is not None:
        return objective.share
    share = objective.min if objective.metric == "goodput_share" else 1 - (objective.max or 0.0)
    return min(max(share or 0.0, 1e-4), 1 - 1e-4)  # 0 and 1 have no logit


def confirms(stage_name: str) -> bool:
    """Whether a stage of this name is the confirmation of what was found before it."""
    return f"-{CONFIRM}-" in stage_name


def in_words(answer: Answer) -> str:
    """What is known of the load."""
    if answer.load is None or answer.low is None:
        return "no load known that is carried" if answer.load is None else f"about {answer.load:.4g}"
    return f"at least {answer.low:.4g}" if answer.high is None else f"{answer.low:.4g} to {answer.high:.4g}"
