"""Interactive figures of held-back rows that a reviewer looks at; each is built from results alone.

Colours are those of Okabe and Ito, which stay apart for colour-blind people. Projects' names are people's text: they
are escaped, since plotly reads markup in labels.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from forecastle.monitoring.coverage import share_bounds
from forecastle.monitoring.metrics import Estimate, mean_over_time
from forecastle.registry.declaration import Importance
from forecastle.registry.learning_curve import CurvePoint
from forecastle.registry.results import Results

Floats = NDArray[np.float64]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#595959"
MOST_POINTS = 2_000
FEW_POINTS = 200
MOST_PROJECTS = 40
MOST_NAMES = 20
BLOCKS = 10
LEAST_BLOCK_ROWS = 10
COVERAGE_BAND = 0.03
"""How far from its target the gate lets coverage lie."""


def residuals_by_answer(results: Results) -> go.Figure:
    shown = _thinned(len(results.rows))
    answered = results.served_values
    residuals = results.outcomes - answered
    figure = basic_figure("answered", "truth minus answer")
    for name, color, symbol in (("model", BLUE, "circle"), ("baseline", ORANGE, "diamond")):
        own = [n for n in shown if (results.answers[n].method == "ml_model") == (name == "model")]
        figure.add_trace(_points(answered[own], residuals[own], f"the {name} answered", color, symbol))
    figure.add_hline(0, line_color=GREY, line_width=1)
    if len(answered) and answered.min() > 0 and answered.max() > 50 * answered.min():
        figure.update_xaxes(type="log", dtick=1)
    return _within_most(figure, residuals)


def residuals_over_time(results: Results, time_basis: str) -> go.Figure:
    shown = _thinned(len(results.rows))
    positions, axis = _positions(results, time_basis)
    residuals = results.outcomes - results.served_values
    figure = basic_figure(axis, "truth minus answer")
    figure.add_trace(_points([positions[n] for n in shown], residuals[shown], "one row", BLUE, "circle"))
    blocks = _blocks(len(residuals))
    middles = [positions[block[len(block) // 2]] for block in blocks]
    for name, color, dash, values in (
        ("mean error of a block", ORANGE, "solid", residuals),
        ("mean absolute error of a block", GREEN, "dash", np.abs(residuals)),
    ):
        means = [float(values[block].mean()) for block in blocks]
        style = {"color": color, "dash": dash, "width": 3}
        figure.add_trace(go.Scatter(x=middles, y=means, name=name, mode="lines+markers", line=style))
    figure.add_hline(0, line_color=GREY, line_width=1)
    return _within_most(figure, residuals)


def reliability(results: Results) -> go.Figure | None:
    """Deciles of the stated confidence against the share of hits; None where nothing was stated."""
    stated = np.array([answer.confidence for answer in results.answers], dtype=float)
    hits = np.array(
        [answer.settled.is_hit(row.target) for answer, row in zip(results.answers, results.rows, strict=True)]
    )
    order = np.argsort(stated, kind="stable")[: int(np.sum(stated == stated))]
    if not len(order):
        return None
    groups = [order[block] for block in _blocks(len(order))]
    figure = basic_figure("stated confidence (mean of a tenth of the rows)", "share that came true")
    figure.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="as stated", line={"color": GREY, "dash": "dash"})
    )
    shares = [_share(hits[group]) for group in groups]
    figure.add_trace(
        _with_interval(
            [float(stated[group].mean()) for group in groups], shares, "came true", [len(group) for group in groups]
        )
    )
    figure.update_xaxes(range=[-0.02, 1.02], tickformat=".0%")
    figure.update_yaxes(range=[-0.02, 1.02], tickformat=".0%")
    return figure


def coverage_over_time(results: Results, time_basis: str, target: float) -> go.Figure:
    positions, axis = _positions(results, time_basis)
    held = np.array([a.low <= row.target <= a.high for a, row in zip(results.answers, results.rows, strict=True)])
    blocks = _blocks(len(held))
    figure = basic_figure(axis, "share of outcomes within the interval")
    figure.add_hrect(target - COVERAGE_BAND, target + COVERAGE_BAND, fillcolor=GREEN, opacity=0.15, line_width=0)
    figure.add_hline(target, line_color=GREEN, name=f"target {target:.0%}", showlegend=True)
    middles = [positions[block[len(block) // 2]] for block in blocks]
    shares = [_share(held[block]) for block in blocks]
    figure.add_trace(_with_interval(middles, shares, "held", [len(block) for block in blocks]))
    lowest = min((share.low for share in shares), default=0.0)
    figure.update_yaxes(range=[max(0.0, min(lowest, target) - 0.1), 1.02], tickformat=".0%")
    return figure


def errors_by_project(results: Results, names: Mapping[str, str]) -> go.Figure:
    """Served and the best baseline, the projects with the most rows, the largest error on top."""
    rows, served, best = results.rows_by_project, results.served, results.best_baseline
    chosen = sorted(rows, key=lambda project: -rows[project])[:MOST_PROJECTS]
    chosen.sort(key=lambda project: served.by_project[project].value)
    labels = [f"{label_of(names.get(project, project))} ({rows[project]:,})" for project in chosen]
    figure = basic_figure("mean absolute error", "")
    for shift, name, color, symbol, method in (
        (-0.13, f"{best.name}, the best baseline", ORANGE, "diamond", best),
        (0.13, "served", BLUE, "circle", served),
    ):
        found = [method.by_project[project] for project in chosen]
        figure.add_trace(
            go.Scatter(
                x=[estimate.value for estimate in found],
                y=[place + shift for place in range(len(chosen))],
                error_x=_bars(found),
                text=labels,
                name=name,
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": 9},
                hovertemplate="%{text}: %{x:.3g}",
            )
        )
    figure.update_yaxes(tickvals=list(range(len(chosen))), ticktext=labels, automargin=True, zeroline=False)
    _from_zero(figure, [m.by_project[project] for m in (served, best) for project in chosen])
    return figure.update_layout(height=190 + 34 * len(chosen), legend_traceorder="reversed")


def importance(found: Importance) -> go.Figure:
    names = list(found.values)[:MOST_NAMES][::-1]
    values = [found.values[name] for name in names]
    figure = basic_figure(found.measure, "")
    colors = [BLUE if value >= 0 else ORANGE for value in values]
    figure.add_trace(
        go.Bar(x=values, y=[label_of(name) for name in names], orientation="h", marker_color=colors, showlegend=False)
    )
    figure.update_yaxes(type="category", automargin=True)
    return figure.update_layout(margin_b=50, height=130 + 20 * len(names))


def learning_curve(results: Results, candidate: str, points: Sequence[CurvePoint]) -> go.Figure:
    """The chosen candidate after fewer rows and after all of them, beside the reference baseline."""
    reference = results.reference
    estimates = [mean_over_time(point.losses) for point in points]
    figure = basic_figure("rows that taught", "mean absolute error")
    trace = _with_interval([point.rows for point in points], estimates, candidate, [len(results.rows)] * len(points))
    figure.add_trace(trace.update(mode="lines+markers", line={"color": BLUE}))
    figure.add_hline(reference.mae.value, line_color=ORANGE, line_dash="dash", name=reference.name, showlegend=True)
    figure.update_xaxes(type="log", tickvals=[point.rows for point in points])
    _from_zero(figure, [*estimates, reference.mae], axis="y")
    return figure


def label_of(text: str) -> str:
    """People's text as a label: plotly would read markup in it."""
    return html.escape(text if len(text) <= 40 else f"{text[:39]}…", quote=False)


