"""Pickles of plain data, read safely: a results file from elsewhere must not run code here."""

import pickle
from typing import Any


class PlainUnpickler(pickle.Unpickler):
    """Reads builtin containers, strings and numbers: those need no class, so every look-up of one is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse: what a results file holds needs no class."""
        raise pickle.UnpicklingError(
            f"refused to load {module}.{name}; results have only lists, dicts, strings and numbers"
        )
