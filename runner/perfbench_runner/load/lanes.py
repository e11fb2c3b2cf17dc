"""When the lanes of a closed loop come and go: pure functions of its ramps. Offsets are seconds from the start of the stage."""

from perfbench_api.sections import Stage


def sides(stage: Stage, together: int) -> int:
    """How many targets have the stage's lanes each for itself; 1: whoever is sent to, the lanes are one pool.

    `together`: so many targets are sent to side by side. A stage that ends by count, such as a warm-up, has one pool: with
    lanes of its own the faster target would be done while the other is not.
    """
    return together if not stage.is_open_loop and stage.requests is None else 1


def comings(stage: Stage, lanes: int) -> list[float]:
    """When each lane comes: all at once, or one after the other while the load is ramped up, the first one at once."""
    up_s = stage.ramp_up or 0.0
    return [up_s * number / lanes for number in range(lanes)]


def goings(stage: Stage, lanes: int) -> list[float]:
    """When each lane is to take no further request; none where the load is not ramped down. The last goes at the very end."""
    if stage.ramp_down is None or stage.duration is None:
        return []
    hold_s = stage.duration - stage.ramp_down
    return [hold_s + stage.ramp_down * (number + 1) / lanes for number in range(lanes)]
