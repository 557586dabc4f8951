"""Which feature code turned records into numbers.

A bundle carries the digest of the feature code it was made with; it is refused where the running code differs,
because an old model fed by new features answers wrongly without a sign.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

# What baselines say and how a form reads its numbers is feature code as well.
ALWAYS = (
    "forecastle.records.outcomes",
    "forecastle.registry.baselines",
    "forecastle.learning.forms",
    "forecastle.learning.compiled",
)


@cache
def feature_digest(*modules: str) -> str:
    """SHA-256 over everything in `forecastle.features`, ALWAYS and `modules` by dotted name, comments left out.

    Comments, docstrings and layout do not count: they change no number.
    """
    digest = hashlib.sha256()
    sources = [
        item.read_text() for item in sorted(files("forecastle.features").iterdir(), key=lambda item: item.name)
        if item.name.endswith(".py")
    ]  # fmt: skip
    sources += [_source(module) for module in (*ALWAYS, *modules)]
    for source in sources:
        digest.update(_meaning(source).encode())
    return digest.hexdigest()


def _source(module: str) -> str:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(module)
    return Path(spec.origin).read_text()


def _meaning(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # a lambda's is one expression
            body[:] = [statement for statement in body if not _is_docstring(statement)]
    return ast.unparse(tree)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
