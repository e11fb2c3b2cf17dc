"""Pickles of plain data, read safely: a results file from elsewhere must not run code here."""

import pickle
import zlib
from typing import Any

LARGEST_BYTES = 2**30
"""A value that takes more when it is decompressed is refused: a small file can hold a very large one."""


class _Decompress:
    """zlib.decompress up to a limit. An object without attributes: a pickle can change nothing of it."""

    __slots__ = ()

    def __call__(self, data: bytes) -> bytes:
        decompressor = zlib.decompressobj()
        try:
            found = decompressor.decompress(data, LARGEST_BYTES)
        except zlib.error as error:
            raise pickle.UnpicklingError(str(error)) from None
        if not decompressor.eof:
            raise pickle.UnpicklingError(f"refused to decompress more than {LARGEST_BYTES} bytes, or what is cut off")
        return found


ALLOWED = {("zlib", "decompress"): _Decompress(), ("builtins", "str"): str, ("builtins", "str.split"): str.split}
"""What the runner's own pickles of long answers call; with any arguments these make strings and nothing else."""


class PlainUnpickler(pickle.Unpickler):
    """Reads builtin containers, strings and numbers, compressed or not; every other look-up of a name is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """What ALLOWED has; raises UnpicklingError for the rest."""
        if (module, name) in ALLOWED:
            return ALLOWED[module, name]
        raise pickle.UnpicklingError(
            f"refused to load {module}.{name}; results have only lists, dicts, strings and numbers"
        )
