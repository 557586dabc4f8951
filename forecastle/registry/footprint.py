"""How much memory an object takes with all that it alone brought along."""

from __future__ import annotations

import gc
import sys
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

_SHARED = (type, ModuleType, FunctionType, BuiltinFunctionType)
"""Code is there once, however many versions are loaded."""


def size_of(root: object) -> int:
    """Bytes of everything that is reached from `root`, each object once; code and its modules do not count.

    What a library keeps outside Python's objects is not seen, unless the object says so itself as NumPy's arrays do.
    """
    seen: set[int] = {id(root)}
    found: list[Any] = [root]
    size = 0
    while found:
        size += sum(map(sys.getsizeof, found))
        reached = {id(one): one for one in gc.get_referents(*found) if not isinstance(one, _SHARED)}
        found = [one for number, one in reached.items() if number not in seen]
        seen |= reached.keys()
    return size
