"""How often prompts were sent again: a prefix cache answers those faster than a user's."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np

from perfbench_runner.results.measured import Prompts
from perfbench_runner.results.rows import Ints, Rows


class SentBefore:
    """The prompts that a run has sent so far, stage by stage."""

    def __init__(self, prompt_ids: Ints, dataset_entries: int | None) -> None:
        self._known, self._entries = np.unique(prompt_ids), dataset_entries

    @classmethod
    def of_run(cls, db: sqlite3.Connection, facts: dict[str, str], target: str | None = None) -> "SentBefore":
        """Those of its warm-up, to one target or the only one, and how many entries its dataset has, if it came to its end."""
        rows = db.execute("SELECT prompt_id FROM warmup_prompt WHERE target IS ?", (target,)).fetchall()
        entries = None
        with suppress(KeyError, ValueError, TypeError):
            entries = int(json.loads(facts["dataset_entries"])) or None
        return cls(np.array([row[0] for row in rows], dtype=np.int64), entries)

    def note(self, rows: Rows) -> None:
        """Requests that were sent and are in no figure."""
        self._known = np.union1d(self._known, rows.prompt_ids[(rows["is_excluded"] > 0) & (rows.prompt_ids != 0)])

    def add(self, rows: Rows) -> Prompts | None:
        """What a stage repeats of itself and of what was sent before it; None where prompts are not known."""
        ids = rows.prompt_ids[rows.prompt_ids != 0]
        if not len(ids):
            return None
        distinct = np.unique(ids)
        new = np.setdiff1d(distinct, self._known, assume_unique=True)
        self._known = np.union1d(self._known, new)
        return Prompts(distinct=len(distinct), repeated=len(ids) - len(new), dataset_passes=self._passes(rows))

    def _passes(self, rows: Rows) -> float | None:
        used = len(np.unique(rows["entry"][~np.isnan(rows["entry"])]))
        return used / self._entries if self._entries and used else None


class SentToEach:
    """The prompts that a run has sent to each of its targets: each has a cache of its own."""

    def __init__(self, before: Mapping[str, SentBefore]) -> None:
        """`before`: by the warm-up, by target; the only one has no name."""
        self._of = before

    @classmethod
    def of_run(cls, db: sqlite3.Connection, facts: dict[str, str], targets: Sequence[str]) -> "SentToEach":
        """Those that its warm-up sent to each."""
        return cls({name: SentBefore.of_run(db, facts, name or None) for name in targets or ("",)})

    def add(self, requests: Mapping[str, tuple[Rows, Rows]]) -> Prompts | None:
        """What a stage repeats, by target: all that it sent, and those that figures are of; None where it is not known."""
        found = list[Prompts]()
        for name, (every, rows) in requests.items():
            self._of[name].note(every)
            prompts = self._of[name].add(rows)
            found += [prompts] if prompts is not None else []
        return _together(found)


def _together(found: Sequence[Prompts]) -> Prompts | None:
    """Those of all targets: they get the same prompts, so that the most are all."""
    if not found:
        return None
    passes = [each.dataset_passes for each in found if each.dataset_passes is not None]
    return Prompts(
        distinct=max(each.distinct for each in found),
        repeated=sum(each.repeated for each in found),
        dataset_passes=max(passes, default=None),
    )