def basic_figure(x: str, y: str) -> go.Figure:
    legend = {"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0}
    return go.Figure(
        layout=go.Layout(
            template="plotly_white",
            height=400,
            margin={"l": 10, "r": 20, "t": 30, "b": 95},
            legend=legend,
            font={"family": "system-ui, sans-serif", "size": 13},
            xaxis={"title": {"text": x}, "automargin": True},
            yaxis={"title": {"text": y}, "automargin": True},
        )
    )


def _points(x: Sequence[object] | Floats, y: Floats, name: str, color: str, symbol: str) -> go.Scatter:
    marker = {"color": color, "symbol": symbol, "size": 5 if len(y) > FEW_POINTS else 8, "opacity": 0.4}
    return go.Scatter(x=x, y=y, name=name, mode="markers", marker=marker, hovertemplate="%{x}: %{y:.3g}")


def _with_interval(x: Sequence[object], found: Sequence[Estimate], name: str, rows: Sequence[int]) -> go.Scatter:
    return go.Scatter(
        x=x, y=[estimate.value for estimate in found], error_y=_bars(found), name=f"{name} [95 %]", mode="markers",
        marker={"color": BLUE, "size": 9}, text=[f"{count:,} rows" for count in rows],
        hovertemplate="%{x}: %{y:.3g}, %{text}",
    )  # fmt: skip


def _bars(found: Sequence[Estimate]) -> dict[str, object]:
    """Error bars; none where an interval has no end."""
    ends = [(e.high - e.value, e.value - e.low) if np.isfinite(e.high - e.low) else (0.0, 0.0) for e in found]
    up, down = ([pair[side] for pair in ends] for side in (0, 1))
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2}


def _share(hits: NDArray[np.bool_]) -> Estimate:
    return Estimate(float(hits.mean()), *share_bounds(int(hits.sum()), len(hits)))


def _blocks(rows: int) -> list[NDArray[np.intp]]:
    """Contiguous blocks of rows, at most BLOCKS and of at least LEAST_BLOCK_ROWS where there are as many."""
    return [b for b in np.array_split(np.arange(rows), max(1, min(BLOCKS, rows // LEAST_BLOCK_ROWS))) if len(b)]


def _thinned(rows: int) -> list[int]:
    """Evenly chosen rows, all of them up to MOST_POINTS."""
    return [place * rows // min(rows, MOST_POINTS) for place in range(min(rows, MOST_POINTS))]


def _positions(results: Results, time_basis: str) -> tuple[list[object], str]:
    """When each row was asked: moments, or the order where rows have no dates; and the axis' title."""
    if time_basis == "date":
        return [datetime.fromtimestamp(row.asked_at, UTC) for row in results.rows], "asked at"
    return list(range(1, len(results.rows) + 1)), "held-back row, in order of time"


def _within_most(figure: go.Figure, values: Floats) -> go.Figure:
    """Show the middle 98 % first; a double click shows all."""
    if len(values):
        low, high = (float(bound) for bound in np.quantile(values, (0.01, 0.99)))
        room = 0.08 * (high - low) or 1.0
        figure.update_yaxes(range=[min(low, 0.0) - room, max(high, 0.0) + room])
    return figure


def _from_zero(figure: go.Figure, found: Sequence[Estimate], axis: str = "x") -> None:
    """Errors from zero on; one wild interval does not squeeze all others."""
    highest = max((estimate.value for estimate in found if np.isfinite(estimate.value)), default=1.0)
    ends = [estimate.high for estimate in found if np.isfinite(estimate.high)]
    update = figure.update_xaxes if axis == "x" else figure.update_yaxes
    update(range=[0, 1.05 * min(max([highest, *ends]), 2 * highest) or 1.0])
