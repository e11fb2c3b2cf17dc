"""`evalscope.perf.arguments`: its flags for argparse, for scripts that build on them."""

import argparse
import json
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from perfbench_plugins.arguments import Arguments
from perfbench_plugins.foreign import DEFAULTS

JSON_VALUES = ("dataset_args", "extra_args", "sla_params", "api_args")
SEVERAL = ("number", "parallel", "rate", "max_tokens", "stop", "stop_token_ids")
SWITCHES = ("sla_auto_tune", "enable_pd_metrics", "enable_progress_tracker")


class ParseKVAction(argparse.Action):
    """`--headers name=value …` as a dict."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """Take the pairs of one flag."""
        pairs = [value.partition("=") for value in values]
        if not all(equals for _, equals, _ in pairs):
            parser.error(f"{option_string}: write name=value")
        setattr(namespace, self.dest, {name.strip(): text.strip() for name, _, text in pairs})


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field of Arguments, EvalScope's own ones included. Those that are not given are None."""
    for name in (*Arguments.model_fields, *DEFAULTS):
        flags = [*(["-n"] if name == "number" else []), f"--{name.replace('_', '-')}"]
        parser.add_argument(*flags, dest=name, default=None, **_settings(name))


def _settings(name: str) -> dict[str, Any]:
    kinds = (
        _kinds(Arguments.model_fields[name].annotation) if name in Arguments.model_fields else {type(DEFAULTS[name])}
    )
    number = float if float in kinds else int if int in kinds else str
    if name == "headers":
        return {"nargs": "+", "action": ParseKVAction}
    if name in JSON_VALUES:
        return {"type": json.loads}
    if name in SWITCHES:
        return {"action": "store_true"}
    if bool in kinds:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": number, **({"nargs": "+"} if name in SEVERAL else {})}


def _kinds(annotation: Any) -> set[type]:
    """The plain types that a field may hold, in lists too."""
    if hasattr(annotation, "__metadata__"):
        return _kinds(annotation.__origin__)
    if get_origin(annotation) is Literal:
        return {str}
    if get_origin(annotation) in (Union, UnionType, list):
        return set().union(*map(_kinds, get_args(annotation)))
    return {annotation} if isinstance(annotation, type) else set()


def parse_args() -> argparse.Namespace:
    """The flags of this process's command line, as EvalScope's `perf` takes them."""
    parser = argparse.ArgumentParser(description="Measure the performance of a model's endpoint.")
    add_argument(parser)
    return parser.parse_args()
