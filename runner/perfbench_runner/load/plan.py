"""What a stage is to do, as the results file keeps it: the manifest's words, and what follows from them."""

from typing import Any

from perfbench_api.sections import Load, Stage
from perfbench_runner.load.lanes import sides
from perfbench_runner.load.rates import expected


def seed_of(load: Load, number: int) -> str:
    """The seed of a stage's arrivals: `random.Random` of it draws them again."""
    return f"{load.random_seed}/arrivals/{number}"


def plan(load: Load, number: int, has_schedule: bool, together: int = 1) -> dict[str, Any]:
    """A stage as it is run; `has_schedule`: its dataset brings recorded times, of which it is said what becomes of them.

    `together`: so many requests of an open loop come at a time; so many targets have lanes of their own.
    """
    stage = load.stages[number]
    found = stage.model_dump(by_alias=True, exclude_none=True, mode="json")
    if has_schedule:
        found["recordedTimes"] = "played" if stage.is_open_loop else "unused"
    if stage.is_open_loop and found.get("recordedTimes") != "played" and stage.arrival != "recorded":
        found["schedule"] = _schedule(load, number, stage) | ({"together": together} if together > 1 else {})
    if (apart := sides(stage, together)) > 1:
        found["sides"] = apart
    return found


def _schedule(load: Load, number: int, stage: Stage) -> dict[str, Any]:
    """What draws the arrivals of an open loop again, and how many of them are to be expected."""
    if stage.timestamps is not None:
        return {"process": "timestamps"}
    schedule: dict[str, Any] = {"process": stage.arrival, "seed": seed_of(load, number)}
    mean = expected(stage)
    if mean is not None and stage.duration:
        schedule |= {"expectedRequests": round(mean, 3), "meanRate": round(mean / stage.duration, 6)}
    return schedule
