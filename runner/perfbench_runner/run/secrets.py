"""API keys and other secrets of a run: from environment variables or a .env file, and never into anything that is kept.

A manifest names the variable that holds a secret: `apiKey: {env: NAME}`, `secretKeyRef`, or `${NAME}` in any text of its
target, of `request.extraArgs`, `request.queryTemplate` and `dataset.args`, also in those of a workload. A secret that was
written into it, or given as a flag, becomes such a name in the manifest that is kept.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, unquote_plus

from perfbench_api.redaction import (
    HIDDEN,
    KNOWN,
    LOOKS,
    PLACEHOLDERS,
    basic_password,
    is_secret_field,
    is_secret_name,
    looks_secret,
)
from perfbench_api.resource import PerfBenchmark, SpecError
from perfbench_api.sections import Target, Workload
from perfbench_api.values import Section
from perfbench_plugins.arguments import Arguments

API_KEY = "PERFBENCH_API_KEY"
PROXY_PASSWORD = "PERFBENCH_PROXY_PASSWORD"  # noqa: S105  # the name of a variable
"""The variable that a kept manifest names for a password that was written into `target.proxy`."""
REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation in which kubectl keeps the whole manifest as it was written."""
AnySection = TypeVar("AnySection", bound=Section)


def environment(folder: Path | None = None) -> dict[str, str]:
    """Environment variables, completed by the .env file of a folder (the working directory's if not given)."""
    file = (folder or Path.cwd()) / ".env"
    if not file.exists():
        return dict(os.environ)
    from dotenv import dotenv_values

    return {**{name: value for name, value in dotenv_values(file).items() if value is not None}, **os.environ}


def learn_environment(env: Mapping[str, str]) -> None:
    """Know the secrets that the environment holds for perfbench, so that no error shows them, however early it comes."""
    for name, value in env.items():
        if name == API_KEY or name.startswith(("PERFBENCH_HEADER_", "PERFBENCH_TARGET_")):
            KNOWN.add(value, name)


def api_key(target: Target, env: Mapping[str, str]) -> str | None:
    """The API key that the manifest refers to; raises SpecError when it is asked for and not there."""
    source = target.api_key
    name = source.env if source and source.env else API_KEY
    key = env.get(name, "").strip() or None  # a Secret made from a file ends in a line break
    if key is None and source is not None:
        state = "is empty" if name in env else "is not set (nor in .env)"
        raise SpecError([f"spec.target.apiKey: environment variable {name} {state}"])
    KNOWN.add(key, name)
    return key


def headers(target: Target, env: Mapping[str, str]) -> dict[str, str]:
    """All headers, secret values put in; raises SpecError when one is not there."""
    values, problems = {}, []
    for index, header in enumerate(target.headers):
        value = header.value if header.value is not None else env.get(header.variable, "").strip() or None
        if value is None:
            problems.append(
                f"spec.target.headers[{index}]: environment variable {header.variable} is not set (nor in .env)"
            )
        else:
            values[header.name] = value
            if header.value is None or _is_secret(header.name, value):
                KNOWN.add(basic_password(value) or value, header.variable)
                KNOWN.add(value, header.variable)
    if problems:
        raise SpecError(problems)
    return values


def of_arguments(arguments: Arguments) -> tuple[str | None, dict[str, str]]:
    """The API key, which `to_benchmark` leaves out, and the secret headers."""
    key = arguments.api_key.get_secret_value() if arguments.api_key else None
    KNOWN.add(key, API_KEY)
    return key, {name: value for name, value in arguments.headers.items() if _is_secret(name, value)}


