"""The termination message of a runner's pod: how the run ended, for an operator that reads no logs and no volumes.

It is written as soon as the files of the run are: whoever kills the pod after that, while it pushes its metrics or
lingers for a last scrape, loses nothing.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perfbench_api.outcome import Outcome
from perfbench_runner.observer import Observer

LOG = logging.getLogger(__name__)


class LastWord(Observer):
    """Writes the outcome when the run is over. Give it to the run before those who take their time to close."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def close(self, outcome: Outcome) -> None:
        """Write it down; a run whose results are stored does not fail for this."""
        try:
            self._file.write_bytes(outcome.message_bytes())
        except OSError as error:
            LOG.warning("cannot write the termination message: %s", error)


@contextmanager
def told(file: Path | None, bad_input: tuple[type[Exception], ...]) -> Iterator[None]:
    """Say bad input in the termination message, too."""
    try:
        yield
    except bad_input as error:
        if file:
            file.write_bytes(Outcome(outcome="failed", reason="InvalidSpec", message=str(error)).message_bytes())
        raise
