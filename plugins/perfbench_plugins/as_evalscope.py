"""What EvalScope's `Arguments` can do beside holding fields: its own fields, its derived numbers, its constructors."""

import json
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr

from perfbench_api.values import Section
from perfbench_plugins.foreign import DEFAULTS


class AsEvalScope(Section):
    """Part of Arguments that is there for EvalScope's plugins and scripts alone."""

    _foreign: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """EvalScope's own fields: as they were given, else its defaults."""
        if name in DEFAULTS:
            value = self._foreign.get(name)
            return DEFAULTS[name] if value is None else value
        return super().__getattr__(name)  # type: ignore[misc]  # pydantic's, for private attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if name in DEFAULTS:
            self._foreign[name] = value
        else:
            super().__setattr__(name, value)

    @property
    def warmup_count(self) -> int:
        """Requests of the warm-up."""
        first = several(self.number)[0]
        return max(1, int(self.warmup_num * first)) if 0 < self.warmup_num < 1 else int(self.warmup_num)

    @property
    def total_count(self) -> int:
        """Requests of the (first) stage and its warm-up."""
        return int(several(self.number)[0]) + self.warmup_count

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain data; secrets are stars."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Arguments from a mapping; None values are left out, as EvalScope does."""
        return cls(**{name: value for name, value in values.items() if value is not None})

    @classmethod
    def from_args(cls, args: Namespace) -> Self:
        """Arguments from argparse's."""
        return cls.from_dict({name: value for name, value in vars(args).items() if name != "func"})

    @classmethod
    def from_json(cls, json_file: str) -> Self:
        """Arguments from a JSON file."""
        return cls.from_dict(json.loads(Path(json_file).read_text(encoding="utf-8")))

    @classmethod
    def from_yaml(cls, yaml_file: str) -> Self:
        """Arguments from a YAML file."""
        import yaml  # not needed by who measures

        return cls.from_dict(yaml.safe_load(Path(yaml_file).read_text(encoding="utf-8")))


def several(value: Any) -> list[Any]:
    """A field that holds one value or several, as a list."""
    return list(value) if isinstance(value, list) else [value]
