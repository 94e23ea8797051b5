"""Detection metrics agree with brute force over pairs and keep their guarantees."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.metrics.detection import auroc, auroc_interval, detected, threshold_at

quickly = settings(deadline=None, max_examples=100)
# Few distinct whole numbers: ties are frequent, and shifts and powers of them are exact.
scores = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=25)
rates = st.one_of(st.floats(0, 1), st.sampled_from([0.05, 0.07, 0.29, 0.5]))


def auroc_over_pairs(positives: list[float], negatives: list[float]) -> float:
    wins = [(p > n) + 0.5 * (p == n) for p, n in itertools.product(positives, negatives)]
    return sum(wins) / len(wins)


@quickly
@given(rates, scores)
def test_threshold_keeps_the_rate_and_no_smaller_one_does(rate: float, clean: list[float]) -> None:
    """Of a new score and the known ones every one is equally likely to be the new one (leave one out)."""
    threshold, count = threshold_at(rate, clean), len(clean)
    alarms = int(detected(clean, threshold).sum())
    assert (alarms + 1) / (count + 1) <= rate or threshold == math.inf
    if threshold == -math.inf:
        assert rate == 1
    elif threshold == math.inf:
        assert 1 / (count + 1) > rate, "not even one place in so many can be promised"
    else:
        assert threshold in clean
        lower = int(detected(clean, np.nextafter(threshold, -math.inf)).sum())
        assert (lower + 1) / (count + 1) > rate


@pytest.mark.parametrize("count", [19, 20, 39, 128, 256])
def test_a_new_score_is_a_false_alarm_as_often_as_promised(count: int) -> None:
    generator = np.random.default_rng(count)
    draws = 4000
    alarms = [
        detected(scores[:1], threshold_at(0.05, scores[1:]))[0]
        for scores in generator.normal(size=(draws, count + 1))
    ]
    promised = np.floor(0.05 * (count + 1)) / (count + 1)
    assert np.mean(alarms) == pytest.approx(promised, abs=4 * np.sqrt(promised / draws))
    assert promised <= 0.05


def test_eighteen_scores_cannot_promise_five_percent() -> None:
    assert threshold_at(0.05, np.arange(18.0)) == math.inf
    assert threshold_at(0.05, np.arange(19.0)) == 18.0


def test_constant_scores_detect_nothing() -> None:
    threshold = threshold_at(0.05, [3.0] * 40)
    assert not detected([3.0] * 10, threshold).any()
    assert detected([3.1], threshold).all()


@pytest.mark.parametrize("percent", range(101))
def test_threshold_tolerates_exactly_the_percentage(percent: int) -> None:
    # In floating point 0.29 * 100 is below 29: a product instead of a quotient would lose one.
    clean = np.arange(99.0)
    alarms = detected(clean, threshold_at(percent / 100, clean)).sum()
    assert alarms == max(0, percent - 1) if percent < 100 else alarms == 99


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_threshold_refuses_a_wrong_rate(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        threshold_at(rate, [1.0])


def test_threshold_needs_scores() -> None:
    with pytest.raises(ValueError, match="at least one"):
        threshold_at(0.05, [])


@quickly
@given(scores, scores)
def test_auroc_equals_brute_force(positives: list[float], negatives: list[float]) -> None:
    assert auroc(positives, negatives) == pytest.approx(auroc_over_pairs(positives, negatives))


@quickly
@given(scores, scores)
def test_auroc_of_swapped_sides_is_the_complement(positives: list[float], negatives: list[float]) -> None:
    assert auroc(negatives, positives) == pytest.approx(1 - auroc(positives, negatives))


@quickly
@given(scores, scores)
def test_auroc_ignores_monotone_transforms(positives: list[float], negatives: list[float]) -> None:
    transformed = auroc(np.array(positives) ** 3 * 2 + 1, np.array(negatives) ** 3 * 2 + 1)
    assert transformed == auroc(positives, negatives)


@quickly
@given(st.permutations([0.0, 1.0, 1.0, 2.0, 5.0]), scores)
def test_auroc_ignores_the_order_of_samples(positives: list[float], negatives: list[float]) -> None:
    assert auroc(positives, negatives) == auroc(sorted(positives), sorted(negatives))


def test_auroc_extremes() -> None:
    assert auroc([2.0, 3.0], [0.0, 1.0]) == 1
    assert auroc([0.0], [1.0]) == 0
    assert auroc([1.0] * 3, [1.0] * 4) == 0.5
    assert math.isnan(auroc([], [1.0]))
    assert math.isnan(auroc([1.0], []))


@pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="needs scipy")
def test_auroc_equals_scipy() -> None:
    mannwhitneyu = importlib.import_module("scipy.stats").mannwhitneyu

    generator = np.random.default_rng(0)
    positives, negatives = generator.integers(0, 20, 50), generator.integers(0, 15, 70)
    statistic = mannwhitneyu(positives, negatives).statistic
    assert auroc(positives, negatives) == pytest.approx(statistic / (50 * 70))


def test_interval_is_reproducible_ordered_and_around_the_estimate() -> None:
    generator = np.random.default_rng(1)
    positives, negatives = generator.normal(1, 1, 60), generator.normal(0, 1, 80)
    low, high = auroc_interval(positives, negatives, draws=400)
    assert (low, high) == auroc_interval(positives, negatives, draws=400)
    assert (low, high) != auroc_interval(positives, negatives, draws=400, seed=1)
    assert 0 <= low < auroc(positives, negatives) < high <= 1
    narrow_low, narrow_high = auroc_interval(positives, negatives, draws=400, level=0.5)
    assert low < narrow_low < narrow_high < high


def test_interval_has_about_the_width_of_theory() -> None:
    # Hanley and McNeil 1982, equation 2, for two normal distributions one deviation apart.
    generator = np.random.default_rng(2)
    positives, negatives = generator.normal(1, 1, 200), generator.normal(0, 1, 200)
    area = auroc(positives, negatives)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + 199 * (q1 - area**2) + 199 * (q2 - area**2)) / 200**2
    low, high = auroc_interval(positives, negatives, draws=1000)
    assert (high - low) / (2 * 1.96) == pytest.approx(math.sqrt(variance), rel=0.2)


def test_interval_of_perfect_and_of_empty_scores() -> None:
    assert auroc_interval([2.0, 3.0], [0.0, 1.0], draws=50) == (1, 1)
    assert all(math.isnan(end) for end in auroc_interval([], [1.0]))
    assert all(math.isnan(end) for end in auroc_interval([1.0], []))


def test_interval_refuses_wrong_settings() -> None:
    with pytest.raises(ValueError, match="draws"):
        auroc_interval([1.0], [0.0], draws=0)
    with pytest.raises(ValueError, match="level"):
        auroc_interval([1.0], [0.0], level=1)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_non_finite_scores_are_refused(broken: float) -> None:
    for call in (
        lambda: threshold_at(0.05, [0.0, broken]),
        lambda: detected([broken], 0.0),
        lambda: auroc([broken], [0.0]),
        lambda: auroc([0.0], [broken]),
        lambda: auroc_interval([0.0], [broken]),
    ):
        with pytest.raises(ValueError, match="not finite"):
            call()


def test_shapes_and_thresholds_are_checked() -> None:
    with pytest.raises(ValueError, match=r"scores \[N\]"):
        auroc(np.zeros((2, 2)), [0.0])
    with pytest.raises(ValueError, match="NaN"):
        detected([0.0], math.nan)
    assert detected([0.0], -math.inf).all()
