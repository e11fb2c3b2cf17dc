"""Live figures of a run: a sink of constant size, for the progress line and for /progress.

Quantiles here come from sketches, within 0.4 % of the value: good enough to watch, never used for the summary.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

from perfbench_runner.observe.sketch import Sketch
from perfbench_runner.results.result import Result

WINDOW_S = 10.0
"""Throughputs are of the last ten seconds."""


@dataclass
class Live:
    """What is known so far of the stage under way."""

    clock: Callable[[], float] = perf_counter
    total: int = 0
    failed: int = 0
    in_flight: int = 0
    tokens: int = 0
    ttft: Sketch = field(default_factory=Sketch)
    itl: Sketch = field(default_factory=Sketch)
    """Gaps between chunks with content."""
    errors: dict[str, int] = field(default_factory=dict)
    _recent: deque[tuple[float, int]] = field(default_factory=deque)
    began_s: float = 0.0

    def begin(self) -> None:
        """Forget the last stage."""
        self.total = self.failed = self.in_flight = self.tokens = 0
        self.ttft, self.itl, self.errors, self.began_s = Sketch(), Sketch(), {}, self.clock()
        self._recent.clear()

    def add(self, result: Result) -> None:
        """Take one more result."""
        data = result.data
        self.total += 1
        if not data.success:
            self.failed += 1
            self.errors[data.failure] = self.errors.get(data.failure, 0) + 1
            return
        if data.first_chunk_latency is not None:
            self.ttft.add((data.first_chunk_latency,))
        if data.inter_chunk_latency:
            self.itl.add(data.inter_chunk_latency)
        tokens = data.completion_tokens or 0
        self.tokens += tokens
        self._recent.append((self.clock(), tokens))
        self._forget_old()

    @property
    def elapsed_s(self) -> float:
        """Since the stage under way began; 0.0 before the first."""
        return self.clock() - self.began_s if self.began_s else 0.0

    def rates(self) -> tuple[float, float]:
        """Requests and output tokens per second, over the last seconds."""
        now = self.clock()
        window_s = min(WINDOW_S, max(now - self.began_s, 1e-3))
        self._forget_old()
        return len(self._recent) / window_s, sum(tokens for _, tokens in self._recent) / window_s

    def _forget_old(self) -> None:
        since_s = self.clock() - WINDOW_S
        while self._recent and self._recent[0][0] < since_s:
            self._recent.popleft()
