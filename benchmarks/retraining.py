"""Is it worth deciding when to train? A simulated year of a model type, beside "always weekly" and "never".

    python -m benchmarks.retraining [--write] [--seeds 2]

Synthetic issues whose data stay, drift or degrade are walked through week by week. Signals, decisions, trainings
(`registry.training.fit`, with two cheap candidates), skill tables and intervals are the product's own. What a decision
has trained serves at once: no gate stands between, so that the trainings are what is compared. `--write` renews the
figures in docs/retraining.md and the section on retraining in docs/quality.md.
"""

from __future__ import annotations

import subprocess
import sys
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import projects
from cli.tables import table
from forecastle.generator.dated import DatedPortfolio, generate_dated_issues
from forecastle.learning.trainer import IssueTrainer
from forecastle.monitoring import signals as measured
from forecastle.monitoring.coverage import coverage
from forecastle.monitoring.drift import drift_of_numbers
from forecastle.monitoring.policies import RetrainingPolicy
from forecastle.monitoring.retraining import LastTraining, RetrainingDecision, Situation, Verdict, decide_retraining
from forecastle.monitoring.signals import Signal
from forecastle.registry.dataset import rows_of_issues
from forecastle.registry.examples import Extracted, Row, extract_all
from forecastle.registry.predictor import Predictor
from forecastle.registry.signals import compare_inputs, windows
from forecastle.registry.training import fit
from forecastle.registry.walking import Budget
from forecastle.store.samples import MOST_ROWS, WORDS

Floats = NDArray[np.float64]

PAGE = projects.ROOT / "docs" / "retraining.md"
FIGURES = "## Figures\n"
QUALITY = projects.ROOT / "docs" / "quality.md"
SECTION = "## Retraining decisions over a simulated year\n"
"""The section of docs/quality.md that is kept when its other figures are renewed; it stands at the end."""

TRAINER = IssueTrainer(
    {"linear_text": ({"alpha": 10.0},), "shrinkage": ({"rows": 10.0, "groups": ("component",)},)}, {}
)
MODEL_TYPE = replace(projects.get_model_type("delivery.effort"), trainer="benchmarks.retraining:TRAINER")
DECLARED = MODEL_TYPE.retraining

BEFORE_DAYS, WEEKS = 180, 52
START = datetime(2024, 9, 2, tzinfo=UTC)
DAYS = BEFORE_DAYS + 7 * WEEKS
CHANGE = (BEFORE_DAYS + 7 * WEEKS / 3) / DAYS
YEAR = DatedPortfolio(projects=2, issues=600, start=START, days=DAYS, estimated=0.5, noise=0.4, change_after=CHANGE)
SCENARIOS = {
    "stay": ("Nothing changes.", YEAR),
    "drift": (
        "After a third of the year hours and estimates begin to grow, to 4.5 times as many at its end.",
        replace(YEAR, trend=1.5),
    ),
    "degrade": (
        "After a third of the year words and people take each other's effects: issues look as before, and mean another "
        "thing.",
        replace(YEAR, turned=True),
    ),
}
WITHOUT_ROUTINE = replace(DECLARED, oldest_days=10_000, new_rows=10_000, new_rows_rule="both")
STRATEGIES: Mapping[str, RetrainingPolicy | bool] = {
    "never": False,
    "always weekly": True,
    "decisions, as declared": DECLARED,
    "decisions without age and new rows": WITHOUT_ROUTINE,
}


@dataclass(frozen=True)
class Answers:
    """Answers to consecutive rows, and what came out (shapes: rows)."""

    asked_at: Floats
    known_at: Floats
    values: Floats
    lows: Floats
    highs: Floats
    truths: Floats

    def where(self, chosen: NDArray[np.bool_]) -> Answers:
        return Answers(*(getattr(self, name)[chosen] for name in vars(self)))

    @property
    def losses(self) -> Floats:
        return np.abs(self.values - self.truths)


@dataclass(frozen=True)
class Version:
    """What was trained at a moment: its answers to everything that is asked later, and its error on held-back rows."""

    trained_at: datetime
    rows: int
    held_back: float
    answers: Answers


