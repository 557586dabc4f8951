"""What the confirmed steps of the ledger leave to serve, and the files that it approved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from forecastle.errors import IntegrityError, NotFoundError
from forecastle.store.objects import Objects, digest_of
from forecastle.store.promotions import ApprovedFile, LedgerStep, Promotion

NEVER_MOVED = "never-moved"
"""The head of a registered model of which nothing was ever promoted."""


def head_of(confirmed: Sequence[LedgerStep]) -> str:
    """What names the present state of a registered model: the hash of its newest confirmed step."""
    return confirmed[-1].hash if confirmed else NEVER_MOVED


def moves_of(confirmed: Iterable[LedgerStep]) -> list[Promotion]:
    return [step.promotion for step in confirmed]


def versions_served(confirmed: Iterable[Promotion]) -> list[Promotion]:
    """What `confirmed` moves, oldest first, leave to serve: the last one serves, the one before it is `previous`.

    Rolling back twice goes back two versions and does not return to the one that was rolled back from.
    """
    served: list[Promotion] = []
    for promotion in confirmed:
        if promotion.action == "promote":
            served.append(promotion)
        while promotion.action == "rollback" and served and served[-1].to_version != promotion.to_version:
            served.pop()
    return served


def approved_files(objects: Objects, promotion: Promotion) -> dict[str, bytes]:
    """The content of every approved file. Raises IntegrityError naming one that is not what was approved."""
    files = {}
    for file in promotion.files:
        try:
            content = objects.get(file.object_name)
        except NotFoundError:
            raise IntegrityError(_tampered(promotion, file, "is missing")) from None
        if digest_of(content) != file.sha256:
            raise IntegrityError(_tampered(promotion, file, "was changed after its approval"))
        files[file.name] = content
    return files


def _tampered(promotion: Promotion, file: ApprovedFile, what: str) -> str:
    where = f"{promotion.model_name} version {promotion.to_version}: {file.name}"
    return f"{where} {what} and is not loaded; `forecastle models promote` puts the approved files back"
