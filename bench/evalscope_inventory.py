"""What EvalScope's package offers to plugins and scripts, against what we offer under the same names.

    python bench/evalscope_inventory.py PYTHON_WITH_EVALSCOPE [--write]

Every public module, class, signature, field and default of `evalscope.perf` is compared. Differences that are meant are
in REASONS below; any other is printed, and the exit code is 1. `--write` puts the table into docs/evalscope.md.
"""

import dataclasses
import fnmatch
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs" / "evalscope.md"
BEGIN, END = "<!-- inventory: begin -->\n", "<!-- inventory: end -->\n"
BESIDE = ("evalscope.constants", "evalscope.api.dataset", "evalscope.utils.logger", "evalscope.utils.io_utils")
"""Modules beside `evalscope.perf` that plugins import; of them only what its own plugins use is asked for."""
USED = {
    "evalscope.constants": "DEFAULT_WORK_DIR HEARTBEAT_INTERVAL_SEC HubType VisualizerType",
    "evalscope.api.dataset": "DatasetSource",
    "evalscope.utils.logger": "get_logger configure_logging",
    "evalscope.utils.io_utils": "PIL_to_base64 base64_to_PIL current_time jsonl_to_list json_to_dict yaml_to_dict",
}
PACKAGES = ("evalscope.perf.plugin", "evalscope.perf.plugin.api", "evalscope.perf.plugin.datasets")
"""They offer names of their modules, which are looked into there."""
REASONS: dict[str, str] = {
    "evalscope.perf.arguments.Arguments.*_timeout": "shorter by default: a hung endpoint is told within minutes, not six hours",
    "evalscope.perf.arguments.Arguments.sleep_interval": "no pause between stages unless it is asked for",
    "evalscope.perf.arguments.Arguments.outputs_dir": "the same folder",
    "evalscope.perf.arguments.Arguments.rate": "the same number",
    "evalscope.perf.arguments.Arguments.from_dict(d)": "the parameter is called `values`",
    "evalscope.perf.arguments.DEFAULT_WORK_DIR": "it is in `evalscope.constants`",
    "evalscope.perf.main.HEARTBEAT_INTERVAL_SEC": "it is in `evalscope.constants`",
    "evalscope.perf.plugin.registry.TYPE_CHECKING": "typing's own",
    "evalscope.perf.plugin.datasets.dataset_args.MultiTurnDatasetArgs.*": "None stands for the same defaults where they hold",
    "evalscope.perf.plugin.datasets.multi_turn.ShareGPT*.args_schema(*": "lengths have no effect on recorded conversations, so"
    " they are refused",
    "evalscope.perf.plugin.datasets.speed_benchmark.*": "how its prompts are made is private here; the prompts are the same",
    "evalscope.perf.plugin.datasets.random_dataset.*": "how random text is made is otherwise (docs/datasets.md)",
    "evalscope.perf.plugin.datasets.random_vl_dataset.*": "how random text is made is otherwise (docs/datasets.md)",
    "evalscope.perf.plugin.datasets.multi_turn.RandomMultiTurn*": "how random text is made is otherwise (docs/datasets.md)",
    "evalscope.perf.plugin.datasets.trie.*": "how random text is made is otherwise (docs/datasets.md)",
    "evalscope.perf.plugin.datasets.embedding_dataset.Random*": "how random text is made is otherwise (docs/datasets.md)",
    "evalscope.perf.plugin.datasets.rerank_dataset.Random*": "how random text is made is otherwise (docs/datasets.md)",
    "evalscope.perf.plugin.datasets.mmmu_multi_image.*": "pictures are sent as they are stored",
    "evalscope.perf.benchmark*": "the loop of a run: perfbench has an engine of its own",
    "evalscope.perf.multi_turn_benchmark*": "the loop of a run: perfbench has an engine of its own",
    "evalscope.perf.core*": "the loop of a run: perfbench has an engine of its own",
    "evalscope.perf.main.run_one_benchmark": "the loop of a run: `run_perf_benchmark` is the way in",
    "evalscope.perf.main.run_multi_benchmark": "the loop of a run: `run_perf_benchmark` is the way in",
    "evalscope.perf.scenarios*": "AgentX is an external program that EvalScope starts; `--scenario` is refused with what to use",
    "evalscope.perf.sla*": "the search for a load; `--sla-*` is refused with what to use",
    "evalscope.perf.utils.report*": "HTML reports and their reader: EvalScope's own read our results (docs/evalscope.md)",
    "evalscope.perf.utils.rich_display*": "tables: perfbench prints its own",
    "evalscope.perf.utils.perf_models*": "EvalScope's summaries: perfbench has summary.json",
    "evalscope.perf.utils.trace_metrics*": "figures of conversations: perfbench has its own (docs/metrics.md)",
    "evalscope.perf.utils.workload_timeline*": "figures over time: perfbench keeps all rows, and live metrics",
    "evalscope.perf.utils.log_utils*": "visualizers: results are in SQLite and Prometheus",
    "evalscope.perf.utils.worker_util*": "processes that generate prompts: perfbench generates while it sends",
    "evalscope.perf.utils.handler.*": "signals and event loops of its engine; `exception_handler` is there",
    "evalscope.perf.utils.local_server.lifespan": "perfbench runs no model itself; `start_app` refuses with the way out",
    "evalscope.perf.utils.db_util.*": "writing its database and its summary: perfbench has a store of its own",
    "evalscope.perf.plugin.api.decision_api*": "one vendor's decisions: the API `template` and `line_by_line` send them",
    "evalscope.perf.plugin.datasets.open_decisions*": "one vendor's decisions: `line_by_line` sends them",
    "evalscope.perf.plugin*.SystemOnePerfPlugin": "one vendor's decisions: the API `template` and `line_by_line` send them",
    "evalscope.perf.plugin*.AutoTrustPerfPlugin": "one vendor's decisions: the API `template` and `line_by_line` send them",
    "evalscope.perf.plugin*.OpenDecisionsDatasetPlugin": "one vendor's decisions: `line_by_line` sends them",
}
"""Pattern of a name: why it is not here, or is otherwise."""


