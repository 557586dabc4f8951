"""A decision is read by programs and by reviewers."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
from gates import POLICY, VALID, evidence, losses

from forecastle.monitoring.decision import PromotionDecision, Replacement
from forecastle.monitoring.evidence import Contender
from forecastle.monitoring.gate import decide_promotion

CLUSTERS = np.array([f"p|{index % 2}" for index in range(400)], dtype=str)


def decision() -> PromotionDecision:
    first = Contender("version 1", losses(1) * 1.02)
    parts = evidence(losses(2), losses(1), clusters=CLUSTERS, first_approved=first)
    return decide_promotion(parts, POLICY, Replacement.DRIFT)


def test_json_holds_every_number_that_the_verdict_rests_on() -> None:
    found = decision()
    plain = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert (plain["verdict"], plain["replacement"]) == (found.verdict.value, "drift")
    assert plain["measured"]["policy"] == {"metric": "mae", "margin": 0.02, "least_rows": 100}
    assert plain["measured"]["production"]["found"]["low"] == found.measured.production.found.low
    assert [other["name"] for other in plain["measured"]["others"]] == ["rolling_median", "version 1"]
    assert [of["cluster"] for of in plain["measured"]["clusters"]] == ["p|0", "p|1"]
    assert {"name": "parity", "passed": True, "figure": 0, "limit": 0}.items() <= plain["measured"]["guards"][1].items()
    assert plain["reasons"] == list(found.reasons)


def test_json_has_null_for_what_is_not_bounded() -> None:
    none = np.array([])
    found = decide_promotion(evidence(none, none, validity=replace(VALID, coverage=None, coverage_target=None)), POLICY)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["outcomes_needed"] == 100
    unbounded = decide_promotion(evidence(losses(1, 4), losses(2, 4)), POLICY)
    assert unbounded.measured.production.found.high == math.inf
    assert unbounded.as_json()["measured"]["production"]["found"]["high"] is None


def test_a_page_shows_verdict_reasons_flips_comparisons_guards_and_clusters() -> None:
    found = decision()
    page = found.as_markdown()
    assert page.startswith(f"# {found.verdict}: version 7\n")
    for sentence in (*found.reasons, *found.flips):
        assert f"- {sentence}\n" in page
    for cell in ("| version 5 | 400 |", "| rolling_median | 400 |", "| version 1 | 400 |", "| parity | yes |"):
        assert cell in page
    assert "over 10 blocks of time; declared reason for a replacement: drift." in page


def test_a_name_with_a_bar_does_not_break_its_table() -> None:
    assert "| p\\|0 | 200 |" in decision().as_markdown()


def test_a_page_says_unbounded_rather_than_infinite_percentages() -> None:
    page = decide_promotion(evidence(losses(1, 4), losses(2, 4)), POLICY).as_markdown()
    assert "unbounded" in page
    assert "inf" not in page.replace("information", "")


def test_the_same_evidence_gives_the_same_decision() -> None:
    assert decision() == decision()
