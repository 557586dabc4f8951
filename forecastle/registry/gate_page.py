"""The gate's verdict as a part of a version's report: why, where, and which answers would change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from forecastle.monitoring.comparison import Comparison, PairedSums
from forecastle.monitoring.decision import percent
from forecastle.registry.figures import BLUE, GREY, MOST_PROJECTS, ORANGE, basic_figure, label_of
from forecastle.registry.gating import Change, Churn, Gated
from forecastle.registry.page import facts, figure, grid, heading, paragraph, table

NONE = "–"


def gate_section(gated: Gated, names: Mapping[str, str]) -> Iterator[str]:
    """The parts of the page; `names` are the projects' keys by cluster."""
    decision = gated.decision
    yield heading("The gate")
    yield paragraph(f"{decision.verdict}. {decision.reasons[0]}.", "verdict")
    yield table(["why"], [[reason] for reason in (*decision.reasons[1:], *gated.notes)])
    yield table(["what would have flipped it"], [[flip] for flip in decision.flips])
    yield table(
        ["guard", "passed", "found"],
        [[guard.name, "yes" if guard.passed else "no", guard.sentence] for guard in decision.measured.guards],
    )
    differences = differences_by_project(gated)
    if differences:
        yield grid([_forest(gated, differences, names)])
        yield facts(_gainers_and_losers(differences, names))
    yield from (paragraph(_churn_sentence(churn)) for churn in gated.churn)
    if gated.changes:
        yield "<h3>Answers that would change most</h3>"
        yield _changes_table(gated.changes, names)


def differences_by_project(gated: Gated) -> dict[str, Comparison]:
    """Candidate against production (or the best baseline), by project, the one that gains most first."""
    evidence = gated.evidence
    reference = evidence.production or evidence.baseline
    found = {
        str(cluster): PairedSums.over_time(
            evidence.candidate.losses[evidence.clusters == cluster], reference.losses[evidence.clusters == cluster]
        ).compare()
        for cluster in np.unique(evidence.clusters)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].difference))


def _forest(gated: Gated, differences: Mapping[str, Comparison], names: Mapping[str, str]) -> str:
    shown = sorted(differences, key=lambda cluster: -differences[cluster].rows)[:MOST_PROJECTS]
    shown.sort(key=lambda cluster: -differences[cluster].difference)
    against = gated.decision.measured.production
    fewer = len(differences) - len(shown)
    return figure(
        "gate-forest", f"Difference by project, against {against.name}",
        forest([(f"{names.get(c, c)} ({differences[c].rows:,})", differences[c]) for c in shown], against.found),
        "Relative difference of the loss, left of 0 is better; one-sided 95 % bounds over blocks of time, where a "
        f"project has at least 5 rows.{f' {fewer:,} projects with fewer rows are left out.' if fewer > 0 else ''}",
    )  # fmt: skip


def forest(projects: Sequence[tuple[str, Comparison]], overall: Comparison) -> go.Figure:
    """A forest plot: a line a project, and all rows together at the bottom."""
    lines = [("all rows", overall), *projects]
    drawn = basic_figure("relative difference of the loss", "")
    for place, (_, found) in enumerate(lines):
        low, high = (bound if math.isfinite(bound) else found.difference for bound in (found.low, found.high))
        drawn.add_trace(
            go.Scatter(
                x=[low, found.difference, high], y=[place] * 3, mode="lines+markers", showlegend=False,
                line={"color": ORANGE if place == 0 else BLUE, "width": 3 if place == 0 else 1.5},
                marker={"size": [0, 9, 0], "symbol": "diamond" if place == 0 else "circle"},
                hovertemplate="%{x:+.1%}",
            )
        )  # fmt: skip
    drawn.add_vline(0, line_color=GREY, line_width=1)
    labels = [label_of(label) for label, _ in lines]
    drawn.update_yaxes(tickvals=list(range(len(lines))), ticktext=labels, automargin=True, zeroline=False)
    drawn.update_xaxes(tickformat="+.0%")
    return drawn.update_layout(height=160 + 30 * len(lines), margin_b=50)


def _gainers_and_losers(differences: Mapping[str, Comparison], names: Mapping[str, str]) -> dict[str, str]:
    def of(chosen: Sequence[tuple[str, Comparison]]) -> str:
        return ", ".join(f"{names.get(c, c)} ({percent(found.difference)})" for c, found in chosen) or NONE

    items = list(differences.items())
    return {
        "gain for certain": of([item for item in items if item[1].high < 0]),
        "lose for certain": of([item for item in items if item[1].low > 0]),
    }


def _churn_sentence(churn: Churn) -> str:
    return (
        f"On {churn.rows:,} {churn.of}, {churn.changed:.0%} of production's answers would change, by "
        f"{churn.mean_difference:,.3f} on the average."
    )


def _changes_table(changes: Sequence[Change], names: Mapping[str, str]) -> str:
    rows = [
        [
            names.get(change.cluster, change.cluster),
            change.key,
            f"{change.production:,.2f}",
            f"{change.candidate:,.2f}",
            NONE if change.truth is None else f"{change.truth:,.2f}",
        ]
        for change in changes
    ]
    return table(["project", "asked about", "production", "candidate", "truth"], rows)
