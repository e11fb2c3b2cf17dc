"""The CustomResourceDefinition and its reference, generated from the models.

`python -m perfbench_api.crd --write` writes crds/*.yaml, the chart's template and docs/reference-crd.md;
`--check` fails when one of them is out of date.

Kubernetes requires a structural schema: no references, one type per field, no nulls, defaults that it fills in itself. Values
of more than one type are int-or-string, or have no type at all (`x-kubernetes-preserve-unknown-fields`). `kubectl explain` calls
both an Object, so words say what they are.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from perfbench_api import GROUP, KIND, PLURAL, VERSION
from perfbench_api.kubernetes import kind_of
from perfbench_api.resource import Spec
from perfbench_api.rules import ONE_OF, ROOT, SECTIONS
from perfbench_api.sections import Runner
from perfbench_api.status import Status
from perfbench_api.values import DURATION, QUANTITY, format_duration

NAME = f"{PLURAL}.{GROUP}"
REPOSITORY = Path(__file__).resolve().parents[2]
_KEPT = (
    *("type", "description", "enum", "pattern", "format", "default", "items", "properties", "required"),
    *("additionalProperties", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "nullable"),
)
_NULL = {"type": "null"}
_ORDER = {key: place for place, key in enumerate(("type", "description", "default", "enum", "required", "properties"))}
_MULTIPLE = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")
_WORDS = {
    DURATION: " A duration: text such as 500ms, 30s or 1h30m, or whole seconds.",
    QUANTITY: " A quantity: text such as 500Mi or 10Gi, or a whole number.",
}
"""What is said of values of more than one type, by their pattern."""
_OF_PODS = {
    f"runner.{field.alias or name}": kind
    for name, field in Runner.model_fields.items()
    if (kind := kind_of(field.annotation))
}
"""Fields that are parts of a pod, with their kind; what is in them, the reference leaves to that of Kubernetes."""
PRINTER_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Phase", "string", ".status.phase", 0),
    ("Verdict", "string", ".status.verdict", 0),
    ("Stage", "string", ".status.progress.stage", 0),
    ("Progress", "string", ".status.progress.done", 0),
    ("Req/s", "number", ".status.live.requestsPerSecond", 0),
    ("TTFT p99", "string", ".status.live.ttftP99", 0),
    ("Tok/s", "number", ".status.live.outputTokensPerSecond", 0),
    ("Carries", "number", ".status.search.low", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Verdict reason", "string", ".status.verdictReason", 1),
    ("Model", "string", ".status.model", 1),
    ("TTFT p50", "string", ".status.live.ttftP50", 1),
    ("Failed", "integer", ".status.live.failed", 1),
    ("Client", "string", ".status.client.state", 1),
    ("Left", "string", ".status.progress.eta", 1),
    ("Message", "string", ".status.message", 1),
)
"""Columns of `kubectl get`: title, type, path, priority (1: only with -o wide)."""


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition as data."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path, **({"priority": 1} if priority else {})}
        for name, kind, path, priority in PRINTER_COLUMNS
    ]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": _root()},
    }
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": PLURAL.removesuffix("s"),
        "shortNames": ["pb"],
        "categories": ["all", "perfbench"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _root() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A benchmark of a model endpoint: this endpoint, this workload, this load, these objectives.",
        "required": ["spec"],
        "x-kubernetes-validations": [rule.schema() for rule in ROOT],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},  # so that messages have a path
            "spec": structural(Spec),
            "status": structural(Status),
        },
    }


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema as Kubernetes requires it."""
    schema = model.model_json_schema(by_alias=True)
    return _inline({**schema, "title": model.__name__}, schema.get("$defs", {}))


