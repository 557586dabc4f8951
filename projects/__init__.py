"""MLflow projects: one folder per model type; the folder is the list."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path

from forecastle.errors import NotFoundError
from forecastle.registry.declaration import ModelType

ROOT = Path(__file__).parent.parent
"""The checkout: where MLproject lies."""
EXPECTATIONS = ROOT / "expectations"

FAMILIES = ("delivery", "reliability")


@cache
def discover() -> dict[str, ModelType]:
    """Every model type by its name: each folder of a family that declares a MODEL_TYPE."""
    found: dict[str, ModelType] = {}
    for family in FAMILIES:
        for folder in sorted((Path(__file__).parent / family).iterdir()):
            if (folder / "__init__.py").is_file():
                declared: ModelType = import_module(f"{__name__}.{family}.{folder.name}").MODEL_TYPE
                found[declared.name] = declared
    return found


def get_model_type(name: str) -> ModelType:
    """The model type of this name. Raises NotFoundError naming those that exist."""
    try:
        return discover()[name]
    except KeyError:
        raise NotFoundError(f"no model type {name}; there are: {', '.join(discover())}") from None
