"""Who may let a version serve: the gate's verdict, four eyes, and an admin's override. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forecastle.access.principals import Permission, Principal
from forecastle.errors import NotAllowedError
from forecastle.monitoring.verdict import Verdict
from forecastle.settings import FourEyes

UNGATED = "UNGATED"  # the verdict of a version that no gate has looked at
VERDICT_TAG, MOVED_BY_TAG, REFUSED_TAG = "gate.verdict", "production.moved_by", "promotion.refused"
"""Tags of a version: what the gate said, who moved `production` onto it in MLflow, why that was put back."""


@dataclass(frozen=True)
class Review:
    """What the ledger says of a promotion that is allowed."""

    verdict: str
    overridden: bool
    trained_by_actor: bool


def review(
    provenance: Mapping[str, str],
    principal: Principal,
    *,
    override: bool = False,
    first: bool = False,
    four_eyes: FourEyes = "unless-alone",
) -> Review:
    """Whether `principal` may promote the version of this provenance; `first` says that nothing was promoted before.

    Raises NotAllowedError with a sentence that says who may.
    """
    principal.require(Permission.PROMOTE)
    own = provenance.get("trained_by") == principal.name
    if own and (four_eyes == "always" or (four_eyes == "unless-alone" and not principal.alone)):
        raise NotAllowedError(
            f"{principal.name} trained this version and does not promote it: ask another reviewer or an admin"
        )
    verdict = provenance.get(VERDICT_TAG, UNGATED)
    against = not _passes(verdict, first)
    if against and not override:
        raise NotAllowedError(
            f"the gate's verdict on this version is {verdict}: its report says why; "
            "an admin may promote it all the same, with an override and a reason"
        )
    if against:
        principal.require(Permission.ADMINISTER)
    return Review(verdict, overridden=against, trained_by_actor=own)


def refusal_in_mlflow(model_name: str, version: int, tags: Mapping[str, str]) -> str | None:
    """Why `production` may not be moved onto this version in MLflow, and what to do instead; None where it may.

    MLflow knows neither reasons nor overrides: there, nothing but the verdict PROMOTE will do.
    """
    verdict = tags.get(VERDICT_TAG, UNGATED)
    if verdict == Verdict.PROMOTE:
        return None
    return (
        f"the gate's verdict on {model_name} version {version} is {verdict}, and in MLflow only PROMOTE may be moved "
        f"to production: read report.html of its run; who wants it all the same gives a reason, and an admin may "
        f"override the verdict: forecastle models promote {model_name} {version} --reason TEXT --override"
    )


def _passes(verdict: str, first: bool) -> bool:
    """Whether a reviewer may promote on this verdict.

    Where nothing was ever promoted, neither too few rows to compare nor a gate that was never asked hold a version
    back: there is nothing that it could be worse than but its own baselines, which answer wherever it has no skill.
    """
    return verdict == Verdict.PROMOTE or (first and verdict in (Verdict.NOT_ENOUGH_DATA, UNGATED))
