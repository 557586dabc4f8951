"""Whether a bucket can be worked with: an object of its own is put, read back, listed and deleted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from forecastle.errors import ForecastleError, NotFoundError, ServerError
from forecastle.store.identifiers import new_id
from forecastle.store.objects import Objects

FOLDER = "storage-test"
STEPS = ("put", "get", "list", "delete")
_CONTENT = b"Forecastle tests its storage; this may be deleted."


@dataclass(frozen=True)
class Step:
    """One of STEPS, how long it took, and in words what went wrong."""

    name: str
    milliseconds: float
    problem: str | None = None


def run_storage_test(objects: Objects) -> Iterator[Step]:
    """Every step as it is done. After a failed `put` nothing more is tried, else all that follows."""
    name = f"{FOLDER}/{new_id()}"
    actions: tuple[Callable[[], None], ...] = (
        partial(objects.put, name, _CONTENT),
        partial(_get, objects, name),
        partial(_list, objects, name),
        partial(_delete, objects, name),
    )
    for step, action in zip(STEPS, actions, strict=True):
        began, problem = time.monotonic(), None
        try:
            action()
        except ForecastleError as error:
            problem = str(error)
        yield Step(step, round((time.monotonic() - began) * 1000, 1), problem)
        if problem and step == "put":
            return


def _get(objects: Objects, name: str) -> None:
    if objects.get(name) != _CONTENT:
        raise ServerError("what comes back is not what was put: no file in this bucket can be relied on")


def _list(objects: Objects, name: str) -> None:
    if name not in objects.list(f"{FOLDER}/"):
        raise ServerError("the object that was put is not in the list of the bucket")


def _delete(objects: Objects, name: str) -> None:
    objects.delete(name)
    try:
        objects.get(name)
    except NotFoundError:
        return
    raise ServerError("the object is still there after it was deleted")
