"""The load of a stage in words, from its plan: what was asked for, and what draws the same schedule again."""

from typing import Any

Plan = dict[str, Any]


def load_in_words(plan: Plan) -> str:
    """One line; empty for files that do not say what was asked for."""
    parts = [part for part in (_load(plan), _ramps(plan), _end(plan)) if part]
    seed = plan.get("schedule", {}).get("seed")
    return ", ".join(parts) + (f"; seed {seed}" if seed else "")


def _load(plan: Plan) -> str:
    if "concurrency" in plan:
        lanes = plan["concurrency"]
        at_each = f" at each of {plan['sides']} targets" if plan.get("sides", 1) > 1 else ""
        return f"closed loop of {lanes} lane{'s' * (lanes != 1)}{at_each}"
    if plan.get("recordedTimes") == "played" or plan.get("arrival") == "recorded":
        return "open loop, times as recorded in the dataset"
    if "timestamps" in plan:
        given = plan["timestamps"]
        faster = f", {given['speed']:g} times as fast" if given.get("speed", 1) != 1 else ""
        return f"open loop, times from {given['path']}{faster}"
    rate = f"{plan['rate']:g} requests/s" if "rate" in plan else _profile(plan.get("profile", {}))
    return f"open loop, {_process(plan)} arrivals{_together(plan)}, {rate}" if rate else ""


def _process(plan: Plan) -> str:
    name = plan.get("arrival", "poisson")
    return f"gamma (cv {plan['cv']:g})" if name == "gamma" else "Poisson" if name == "poisson" else str(name)


def _together(plan: Plan) -> str:
    number = plan.get("schedule", {}).get("together", 1)
    return f" of {number} requests together" if number > 1 else ""


def _profile(profile: Plan) -> str:
    for name, shape in profile.items():
        if name == "ramp":
            over = f" over {shape['over']}" if "over" in shape else ""
            return f"from {shape['from']:g} to {shape['to']:g} requests/s{over}"
        if name == "steps":
            each = f" of {shape['each']}" if "each" in shape else ""
            return f"from {shape['from']:g} to {shape['to']:g} requests/s in {shape['steps']} steps{each}"
        if name == "sine":
            low, high = shape["mean"] - shape["amplitude"], shape["mean"] + shape["amplitude"]
            return f"swinging between {low:g} and {high:g} requests/s every {shape['period']}"
        if name == "burst":
            again = f" every {shape['every']}" if "every" in shape else ""
            at = f", first at {shape['at']}"
            return f"{shape['base']:g} requests/s with bursts of {shape['peak']:g} for {shape['for']}{again}{at}"
        if name == "points":
            return " - ".join(f"{point['rate']:g} at {point['at']}" for point in shape) + " requests/s"
    return ""


def _ramps(plan: Plan) -> str:
    found = [f"ramped {word} in {plan[key]}" for key, word in (("rampUp", "up"), ("rampDown", "down")) if key in plan]
    return " and ".join(found)


def _end(plan: Plan) -> str:
    ends = [f"{plan['requests']} requests"] if "requests" in plan else []
    ends += [str(plan["duration"])] if "duration" in plan else []
    if "until" not in plan:
        return " or ".join(ends)
    until = plan["until"]
    is_rate = until["metric"].endswith("_throughput")
    figure = until["metric"] if is_rate else f"{until['metric']} {until['statistic'].replace('_', '.')}"
    return f"until {figure} is known to ±{until['within']:.1%}, at most {' or '.join(ends)}"