def modules() -> list[str]:
    """Public modules of the installed package; those of ours have the same names, so they are asked for by name."""
    import evalscope.perf

    found = pkgutil.walk_packages(evalscope.perf.__path__, "evalscope.perf.", onerror=lambda name: None)
    names = [module.name for module in found if not any(part.startswith("_") for part in module.name.split("."))]
    return sorted({"evalscope.perf", *names, *BESIDE} - {"evalscope.perf.utils.analysis_result"})  # a program


def plain(value: object) -> str:
    """A default as text."""
    if dataclasses.is_dataclass(value) or callable(value):
        return "…"
    return repr(value)


def signature(function: object) -> dict[str, str]:
    try:
        parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return {}
    return {
        one.name: "" if one.default is one.empty else plain(one.default)
        for one in parameters
        if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    }


def fields(found: type) -> dict[str, str]:
    """Fields of a dataclass or of a pydantic model, with their defaults."""
    if hasattr(found, "model_fields"):
        known = found.model_fields
        return {
            name: "" if one.is_required() else plain(one.get_default(call_default_factory=True))
            for name, one in known.items()
        }
    if dataclasses.is_dataclass(found):
        return {
            one.name: "" if one.default is dataclasses.MISSING else plain(one.default)
            for one in dataclasses.fields(found)
            if not one.name.startswith("_")
        }
    return {}


def class_inventory(found: type) -> dict[str, object]:
    members = {
        name: inspect.getattr_static(found, name)
        for base in found.__mro__
        if base.__module__.split(".")[0] in ("evalscope", "perfbench_plugins", "perfbench_api")
        for name in vars(base)
        if not name.startswith("_") and name != "model_config"
    }
    methods = {
        name: signature(getattr(found, name)) for name, one in members.items() if callable(getattr(found, name, None))
    }
    return {
        "fields": fields(found),
        "methods": methods,
        "attributes": sorted(members.keys() - methods.keys()),
        "init": signature(found.__init__),
    }


def look(name: str, value: object) -> dict[str, object]:
    """What is known of one name of a module."""
    if name in PACKAGES:
        return {}
    if inspect.isclass(value):
        return class_inventory(value)
    if callable(value):
        return {"signature": signature(value)}
    return {**class_inventory(type(value)), "is_instance": True} if hasattr(value, "get_class") else {}


def inventory(names: list[str]) -> dict[str, dict[str, object] | None]:
    """Each module's public names: those defined in it, and what packages offer of their modules'."""
    found: dict[str, dict[str, object] | None] = {}
    for name in names:
        try:
            module = importlib.import_module(name)
        except Exception:  # noqa: BLE001  # a module may need what is not installed
            found[name] = None
            continue
        wanted = set(USED[name].split()) if name in USED else None
        values = {key: getattr(module, key, None) for key in wanted or vars(module) if not key.startswith("_")}
        own = {key: value for key, value in values.items() if wanted or name in PACKAGES or is_own(name, value)}
        kept = {key: value for key, value in own.items() if value is not None and not inspect.ismodule(value)}
        found[name] = {key: look(name, value) for key, value in kept.items() if key != "logger"}
    return found


