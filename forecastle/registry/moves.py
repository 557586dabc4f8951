"""Steps of the ledger as documents and as sentences; the command line and the façade show the same."""

from __future__ import annotations

from typing import Any

from forecastle.store.promotions import LedgerStep, Promotion

_SHOWN = (
    "action", "model_name", "from_version", "to_version", "actor", "reason", "verdict", "overridden",
    "trained_by_actor", "single_user_mode",
)  # fmt: skip


def as_document(step: LedgerStep) -> dict[str, Any]:
    """Everything that the ledger says of a step, with moments in ISO 8601 and files as digests by name."""
    return {
        "step": step.step,
        "outcome": step.outcome,
        "recorded_at": step.recorded_at.isoformat(),
        **{name: getattr(step.promotion, name) for name in _SHOWN},
        "files": {file.name: file.sha256 for file in step.promotion.files},
        "provenance": dict(step.promotion.provenance),
        "hash": step.hash,
    }


def sentence(step: LedgerStep) -> str:
    """One line: when, what, who, why, and what a reader has to know of it."""
    moved = step.promotion
    undone = "" if step.outcome == "confirmed" else f" ({step.outcome})"
    return (
        f"{step.recorded_at:%Y-%m-%d %H:%M:%S}Z  {moved.action} {moved.model_name} "
        f"{moved.from_version or 'nothing'} -> {moved.to_version}{undone} by {moved.actor}, "
        f"{', '.join([moved.verdict, *remarks(moved)])}: {moved.reason}"
    )


def remarks(promotion: Promotion) -> list[str]:
    """What is special about a promotion."""
    found = {
        "overridden": promotion.overridden,
        "trained by the same person": promotion.trained_by_actor,
        "single-user mode": promotion.single_user_mode,
    }
    return [remark for remark, holds in found.items() if holds]