def resolved(benchmark: PerfBenchmark, env: Mapping[str, str]) -> PerfBenchmark:
    """The benchmark with `${NAME}` replaced by what the environment has; raises SpecError when it has not."""
    problems: list[str] = []

    def look_up(path: str, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            found = env.get(match[1], "").strip()
            if not found:
                problems.append(f"{path}: environment variable {match[1]} is not set (nor in .env)")
            KNOWN.add(found, match[1])
            return found

        return REFERENCE.sub(value, text)

    spec = benchmark.spec
    changed = {
        "target": _changed(spec.target, "spec.target", look_up),
        "targets": [_changed(target, f"spec.targets[{index}]", look_up) for index, target in enumerate(spec.targets)],
        "request": _changed(spec.request, "spec.request", look_up),
        "dataset": _changed(spec.dataset, "spec.dataset", look_up, but=("prompt",)),
        "workloads": [
            _workload(workload, f"spec.workloads[{index}]", look_up) for index, workload in enumerate(spec.workloads)
        ],
    }
    if problems:
        raise SpecError(problems)
    return benchmark.model_copy(update={"spec": spec.model_copy(update=changed)})


def _changed(
    section: AnySection, path: str, change: Callable[[str, str], str], but: tuple[str, ...] = ()
) -> AnySection:
    data = section.model_dump(by_alias=True, exclude_unset=True, mode="json")
    found = {name: value if name in but else _texts(value, f"{path}.{name}", change) for name, value in data.items()}
    return section if found == data else type(section).model_validate(found)


def _workload(workload: Workload, path: str, change: Callable[[str, str], str]) -> Workload:
    changes: dict[str, Any] = {}
    if workload.dataset is not None:
        changes["dataset"] = _changed(workload.dataset, f"{path}.dataset", change, but=("prompt",))
    if workload.request is not None:
        changes["request"] = _changed(workload.request, f"{path}.request", change)
    if workload.api_args is not None:
        changes["api_args"] = _texts(workload.api_args, f"{path}.apiArgs", change)
    return workload.model_copy(update=changes)


def _texts(value: Any, path: str, change: Callable[[str, str], str]) -> Any:
    """Plain data, every text of it changed; `change` gets its path, too."""
    if isinstance(value, str):
        return change(path, value)
    if isinstance(value, dict):
        return {name: _texts(inner, f"{path}.{name}", change) for name, inner in value.items()}
    if isinstance(value, list):
        return [_texts(inner, f"{path}[{number}]", change) for number, inner in enumerate(value)]
    return value


def manifest(benchmark: PerfBenchmark, has_key: bool) -> dict[str, Any]:
    """The resolved manifest as it is kept: in place of each secret the variable it came from, or is to come from.

    What is replaced is a known secret from now on. `has_key`: the run has an API key.
    """
    data = benchmark.dump()
    (data["metadata"].get("annotations") or {}).pop(APPLIED, None)
    data = _referring(data, ())
    target = data["spec"]["target"]
    if has_key and not target.get("apiKey"):
        target["apiKey"] = {"env": API_KEY}
    return _texts(data, "", lambda path, text: _with_names(text))  # type: ignore[no-any-return]  # a dict as before


def _referring(value: Any, path: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, list):
        is_named = path in (
            ("spec", "workloads"),
            ("spec", "targets"),
        )  # two of them may have different values of one field
        return [_referring(inner, (*path, f"{inner['name']}.") if is_named else path) for inner in value]
    if not isinstance(value, dict) or (path and path[-1].endswith("Ref")):
        return value
    name = value.get("name")
    if isinstance(name, str) and isinstance(value.get("value"), str):  # a header, or a variable of the pod
        variable = f"PERFBENCH_HEADER_{_of_target(path)}{name}" if "headers" in path else name
        return {**value, "value": _text(value["value"], (*path, name), _variable(variable))}
    return {key: _referring(inner, (*path, str(key))) for key, inner in value.items()}


def _text(text: str, path: tuple[str, ...], variable: str | None = None) -> str:
    """A text of the manifest, a secret in it replaced by a reference."""
    if REFERENCE.fullmatch(text) or path[-2:] == ("apiKey", "env"):
        return text
    if path[-2:] == ("target", "proxy"):
        return _proxy(text, PROXY_PASSWORD)
    if path[:2] == ("spec", "targets") and path[-1] == "proxy":
        return _proxy(text, _variable(f"{PROXY_PASSWORD}_{_of_target(path)}").rstrip("_"))
    if text.startswith(("http://", "https://", "unix:")):
        return _url(text)
    is_free = variable is None
    if _is_secret(path[-1] if path else "", text, is_free):
        scheme, _, rest = text.partition(" ")
        is_schemed = bool(rest) and scheme.lower() == "bearer"
        reference = _reference(rest if is_schemed else text, variable or _variable("_".join(("PERFBENCH", *path[2:]))))
        return f"{scheme} {reference}" if is_schemed else reference
    return LOOKS.sub(HIDDEN, text) if "prompt" in path else text


def _url(url: str) -> str:
    query = url.partition("?")[2].partition("#")[0]  # of any text: one that is no URL is told elsewhere
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        if value and not REFERENCE.fullmatch(value) and _is_secret(unquote_plus(name), unquote_plus(value)):
            KNOWN.add(unquote_plus(value), _variable(f"PERFBENCH_QUERY_{name}"))
            url = url.replace(pair, f"{name}={_reference(value, _variable(f'PERFBENCH_QUERY_{name}'))}")
    return url


def _of_target(path: tuple[str, ...]) -> str:
    """What a variable has in its name for one of several targets: each may have a value of its own."""
    return f"{path[2].rstrip('.')}_" if path[:2] == ("spec", "targets") and len(path) > 2 else ""


def _proxy(url: str, variable: str) -> str:
    """A proxy's URL, its password replaced by a reference."""
    before, _, host = url.rpartition("@")
    name, _, password = before.removeprefix("http://").partition(":")
    if not password or REFERENCE.fullmatch(password):
        return url
    KNOWN.add(unquote(password), variable)
    return f"http://{name}:{_reference(password, variable)}@{host}"


def _reference(value: str, variable: str) -> str:
    KNOWN.add(value, variable)
    return f"${{{KNOWN.names.get(value) or variable}}}"


def _with_names(text: str) -> str:
    """Known secrets, wherever else they stand in a text, as the names of their variables."""
    for value, name in KNOWN.names.items():
        if value in text and name and len(value) >= 8:
            text = text.replace(value, f"${{{name}}}")
    return KNOWN.text(text)


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name).upper()


def _is_secret(name: str, value: str, is_field: bool = False) -> bool:
    """Whether a header, a parameter of a URL, or else a field of a body or of a plugin's options, holds a secret."""
    if not value or value.lower() in PLACEHOLDERS:
        return False
    return (is_secret_field(name, value) if is_field else is_secret_name(name)) or looks_secret(value)