def is_own(module: str, value: object) -> bool:
    """Whether a value was made in this module: a class or function of it, or a constant of a plain kind."""
    made = getattr(value, "__module__", None)
    return made == module or (made is None and isinstance(value, (str, int, float, tuple, list, dict)))


def lookups(asked: dict[str, dict[str, object] | None]) -> dict[str, dict[str, object] | None]:
    """The same names as another package has them."""
    found: dict[str, dict[str, object] | None] = {}
    for name, names in asked.items():
        try:
            module = importlib.import_module(name)
        except ImportError:
            found[name] = None
            continue
        values = {key: getattr(module, key, None) for key in names or ()}
        found[name] = {key: look(name, value) for key, value in values.items() if value is not None}
    return found


def differences(theirs: dict, ours: dict) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    """Name, and what is not as theirs."""
    found: list[tuple[str, str]] = []
    for module, names in theirs.items():
        if not names:
            continue
        if ours.get(module) is None:
            found.append((module, "no such module"))
            continue
        for name, wanted in names.items():
            have = ours[module].get(name)
            if have is None:
                found.append((f"{module}.{name}", "no such name"))
            else:
                found += [(f"{module}.{name}{rest}", what) for rest, what in inside(wanted, have)]
    return found


def inside(wanted: dict, have: dict):  # type: ignore[no-untyped-def, type-arg]
    """What is not as theirs within a class or a function."""
    for parameter in wanted.get("signature", {}):
        if parameter not in have.get("signature", {parameter: ""}):
            yield f"({parameter})", "no such parameter"
    known = {*have.get("attributes", ()), *have.get("methods", {}), *have.get("fields", {}), *have.get("foreign", ())}
    asked = (*wanted.get("fields", {}), *wanted.get("methods", {}), *wanted.get("attributes", ()))
    yield from ((f".{name}", "no such attribute") for name in dict.fromkeys(asked) if name not in known)
    for name, default in wanted.get("fields", {}).items():
        if default != have.get("fields", {}).get(name, default):
            yield f".{name}", f"default {have['fields'][name] or 'none'}, there {default or 'none'}"
    for name, parameters in wanted.get("methods", {}).items():
        own = have.get("methods", {}).get(name)
        yield from (
            (f".{name}({parameter})", "no such parameter") for parameter in parameters if own and parameter not in own
        )


def main(python: str, write: bool) -> int:
    there = subprocess.run([python, __file__, "--dump"], capture_output=True, text=True, check=True)
    theirs = json.loads(there.stdout.splitlines()[-1])
    version = theirs.pop("version")
    import perfbench_plugins  # noqa: F401
    from perfbench_plugins.foreign import DEFAULTS

    ours = lookups(theirs)
    arguments = ours["evalscope.perf.arguments"]
    arguments["Arguments"]["foreign"] = [*DEFAULTS, "model_id"]  # type: ignore[index]
    found = differences(theirs, ours)
    reasons: dict[str, list[str]] = {}
    unexplained = []
    for name, what in found:
        reason = next((why for pattern, why in REASONS.items() if fnmatch.fnmatchcase(name, pattern)), None)
        if reason is None:
            unexplained.append((name, what))
        else:
            reasons.setdefault(reason, []).append(f"`{name}`: {what}")
    counted = sum(len(names or ()) for names in theirs.values())
    print(f"EvalScope {version}: {len(theirs)} modules, {counted} names")
    print(f"{len(found)} differences, {len(unexplained)} without a reason")
    for name, what in unexplained:
        print(f"  {name}: {what}")
    if write:
        write_table(version, theirs, reasons, counted)
    return 1 if unexplained else 0


def write_table(version: str, theirs: dict, reasons: dict[str, list[str]], counted: int) -> None:  # type: ignore[type-arg]
    lines = [
        f"Made by `bench/evalscope_inventory.py` from EvalScope {version}: {len(theirs)} modules, {counted} public names.",
        "What is not in this table is here under the same name, with the same parameters, fields and defaults.",
        "",
        "| not here, or otherwise | why |",
        "| --- | --- |",
    ]
    for reason, names in sorted(reasons.items(), key=lambda one: one[1]):
        short = names if len(names) <= 6 else [*names[:3], f"and {len(names) - 3} more like them"]
        lines.append(f"| {'; '.join(short)} | {reason} |")
    text = DOCS.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    DOCS.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--dump":
        from importlib.metadata import version

        print(json.dumps({**inventory(modules()), "version": version("evalscope")}))
    else:
        sys.exit(main(sys.argv[1], "--write" in sys.argv))
