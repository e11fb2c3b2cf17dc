"""Those who watch a run must not end it."""

from typing import Any

import pytest

from perfbench_api.outcome import Outcome
from perfbench_runner.observe.observer import Observer, Observers


class Recorder(Observer):
    def __init__(self, breaks: str = "") -> None:
        self.calls: list[str] = []
        self.breaks = breaks

    def _note(self, name: str) -> None:
        self.calls.append(name)
        if name == self.breaks:
            raise RuntimeError("its own mistake")

    def add(self, result: Any) -> None:
        self._note("add")

    def tick(self, run: Any) -> None:
        self._note("tick")

    async def loaded(self, run: Any) -> None:
        self._note("loaded")

    async def close(self, outcome: Outcome) -> None:
        self._note("close")


@pytest.mark.parametrize("breaks", ["add", "tick", "loaded", "close"])
async def test_one_that_fails_is_told_and_watches_no_more(breaks: str, caplog: pytest.LogCaptureFixture) -> None:
    broken, well = Recorder(breaks), Recorder()
    observers, anything = Observers([broken, well]), Any
    for _ in range(2):
        observers.add(anything)  # type: ignore[arg-type]
        observers.tick(anything)
    await observers.loaded(anything)
    await observers.close(Outcome(outcome="succeeded"))
    assert well.calls == ["add", "tick", "add", "tick", "loaded", "close"]
    assert broken.calls.count(breaks) == (2 if breaks == "" else 1)
    assert broken.calls[-1] == "close", "what it holds must be given back"
    assert "Recorder failed" in caplog.text
