"""Parts of a pod that `spec.runner` takes over as they are, with the types that Kubernetes publishes for them.

kubernetes.json is an excerpt of its OpenAPI, made by scripts/pod-fields. Inside, such a part is plain data.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@cache
def published(kind: str) -> dict[str, Any]:
    """Kubernetes' structural schema of a kind, such as Toleration."""
    schema: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))["kinds"][kind]
    return schema


@dataclass(frozen=True)
class OfKubernetes:
    """The type of a field whose value, or each of whose items, is of a kind of Kubernetes; unknown fields are errors."""

    kind: str

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = {key: value for key, value in published(self.kind).items() if key != "description"}
        return {"type": "array", "items": schema} if handler(core)["type"] == "array" else schema

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, value: Any) -> Any:
        for item in value if isinstance(value, list) else [value]:
            for problem in unknown_fields(item, published(self.kind)):
                raise ValueError(problem)
        return value


def kind_of(annotation: Any) -> str | None:
    """The kind of Kubernetes that a field holds, one or a list of it; None where it is none of them."""
    choices = (annotation, *get_args(annotation))
    parts = (part for choice in choices for part in getattr(choice, "__metadata__", ()))
    return next((part.kind for part in parts if isinstance(part, OfKubernetes)), None)


def unknown_fields(value: Any, schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Fields of a value that its schema does not have; the API server would drop them without a word."""
    if isinstance(value, dict) and "properties" in schema:
        known = schema["properties"]
        for name, child in value.items():
            if name in known:
                yield from unknown_fields(child, known[name], f"{path}{name}.")
            else:
                near = get_close_matches(str(name), known, n=1, cutoff=0.5)
                yield f"{path}{name}: unknown field; " + (
                    f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                )
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items", {}), f"{path.removesuffix('.')}[{index}].")
    elif isinstance(value, dict) and "additionalProperties" in schema:
        for name, child in value.items():
            yield from unknown_fields(child, schema["additionalProperties"], f"{path}{name}.")


Part = dict[str, Any]
Affinity = Annotated[Part, OfKubernetes("Affinity")]
PodSecurityContext = Annotated[Part, OfKubernetes("PodSecurityContext")]
ResourceRequirements = Annotated[Part, OfKubernetes("ResourceRequirements")]
SecurityContext = Annotated[Part, OfKubernetes("SecurityContext")]
EnvFromSources = Annotated[list[Part], OfKubernetes("EnvFromSource")]
EnvVars = Annotated[list[Part], OfKubernetes("EnvVar")]
Tolerations = Annotated[list[Part], OfKubernetes("Toleration")]
TopologySpreadConstraints = Annotated[list[Part], OfKubernetes("TopologySpreadConstraint")]
VolumeMounts = Annotated[list[Part], OfKubernetes("VolumeMount")]
Volumes = Annotated[list[Part], OfKubernetes("Volume")]
