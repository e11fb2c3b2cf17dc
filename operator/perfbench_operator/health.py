"""Whether the operator still hears and works: what a watch should have told is compared with what a list tells. Pure.

A dead watch looks like a quiet cluster. So all benchmarks are listed now and then; a version that the list shows and the
watch has not told within a minute was missed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Data = Mapping[str, Any]
MISSED_S = 60.0
"""A watch may be late by that much, such as after a lost connection."""
STALLED_S = 120.0
"""Longest time between two lists before the operator counts as stalled: several intervals."""
UNREACHABLE_S = 600.0
"""So long may the API server be away before a fresh start is worth trying."""


@dataclass
class Health:
    """Times are seconds of one monotonic clock."""

    began_s: float
    told: dict[str, int] = field(default_factory=dict)
    """Newest version of each benchmark that the watch told, by uid."""
    missed: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Versions that a list showed and the watch has not told yet, and since when."""
    last_list_s: float | None = None
    last_try_s: float | None = None

    def tell(self, body: Data, is_gone: bool = False) -> None:
        """The watch told of a benchmark."""
        uid, version = _version(body)
        self.told[uid] = version
        if is_gone or version >= self.missed.get(uid, (0, 0.0))[0]:
            self.missed.pop(uid, None)
        if is_gone:
            self.told.pop(uid, None)

    def listed(self, bodies: Iterable[Data], now_s: float) -> None:
        """A list was read."""
        self.last_list_s = self.last_try_s = now_s
        versions = dict(_version(body) for body in bodies)
        for uid in self.told.keys() - versions.keys():
            del self.told[uid]
        self.missed = {
            uid: self.missed.get(uid, (version, now_s))
            for uid, version in versions.items()
            if self.told.get(uid, 0) < version
        }

    def tried(self, now_s: float) -> None:
        """A list was tried and failed: the loop lives, the API server does not answer."""
        self.last_try_s = now_s

    def watch_lag_s(self, now_s: float) -> float:
        """For how long the watch owes the oldest version, in seconds."""
        return max((now_s - since_s for _, since_s in self.missed.values()), default=0.0)

    def problem(self, now_s: float) -> str | None:
        """Why the operator should be started anew; None while all is well."""
        if self.watch_lag_s(now_s) > MISSED_S:
            return f"the watch has told nothing of {len(self.missed)} changed benchmarks for over {MISSED_S:.0f} s"
        if now_s - (self.last_try_s or self.began_s) > STALLED_S:
            return f"the operator has not looked for benchmarks for over {STALLED_S:.0f} s"
        if now_s - (self.last_list_s or self.began_s) > UNREACHABLE_S:
            return f"the API server has not answered for over {UNREACHABLE_S:.0f} s"
        return None


def _version(body: Data) -> tuple[str, int]:
    meta = body["metadata"]
    text = str(meta.get("resourceVersion", "0"))
    return str(meta["uid"]), int(text) if text.isdigit() else 0
