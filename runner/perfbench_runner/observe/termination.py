"""The termination message of a runner's pod: how the run ended, for an operator that reads neither logs nor volumes.

It is written as soon as the files of the run are: whoever kills the pod after that, while it pushes its metrics or
lingers for a last scrape, loses nothing.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perfbench_api.outcome import Outcome
from perfbench_api.redaction import KNOWN, without_keys
from perfbench_runner.observe.observer import Observer
from perfbench_runner.results.store import StoreError
from perfbench_runner.signals import Interrupted

LOG = logging.getLogger(__name__)


class TerminationMessage(Observer):
    """Writes the outcome when the run is over. Give it to the run before those who take their time to close."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def close(self, outcome: Outcome) -> None:
        """Write it down."""
        _write(self._file, outcome)


def _write(file: Path, outcome: Outcome) -> None:
    """A run whose results are stored does not fail for this, and bad input is told on stderr, too."""
    try:
        file.write_bytes(outcome.message_bytes())
    except OSError as error:
        LOG.warning("cannot write the termination message: %s", error)


@contextmanager
def told(file: Path | None, errors: tuple[type[Exception], ...]) -> Iterator[None]:
    """Say in the termination message, too, why there is no run."""
    try:
        yield
    except errors as error:
        if file:
            reason = "CannotStore" if isinstance(error, StoreError) else "InvalidSpec"
            _write(file, Outcome(outcome="failed", reason=reason, message=without_keys(KNOWN.text(str(error)))))
        raise
    except Interrupted as error:
        if file:
            message = f"stopped by {error.name} before anything was sent"
            _write(file, Outcome(outcome="interrupted", reason="Interrupted", message=message))
        raise
