"""Drift: measures that keep their laws, and that chance alone reaches no more often than is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, wasserstein_distance

from forecastle.errors import InputError
from forecastle.monitoring.comparison import Floats
from forecastle.monitoring.drift import Drift, Measure, drift_of_numbers, drift_of_words, farthest, strongest

Random = np.random.Generator
NUMBERS = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1, max_size=80).map(np.array)
WORDS = st.lists(st.sampled_from([None, "bug", "task", "epic"]), min_size=1, max_size=80)
TRIALS = 600
SAMPLES: dict[str, Callable[[Random, int], Floats]] = {
    "normal": lambda random, rows: random.normal(size=rows),
    "heavy tails": lambda random, rows: np.exp(1.3 * random.normal(size=rows)),
    "few values": lambda random, rows: random.choice([1.0, 2, 3, 5, 8, 13], rows, p=[0.25, 0.2, 0.2, 0.2, 0.1, 0.05]),
    "a third missing": lambda random, rows: np.where(random.random(rows) < 1 / 3, math.nan, random.normal(size=rows)),
    "mostly the least": lambda random, rows: np.maximum(random.normal(size=rows), 0.0),
    "two values": lambda random, rows: (random.random(rows) < 0.1).astype(float),
}


def psi_by_hand(p: list[float], q: list[float]) -> float:
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))


@given(NUMBERS)
def test_a_sample_beside_itself_has_not_drifted(sample: Floats) -> None:
    found = drift_of_numbers("x", sample, sample)
    assert found.psi.value == pytest.approx(0, abs=1e-12)
    assert found.distance is None or found.distance.value == 0


@given(NUMBERS, NUMBERS)
def test_measures_are_finite_and_never_negative_whatever_is_missing_or_equal(
    reference: Floats, current: Floats
) -> None:
    found = drift_of_numbers("x", reference, current)
    assert 0 <= found.psi.value < math.inf
    assert 0 <= found.psi.noise < math.inf
    assert (found.distance is None) == (np.isnan(reference).all() or np.isnan(current).all())


@given(NUMBERS, NUMBERS, st.floats(0.1, 100), st.floats(-1000, 1000))
def test_a_distance_does_not_depend_on_the_unit(reference: Floats, current: Floats, scale: float, shift: float) -> None:
    """The bins are the same ones only where rounding joins no two values, so that the PSI is looked at elsewhere."""
    one, other = (
        drift_of_numbers("x", scaled(reference), scaled(current)).distance
        for scaled in (lambda x: x, lambda x: x * scale + shift)
    )
    if one is not None and other is not None and np.nanstd(reference) > 1e-3:
        assert other.value == pytest.approx(one.value, rel=1e-3, abs=1e-6)


@given(WORDS, WORDS)
def test_the_order_of_words_does_not_count(reference: list[str | None], current: list[str | None]) -> None:
    ordered = drift_of_words("type", sorted(reference, key=str), sorted(current, key=str))
    found = drift_of_words("type", reference, current)
    assert found.psi.value >= 0
    assert found.distance is None
    if len(set(map(reference.count, reference))) == len(set(reference)):  # which words have cells is then certain
        assert ordered.psi.value == pytest.approx(found.psi.value)


def test_the_psi_is_that_of_the_formula_with_half_a_row_added_to_every_cell() -> None:
    reference, current = np.array([1.0] * 60 + [2.0] * 40), np.array([1.0] * 30 + [2.0] * 50 + [math.nan] * 20)
    cells = [60.5 / 101.5, 40.5 / 101.5, 0.5 / 101.5], [30.5 / 101.5, 50.5 / 101.5, 20.5 / 101.5]
    assert drift_of_numbers("x", reference, current).psi.value == pytest.approx(psi_by_hand(*cells))
    words = [["a"] * 60 + ["b"] * 40, ["a"] * 30 + ["b"] * 50 + [None] * 20]
    assert drift_of_words("x", *words).psi.value == pytest.approx(psi_by_hand(*cells))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "a third missing"])
def test_the_distance_is_scipys_over_the_spread_of_the_reference(name: str) -> None:
    random = np.random.default_rng(1)
    reference, current = SAMPLES[name](random, 300), SAMPLES[name](random, 70) + 0.3
    found = drift_of_numbers("x", reference, current).distance
    assert found is not None
    assert found.value == pytest.approx(wasserstein_distance(reference, current) / reference.std())


@pytest.mark.parametrize("rows", [(5_000, 50), (1_000, 100), (200, 200), (50, 50), (5_000, 1_000)], ids=str)
@pytest.mark.parametrize("name", SAMPLES)
def test_equal_distributions_reach_the_noise_in_no_more_than_5_percent(name: str, rows: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(rows))
    reached = [0, 0]
    for _ in range(TRIALS):
        found = drift_of_numbers("x", *(SAMPLES[name](random, count) for count in rows))
        assert found.distance is not None
        for place, of in enumerate((found.psi, found.distance)):
            reached[place] += of.value >= of.noise
    # As many as 7 % of trials may be, were it 5 %, once in ten thousand such tests.
    assert max(reached) <= binom.ppf(0.9999, TRIALS, 0.055), reached


def test_many_looks_together_reach_the_noise_in_no_more_than_5_percent() -> None:
    random = np.random.default_rng(5)
    reached = sum(
        any(
            found.psi.value >= found.psi.noise
            for found in (drift_of_numbers("x", random.normal(size=500), random.normal(size=100), 8) for _ in range(8))
        )
        for _ in range(300)
    )
    assert reached <= binom.ppf(0.9999, 300, 0.06), reached


@pytest.mark.parametrize("shift, drifted", [(0.0, False), (0.1, False), (0.6, True)])
def test_a_small_shift_is_no_drift_however_many_rows_show_it(shift: float, drifted: bool) -> None:
    random = np.random.default_rng(3)
    found = drift_of_numbers("x", random.normal(size=20_000), random.normal(size=20_000) + shift)
    assert found.distance is not None
    assert (found.psi.value >= found.psi.threshold(0.2)) is drifted
    assert (found.distance.value >= found.distance.threshold(0.4)) is drifted
    assert found.distance.value == pytest.approx(shift, abs=0.03)


def test_words_that_nobody_had_said_before_are_drift_and_so_are_numbers_that_go_missing() -> None:
    assert drift_of_words("type", ["bug"] * 100, ["incident"] * 100).psi.value > 1
    assert drift_of_numbers("x", np.arange(100.0), np.full(100, math.nan)).psi.value > 1


@pytest.mark.parametrize("now", [2.0, 0.5])
def test_a_number_that_never_changed_and_then_does_lies_infinitely_far_off(now: float) -> None:
    found = drift_of_numbers("x", np.ones(100), np.full(100, now))
    assert found.distance is not None
    assert found.distance.value == math.inf
    assert found.psi.value > 1


def test_the_one_that_changed_most_beside_its_threshold_is_named() -> None:
    def of(name: str, psi: Measure, distance: Measure | None) -> Drift:
        return Drift(name, 100, 100, psi, distance)

    noisy = of("noisy", Measure(0.5, 0.6), Measure(0.3, 0.0))
    clear = of("clear", Measure(0.3, 0.1), Measure(0.2, 0.0))
    words = of("words", Measure(0.1, 0.1), None)
    assert strongest([noisy, clear, words], 0.2).name == "clear"
    assert farthest([noisy, clear, words], 0.4) is noisy
    assert farthest([words], 0.4) is None


@pytest.mark.parametrize(
    "compare",
    [
        lambda: drift_of_numbers("x", np.array([]), np.array([1.0])),
        lambda: drift_of_words("x", ["a"], []),
        lambda: drift_of_numbers("x", np.array([1.0]), np.array([math.inf])),
    ],
)
def test_what_cannot_be_compared_is_refused(compare: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match="x: "):
        compare()
