"""Descriptions of fields: the text under each in its class, read from the source when somebody asks for it.

pydantic's `use_attribute_docstrings` parses the source at every start, which took a sixth of it.
"""

import ast
import inspect
import sys
from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


@dataclass(frozen=True, eq=False)
class MeansAs:
    """Metadata of a field that means what another model's field means."""

    model: type[BaseModel]
    name: str


class Described(BaseModel):
    """A model whose JSON schema has the texts under its fields as their descriptions."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema that pydantic makes, described."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, field in described(cls).items():
            shown = next((key for key in (field.serialization_alias, field.alias, name) if key in properties), None)
            if shown and field.description:
                properties[shown].setdefault("description", field.description)
        return schema


def described(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model by their names in Python, each with its description, unless it has none."""
    texts = _texts_of(model)
    for name, field in model.model_fields.items():
        if field.description is None:
            field.description = texts.get(name) or _borrowed(field)
    return model.model_fields


def _borrowed(field: FieldInfo) -> str | None:
    other = next((item for item in field.metadata if isinstance(item, MeansAs)), None)
    return described(other.model)[other.name].description if other else None


@cache
def _texts_of(model: type[BaseModel]) -> dict[str, str]:
    """The texts under the attributes of a class and of those it inherits from."""
    texts: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        node = _classes_of(cls.__module__).get(cls.__qualname__)
        texts |= _texts_under(node) if node else {}
    return texts


@cache
def _classes_of(module: str) -> dict[str, ast.ClassDef]:
    """The classes of a module's source by their qualified names; none where there is no source."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, ast.ClassDef] = {}

    def collect(node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                found[path + child.name] = child
                collect(child, f"{path}{child.name}.")
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                collect(child, f"{path}{child.name}.<locals>.")
            else:
                collect(child, path)

    collect(tree, "")
    return found


def _texts_under(node: ast.ClassDef) -> dict[str, str]:
    pairs = zip(node.body, node.body[1:], strict=False)
    return {
        field.target.id: inspect.cleandoc(text)
        for field, below in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (text := _text(below))
    }


def _text(node: ast.stmt) -> str | None:
    value = node.value.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) else None
    return value if isinstance(value, str) else None