@dataclass
class World:
    """The issues of one portfolio, and the versions that trainings would make of them, each made once."""

    portfolio: DatedPortfolio
    made: dict[datetime, Version] = field(default_factory=dict)

    @cached_property
    def extracted(self) -> Extracted:
        return extract_all(MODEL_TYPE, rows_of_issues(MODEL_TYPE, generate_dated_issues(self.portfolio)).rows)

    @cached_property
    def requests(self) -> list[dict[str, Any]]:
        return [_request(row) for row in self.extracted.rows]

    def version(self, moment: datetime) -> Version:
        if moment not in self.made:
            known = self.extracted.known_by(moment.timestamp())
            fitted = fit(MODEL_TYPE, known, budget=Budget(trials=1))
            predictor = Predictor.of(MODEL_TYPE, fitted.bundle)
            answers = _answers(predictor, self.extracted, moment)
            self.made[moment] = Version(moment, len(known), fitted.overall.served, answers)
        return self.made[moment]

    def known(self, moment: datetime) -> int:
        return len(self.extracted.known_by(moment.timestamp()))

    def asked(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        places = [bisect_left(self.extracted.rows, at.timestamp(), key=lambda row: row.asked_at) for at in (start, end)]
        return self.requests[slice(*places)][-MOST_ROWS:]


def _request(row: Row) -> dict[str, Any]:
    """What drift looks at, as `store/samples.py` reads it."""
    said = row.request
    numbers = {
        "estimate_hours": said.get("estimate_hours"),
        "title": len(said.get("title", "")),
        "description": len(said.get("description", "")),
    }
    return {**numbers, **{name: said.get(name) for name in WORDS if name != "project_id"}, "project_id": row.cluster}


def _answers(predictor: Predictor, extracted: Extracted, since: datetime) -> Answers:
    asked = [row for row in extracted.rows if row.asked_at >= since.timestamp()]
    examples = {name: {(e.cluster, e.key): e for e in found} for name, found in extracted.views.items()}
    found = []
    for row in asked:
        view = predictor.view_for(row.request)
        example = examples[view][row.cluster, row.key]
        answer = predictor.predict_extracted(view, row.cluster, example.features, example.known)
        found.append((row.asked_at, row.known_at, answer.settled.value, answer.low, answer.high, row.target))
    return Answers(*np.array(found, dtype=float).reshape(-1, 6).T)


@dataclass
class Life:
    """A year under one strategy: which version answered when, what was lost, and every decision."""

    world: World
    serving: Version
    promoted_at: datetime
    given: list[Answers] = field(default_factory=list)
    """By this version, week by week."""
    losses: list[Floats] = field(default_factory=list)
    decisions: list[RetrainingDecision] = field(default_factory=list)
    trainings: int = 0

    def week(self, moment: datetime, strategy: RetrainingPolicy | bool) -> None:
        if self._trains(moment, strategy):
            self.serving, self.promoted_at, self.given = self.world.version(moment), moment, []
            self.trainings += 1
        start, end = moment.timestamp(), (moment + timedelta(days=7)).timestamp()
        asked = self.serving.answers.asked_at
        answered = self.serving.answers.where((asked >= start) & (asked < end))
        self.given.append(answered)
        self.losses.append(answered.losses)

    def _trains(self, moment: datetime, strategy: RetrainingPolicy | bool) -> bool:
        if isinstance(strategy, bool):
            return strategy
        decision = decide_retraining(self._situation(moment, strategy), strategy)
        self.decisions.append(decision)
        return decision.verdict is Verdict.RETRAIN

    def _situation(self, moment: datetime, policy: RetrainingPolicy) -> Situation:
        known = self.world.known(moment)
        last = LastTraining(
            self.serving.trained_at, True, True, None, self.serving.rows, known - self.serving.rows
        )  # fmt: skip
        return Situation(moment, known, MODEL_TYPE.least_rows, None, last, tuple(self._signals(moment, known, policy)))

    def _signals(self, moment: datetime, known: int, policy: RetrainingPolicy) -> Iterator[Signal]:
        version = self.serving
        yield measured.age((moment - version.trained_at) / timedelta(days=1), policy)
        yield measured.new_rows(known - version.rows, version.rows, policy)
        first, latest = windows(self.promoted_at, moment, policy.window_days)
        over = first[1] <= latest[0]
        before, now = (self._given(window) for window in (first, latest))
        by_now = [answers.where(answers.known_at <= moment.timestamp()) for answers in (before, now)]
        realised = over and len(by_now[0].truths) >= policy.least_outcomes
        reference = by_now[0].losses if realised else version.held_back
        source = "after its promotion" if realised else "on the rows held back"
        yield measured.realised_error(reference, by_now[1].losses, source, policy)
        held = coverage(by_now[1].truths, by_now[1].lows, by_now[1].highs)
        yield measured.coverage_shortfall(held, MODEL_TYPE.coverage_target, policy)
        yield from measured.drifts(measured.INPUT, list(self._input_drifts(moment)), policy)
        comparable = over and len(before.values) and len(now.values)
        drifts = [drift_of_numbers("answers", before.values, now.values)] if comparable else []
        yield from measured.drifts(measured.PREDICTION, drifts, policy)

    def _given(self, window: tuple[datetime, datetime]) -> Answers:
        """What this version answered in a window, in order of asking."""
        if not self.given:
            return self.serving.answers.where(np.zeros(len(self.serving.answers.values), dtype=bool))
        together = Answers(*(np.concatenate([getattr(a, name) for a in self.given]) for name in vars(self.given[0])))
        start, end = (moment.timestamp() for moment in window)
        return together.where((together.asked_at >= start) & (together.asked_at < end))

    def _input_drifts(self, moment: datetime) -> Iterator[Any]:
        before, since = (
            self.world.asked(START, self.serving.trained_at),
            self.world.asked(self.serving.trained_at, moment),
        )
        if before and since:
            yield from compare_inputs(before, since)


def live(world: World, strategy: RetrainingPolicy | bool, weeks: int = WEEKS) -> Life:
    """One year, a decision every Monday; the first version is trained before it."""
    begin = START + timedelta(days=BEFORE_DAYS)
    life = Life(world, world.version(begin), begin)
    for week in range(weeks):
        life.week(begin + timedelta(days=7 * week), strategy if week else False)
    return life


@dataclass(frozen=True)
class Result:
    """One strategy in one scenario: mean absolute errors, and trainings, a seed each; the lives they are from."""

    scenario: str
    strategy: str
    lives: Sequence[Life]

    @property
    def errors(self) -> Floats:
        return np.array([np.concatenate(life.losses).mean() for life in self.lives])

    @property
    def trainings(self) -> float:
        return float(np.mean([life.trainings for life in self.lives]))

    @property
    def fired(self) -> dict[str, float]:
        """In how many decisions for a training each signal spoke, a year."""
        names = [s.name for life in self.lives for d in life.decisions if d.verdict is Verdict.RETRAIN
                 for s in d.situation.signals if s.fired]  # fmt: skip
        return {name: names.count(name) / len(self.lives) for name in measured.UNITS if name in names}


def simulate(seeds: int) -> list[Result]:
    """Every strategy in every scenario; strategies share the versions of a world."""
    found: dict[tuple[str, str], list[Life]] = {}
    cells = [(name, seed) for name in SCENARIOS for seed in range(seeds)]
    with click.progressbar(cells, label="living", file=sys.stderr) as bar:
        for scenario, seed in bar:
            world = World(replace(SCENARIOS[scenario][1], seed=seed))
            for name, strategy in STRATEGIES.items():
                found.setdefault((scenario, name), []).append(live(world, strategy))
    return [Result(*names, lives) for names, lives in found.items()]


def summary(results: Sequence[Result]) -> Iterator[str]:
    """What each strategy lost, and how often it trained."""
    weekly = {result.scenario: result.errors for result in results if result.strategy == "always weekly"}
    rows = [
        [
            result.scenario,
            result.strategy,
            f"{result.errors.mean():.3f}",
            f"{np.mean(result.errors / weekly[result.scenario] - 1):+.1%}",
            f"{result.trainings:.1f}",
            ", ".join(f"{name} {times:.1f}" for name, times in result.fired.items()),
        ]
        for result in results
    ]
    head = ["data", "trains", "MAE, hours", "beside weekly", "trainings a year", "signals that had fired, times a year"]
    yield from table(head, rows)


def decisions(results: Sequence[Result]) -> Iterator[str]:
    """Every decision of the first seed."""
    for result in results:
        log = result.lives[0].decisions
        if not log:
            continue
        yield from (f"### {result.scenario}: {result.strategy}", "")
        yield from ("| week | verdict | because | flip |", "| ---: | --- | --- | --- |")
        for week, decision in enumerate(log, start=2):
            yield f"| {week} | {decision.verdict} | {_because(decision)} | {decision.flip} |"
        yield ""


def trained(results: Sequence[Result]) -> Iterator[str]:
    """Every decision of the first seed that trained, with its reasons."""
    yield from ("| data | trains | week | because |", "| --- | --- | ---: | --- |")
    for result in results:
        for week, decision in enumerate(result.lives[0].decisions, start=2):
            if decision.verdict is Verdict.RETRAIN:
                yield f"| {result.scenario} | {result.strategy} | {week} | {_because(decision)} |"


def _because(decision: RetrainingDecision) -> str:
    return "; ".join(reason for reason in decision.reasons if "could not be measured" not in reason)


def _measured(seeds: int) -> str:
    commit = _git("rev-parse", "--short", "HEAD") + (" with changes" if _git("status", "--porcelain", "-uno") else "")
    command = f"python -m benchmarks.retraining --write --seeds {seeds}"
    return f"Measured on {datetime.now(UTC):%Y-%m-%d} at commit {commit}, mean of {seeds} seeds:\n\n    {command}\n"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=projects.ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _write(results: Sequence[Result], said: str) -> None:
    told = "\n".join(f"- **{name}**: {what[0]}" for name, what in SCENARIOS.items())
    short = "\n".join(summary(results))
    kept = PAGE.read_text().partition(FIGURES)[0]
    PAGE.write_text("\n".join([f"{kept}{FIGURES}", said, told, "", short, "", *decisions(results)]).rstrip() + "\n")
    rest = QUALITY.read_text().partition(SECTION)[0].rstrip()
    why = "Synthetic issues; [retraining.md](retraining.md) says how, and holds the decisions to wait as well."
    retrained = ["Every decision of the first seed that trained, with what had spoken for it:", "", *trained(results)]
    QUALITY.write_text("\n".join([f"{rest}\n\n{SECTION}", f"{why} {said}", told, "", short, "", *retrained]) + "\n")


@click.command()
@click.option("--seeds", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--write", is_flag=True, help="Renew the figures in docs/retraining.md and docs/quality.md.")
def main(seeds: int, write: bool) -> None:
    """A simulated year under every strategy."""
    said = _measured(seeds)  # before, as files may change while it runs
    results = simulate(seeds)
    if write:
        _write(results, said)
    else:
        click.echo("\n".join(summary(results)))


if __name__ == "__main__":
    main()