def _inline(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    node = _resolved(node, definitions)
    kept = {key: value for key, value in node.items() if key in _KEPT or key.startswith("x-kubernetes-")}
    if kept.pop("additionalProperties", None) and isinstance(node["additionalProperties"], dict):
        kept["additionalProperties"] = _inline(node["additionalProperties"], definitions)
    if "properties" in kept:
        kept["properties"] = {name: _inline(child, definitions) for name, child in kept["properties"].items()}
        rules = SECTIONS.get(node.get("title", ""), ())
        kept |= {"x-kubernetes-validations": [rule.schema() for rule in rules]} if rules else {}
        kept |= {"oneOf": choices} if (choices := ONE_OF.get(node.get("title", ""))) else {}
    if "items" in kept:
        kept["items"] = _inline(kept["items"], definitions)
    if "exclusiveMinimum" in node:  # a number in JSON schema, a boolean in OpenAPI 3.0
        kept |= {"minimum": node["exclusiveMinimum"], "exclusiveMinimum": True}
    if kept.get("pattern") in _WORDS:  # of numbers; which texts are 0 no pattern of RE2 says
        kept["minimum"] = 1 if node.get("gt") == 0 else 0
    if "x-kubernetes-int-or-string" in kept:
        kept["anyOf"] = [{"type": "integer"}, {"type": "string"}]
        if words := _WORDS.get(kept.get("pattern", "")):
            kept["description"] = kept.get("description", "") + words
    kept = _with_default(kept)
    return dict(sorted(kept.items(), key=lambda item: _ORDER.get(item[0], len(_ORDER))))


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The node without references and unions: an optional field is one that may be left out."""
    if "$ref" in node:
        found = definitions[node["$ref"].rpartition("/")[2]]
        return {**found, **{key: value for key, value in node.items() if key != "$ref"}}
    choices = node.get("anyOf", [])
    outer = {key: value for key, value in node.items() if key != "anyOf"}
    if _NULL in choices and node.get("default") is not None:
        outer["nullable"] = True  # null then differs from absent: no limit, not sent
    if any(key in node for key in _MULTIPLE):
        return outer
    if choices:
        (choice,) = [choice for choice in choices if choice != _NULL]
        return _resolved({**choice, **outer}, definitions)
    return node


def _with_default(node: dict[str, Any]) -> dict[str, Any]:
    """The default as Kubernetes fills it in: empty for a section, because its fields have their own defaults."""
    default = node.pop("default", None)
    if default is None:
        return node
    if "properties" in node:
        return {**node, "default": {}}
    if node.get("pattern") == DURATION and not isinstance(default, str):
        default = format_duration(default)
    return {**node, "default": _without_nulls(default)}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


# The files that are generated from it

_NOTE = "# Generated from crds/perfbench_api by `python -m perfbench_api.crd --write`; do not edit.\n"
_KEEP = {"helm.sh/resource-policy": "keep"}


def _yaml(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True)


def manifest() -> str:
    """crds/*.yaml: for `kubectl apply -f crds/`."""
    return _NOTE + _yaml(definition())


def chart_template() -> str:
    """The chart's template: it can be disabled, and `helm uninstall` does not delete all benchmarks."""
    data = definition()
    data["metadata"] = {"name": NAME, "annotations": _KEEP}
    text = _yaml(data)
    if "{{" in text:
        raise ValueError("a description has {{, which Helm would treat as a template")
    return f"{_NOTE}{{{{- if .Values.crds.enabled }}}}\n{text}{{{{- end }}}}\n"


def reference() -> str:
    """docs/reference-crd.md: every field with its type, default and meaning."""
    root = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    lines = [
        "# Reference: the PerfBenchmark resource",
        "",
        "<!-- Generated from crds/perfbench_api by `python -m perfbench_api.crd --write`; do not edit. -->",
        "",
        f"`apiVersion: {GROUP}/{VERSION}`, `kind: {KIND}`. `kubectl explain perfbenchmark.spec` says the same.",
        "Durations are text such as `500ms`, `30s`, `1h30m`, or whole seconds.",
        "Types such as Toleration are those of Kubernetes; `kubectl explain` has their fields, too.",
        "",
    ]
    for name in ("spec", "status"):
        lines += [f"## {name}", "", root[name]["description"], "", "| field | type | default | meaning |"]
        lines += ["| --- | --- | --- | --- |", *_rows(root[name], ""), ""]
    lines += ["## What the API server checks", ""]
    lines += [f"- `{name}`: {message}" for name, message in _messages()]
    return "\n".join(lines) + "\n"


def _rows(node: dict[str, Any], prefix: str) -> Iterator[str]:
    for name, child in node["properties"].items():
        path = prefix + name
        meaning = (
            child.get("description", "").removesuffix(_WORDS.get(child.get("pattern", ""), "")).replace("|", "\\|")
        )
        needed = "**required**" if name in node.get("required", ()) else _default_text(child)
        if path in _OF_PODS:
            yield f"| `{path}` | {'list of ' if 'items' in child else ''}{_OF_PODS[path]} | {needed} | {meaning} |"
            continue
        yield f"| `{path}` | {_type_text(child)} | {needed} | {meaning} |"
        for inner, mark in ((child, "."), (child.get("items", {}), "[].")):
            if "properties" in inner:
                yield from _rows(inner, path + mark)


def _default_text(node: dict[str, Any]) -> str:
    if node.get("default") in (None, {}, []):
        return ""
    return (
        f"`{yaml.safe_dump(node['default'], default_flow_style=True, width=999).strip().removesuffix('...').strip()}`"
    )


def _type_text(node: dict[str, Any]) -> str:
    if "enum" in node:
        return " \\| ".join(f"`{choice}`" for choice in node["enum"])
    if "x-kubernetes-int-or-string" in node:
        return "duration" if node["pattern"] == DURATION else "quantity"
    if "items" in node:
        return f"list of {_type_text(node['items'])}"
    if isinstance(node.get("additionalProperties"), dict):
        return f"map of {_type_text(node['additionalProperties'])}"
    return str(node.get("type", "any"))


def _messages() -> Iterator[tuple[str, str]]:
    yield from (("metadata", rule.message) for rule in ROOT)
    for name, rules in SECTIONS.items():
        yield from ((name, rule.message) for rule in rules)


GENERATED = {
    f"crds/{GROUP}_{PLURAL}.yaml": manifest,
    "charts/perfbench/templates/crd.yaml": chart_template,
    "docs/reference-crd.md": reference,
}


def drifted(root: Path = REPOSITORY) -> list[str]:
    """The generated files that are out of date."""
    paths = {path: root / path for path in GENERATED}
    return [path for path, file in paths.items() if not file.exists() or file.read_text() != GENERATED[path]()]


def main(arguments: list[str]) -> int:
    """Write or check the generated files; the exit code is 1 when a file has drifted, 2 on a wrong call."""
    if arguments not in (["--check"], ["--write"]):
        sys.stderr.write("usage: python -m perfbench_api.crd --check | --write\n")
        return 2
    stale = drifted()
    if arguments == ["--write"]:
        for path in stale:
            file = REPOSITORY / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(GENERATED[path]())
            sys.stdout.write(f"wrote {path}\n")
        return 0
    for path in stale:
        sys.stderr.write(f"{path} is out of date; run python -m perfbench_api.crd --write\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
