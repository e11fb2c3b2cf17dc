"""Whether the operator still receives events and works: what the watch reported is compared with a fresh list. Pure.

A dead watch looks like a quiet cluster. So all benchmarks are listed from time to time; a version that a list shows and
that the watch has not reported a minute later was missed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from perfbench_operator.kube import Data

MISSED_S = 60.0
"""How late the watch may be, such as after a lost connection."""
STALLED_S = 240.0
"""Maximum time between two attempts to list before the operator counts as stalled: several intervals."""
UNREACHABLE_S = 600.0
"""How long the API server may be unreachable before a restart is worth trying."""


@dataclass
class Health:
    """Times are seconds of one monotonic clock. Belongs to the event loop's thread."""

    started_s: float
    watched: dict[str, int] = field(default_factory=dict)
    """Newest version of each benchmark that the watch has reported, by uid."""
    missed: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Versions that a list showed and the watch has not reported yet, and since when; by uid."""
    last_list_s: float | None = None
    last_attempt_s: float | None = None

    def saw(self, body: Data, is_gone: bool = False) -> None:
        """The watch reported a benchmark."""
        uid, version = _version(body)
        self.watched[uid] = version
        if is_gone or version >= self.missed.get(uid, (0, 0.0))[0]:
            self.missed.pop(uid, None)
        if is_gone:
            self.watched.pop(uid, None)

    def listed(self, bodies: Iterable[Data], now_s: float) -> None:
        """A list was read."""
        self.last_list_s = self.last_attempt_s = now_s
        versions = dict(_version(body) for body in bodies)
        for uid in self.watched.keys() - versions.keys():
            del self.watched[uid]
        self.missed = {
            uid: self.missed.get(uid, (version, now_s))
            for uid, version in versions.items()
            if self.watched.get(uid, 0) < version
        }

    def list_failed(self, now_s: float) -> None:
        """A list failed: the operator is alive, but the API server does not answer."""
        self.last_attempt_s = now_s

    def watch_lag_s(self, now_s: float) -> float:
        """How long the oldest missed version has been missing from the watch, in seconds."""
        return max((now_s - since_s for _, since_s in self.missed.values()), default=0.0)

    def problem(self, now_s: float) -> str | None:
        """Why the operator should be restarted; None if it is healthy."""
        if self.watch_lag_s(now_s) > MISSED_S:
            return f"the watch has not reported {len(self.missed)} changed benchmarks for over {MISSED_S:.0f} s"
        if now_s - (self.last_attempt_s or self.started_s) > STALLED_S:
            return f"the operator has not listed benchmarks for over {STALLED_S:.0f} s"
        if now_s - (self.last_list_s or self.started_s) > UNREACHABLE_S:
            return f"the API server has not answered for over {UNREACHABLE_S:.0f} s"
        return None


def _version(body: Data) -> tuple[str, int]:
    meta = body["metadata"]
    text = str(meta.get("resourceVersion", "0"))
    return str(meta["uid"]), int(text) if text.isdigit() else 0
