"""`spec.plugins`: plugins of your own to load."""

from typing import Self

from pydantic import model_validator

from perfbench_api.sections.references import NameRef
from perfbench_api.values import Section


class PluginSource(Section):
    """Where to load a plugin of your own from."""

    file: str | None = None
    """A Python file."""
    module: str | None = None
    """An installed module."""
    config_map: NameRef | None = None
    """In the cluster: a ConfigMap whose *.py keys are plugin files."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.file, self.module, self.config_map)) != 1:
            raise ValueError("give exactly one of file, module and configMap")
        return self
