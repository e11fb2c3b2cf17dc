"""A search for a load as flags have it: `--search-rate 1:64` for {rate: {from: 1, to: 64}}."""

import re
from collections.abc import Mapping
from typing import Any

from perfbench_api.resource import SpecError

RANGES = {"search_rate": "rate", "search_concurrency": "concurrency"}
"""The fields that ask for a search, and what each searches for."""


def search_of(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """`load.search` of the manifest, of the fields that were given; None where none is asked for.

    Raises SpecError for what would be ignored.
    """
    asked = [name for name in RANGES if given.get(name) is not None]
    if not asked:
        if "search_precision" in given:
            raise SpecError(["search_precision: of no search; give search_rate or search_concurrency, too"])
        return None
    if len(asked) > 1:
        raise SpecError([f"{' and '.join(asked)} exclude each other; give one of them"])
    (name,) = asked
    ignored = [
        other for other in ("parallel", "rate", "open_loop", "duration", "profile", "until", "cv") if other in given
    ]
    if ignored:
        raise SpecError([f"{other}: {name} finds the load by itself; leave it out" for other in ignored])
    if isinstance(given.get("number"), list):
        raise SpecError([f"number: {name} has points of equally many requests; give one number"])
    names = {"search_precision": "precision", "number": "requests", "arrival": "arrival"}
    search = {ours: given[theirs] for theirs, ours in names.items() if theirs in given}
    return {RANGES[name]: _range(name, given[name]), **search}


def _range(name: str, text: str) -> dict[str, float]:
    """The ends of a range such as 1:64."""
    number = r"([0-9]+\.?[0-9]*|\.[0-9]+)"
    if not re.fullmatch(f"{number}:{number}", text):
        raise SpecError([f"{name}: {text!r} is no range; write the lowest and the highest load as 1:64"])
    low, high = (float(end) for end in text.split(":"))
    if RANGES[name] == "concurrency" and low.is_integer() and high.is_integer():  # others are refused, and named
        return {"from": int(low), "to": int(high)}
    return {"from": low, "to": high}
