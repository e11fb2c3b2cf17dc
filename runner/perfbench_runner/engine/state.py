"""What is known of the run as a whole: how far it is, and how it ended. Owned by the control process's loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

from perfbench_api.outcome import FoundLoad

Phase = Literal["starting", "waiting", "warmup", "running", "pausing", "storing", "done"]

WARMUP, TEST = -1, -2
"""Stage numbers of requests that are not counted."""


@dataclass
class End:
    """How a run ended."""

    state: Literal["complete", "interrupted", "failed"] = "complete"
    reason: str = "Completed"
    message: str = ""


@dataclass
class RunState:
    """Phase, stage and end of the run. The parts of the engine share it; each field has one writer, named here."""

    clock: Callable[[], float] = perf_counter
    phase: Phase = "starting"
    """Written by the engine, the probe and the stages."""
    message: str = ""
    """One line for people, such as why the target does not answer."""
    stage_index: int = 0
    """The measured stage under way, or the last one. Written by the stages."""
    number: int = TEST
    """The stage that shards work on: `stage_index`, WARMUP or TEST."""
    stage_began_s: float = 0.0
    """When the load of the stage under way began."""
    found: FoundLoad | None = None
    """Of a search: what is known so far. Written by the engine."""
    unmeasured: dict[str, int] = field(default_factory=lambda: {"connection_test": 0, "warmup": 0})
    """Requests that were sent and are not counted."""
    end: End = field(default_factory=End)
    is_stopping: bool = False
    """No further requests are to be sent. Written by the engine's `stop`."""
    stopped_s: float | None = None
    """When that was, if the load was under way."""
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by a signal, also after the load is over."""
