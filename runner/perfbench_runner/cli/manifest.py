"""Manifests as people write them: YAML files, `--set` overrides, and flags."""

import json
import logging
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from perfbench_api.resource import PerfBenchmark, Spec, SpecError

STDIN = Path("-")
STEP = r"[^.\[\]]+(\[\d+\])*"
"""A field of a path, and the items of it: stages[0]."""


LOG = logging.getLogger(__name__)


class _Loader(yaml.SafeLoader):
    """Takes no key twice, as kubectl does not: one of the two values would be lost without a word."""

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """A number with a leading 0 is octal, for kubectl too; hardly anybody means that."""
        value = super().construct_yaml_int(node)
        if re.fullmatch(r"[-+]?0[0-7_]+", node.value) and value != int(node.value.replace("_", "")):
            line = node.start_mark.line + 1
            LOG.warning(
                "line %d: YAML reads %s as %d, an octal number; leave out the 0 in front", line, node.value, value
            )
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    mark = key.start_mark
                    raise yaml.constructor.ConstructorError(problem=f"{key.value} is given twice", problem_mark=mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def load(path: Path, overrides: Iterable[str] = (), seed: int | None = None) -> PerfBenchmark:
    """The benchmark in a YAML file, overrides applied; raises SpecError that names file, line and field."""
    data = _read(path)
    for override in overrides:
        assign(data, override)
    if seed is not None:
        assign(data, f"spec.load.randomSeed={seed}")
        _seed_requests(data, seed)
    try:
        return PerfBenchmark.read(data)
    except SpecError as error:
        raise SpecError([f"{path}: {problem}" for problem in error.problems]) from None


def _seed_requests(data: Any, seed: int) -> None:
    """The sampling seed of all requests: those of workloads that have their own, and the others'."""
    spec = data.get("spec") if isinstance(data, dict) else None
    workloads = spec.get("workloads") if isinstance(spec, dict) else None
    given = [each.get("request") for each in workloads or () if isinstance(each, dict)]
    for request in given:
        if isinstance(request, dict):
            request["seed"] = seed
    if not given or None in given:
        assign(data, f"spec.request.seed={seed}")


def _read(path: Path) -> Any:
    try:
        text = sys.stdin.read() if path == STDIN else path.read_text(encoding="utf-8")
        documents = [item for item in yaml.load_all(text, _Loader) if item is not None]
    except OSError as error:
        raise SpecError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise SpecError([f"{path}: is no UTF-8 text"]) from None
    except RecursionError:
        raise SpecError([f"{path}: is nested too deeply to be a manifest"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        what = "" if isinstance(error, yaml.constructor.ConstructorError) else "is no YAML: "
        raise SpecError([f"{path}{where}: {what}{getattr(error, 'problem', None) or error}"]) from None
    if _holds_itself(documents):
        raise SpecError([f"{path}: an anchor (&) stands within what it names (*), so that it never ends"])
    found = [
        item for item in documents if isinstance(item, dict) and item.get("kind", "PerfBenchmark") == "PerfBenchmark"
    ]
    if not found:
        raise SpecError([f"{path}: holds no PerfBenchmark{_instead(documents)}"])
    if len(found) > 1:
        raise SpecError([f"{path}: holds {len(found)} PerfBenchmarks; expected one"])
    return found[0]


def _holds_itself(data: Any) -> bool:
    """Whether a map or list is within itself, which YAML's anchors make possible."""
    above, done = set[int](), set[int]()

    def visit(value: Any) -> bool:
        if not isinstance(value, (dict, list)) or id(value) in done:
            return False
        if id(value) in above:
            return True
        above.add(id(value))
        found = any(map(visit, value.values() if isinstance(value, dict) else value))
        above.remove(id(value))
        done.add(id(value))
        return found

    return visit(data)


def _instead(documents: list[Any]) -> str:
    """What a file holds in its place: a kind that is misspelt, or nothing of the sort."""
    kinds = [str(item["kind"]) for item in documents if isinstance(item, dict) and item.get("kind")]
    if not kinds:
        return "; it must be a map with metadata and spec" if documents else "; it is empty"
    near = get_close_matches("PerfBenchmark", kinds, n=1)
    return f", only kind {', '.join(kinds)}{'; did you mean PerfBenchmark?' if near else ''}"


def several_targets(given: Sequence[str]) -> list[str]:
    """The override that `--target NAME=URL` stands for, given once for each; raises SpecError for anything else."""
    found = []
    for each in given:
        name, equals, url = each.partition("=")
        if not (name and equals and url):
            raise SpecError([f"--target {each!r}: write it as NAME=URL, such as new=http://127.0.0.1:8000"])
        found.append({"name": name, "url": url})
    if len(found) == 1:
        raise SpecError(
            ["--target: is one of several, to be compared; give it for each of them, or --url for the only one"]
        )
    return [f"spec.targets={json.dumps(found)}"] if found else []


def assign(data: Any, override: str) -> None:
    """Apply `spec.load.stages[0].concurrency=8`; the value is YAML. Raises SpecError for anything else."""
    path, equals, text = override.partition("=")
    if path.split(".")[0].split("[")[0] in Spec.model_fields:  # `load.stages[0].requests` will do
        path = f"spec.{path}"
    keys = re.findall(r"[^.\[\]]+|\[\d+\]", path)
    if not equals or not re.fullmatch(rf"{STEP}(\.{STEP})*", path):
        raise SpecError([f"--set {override!r}: write it as spec.load.stages[0].concurrency=8"])
    steps = [int(key[1:-1]) if key.startswith("[") else key for key in keys]
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        raise SpecError([f"--set {override[:200]!r}: {text[:200]!r} is no YAML value"]) from None
    if _holds_itself(value):
        raise SpecError([f"--set {override[:200]!r}: an anchor (&) stands within what it names (*)"])
    _put(data, steps, value, override)


def _put(data: Any, steps: list[str | int], value: Any, override: str) -> None:
    for index, step in enumerate(steps):
        is_last = index == len(steps) - 1
        is_list_next = not is_last and isinstance(steps[index + 1], int)
        if isinstance(step, int):
            if not isinstance(data, list) or step > len(data):
                raise SpecError([f"--set {override!r}: there is no item [{step}]"])
            if step == len(data):
                data.append({})
        elif not isinstance(data, dict):
            raise SpecError([f"--set {override!r}: {step!r} is no field of a list or a plain value"])
        if is_last:
            data[step] = value
        elif isinstance(step, str):
            if data.get(step) is None:
                data[step] = [] if is_list_next else {}
            data = data[step]
        else:
            data = data[step]
