"""A threshold keeps its false positive rate on new samples like those that it was calibrated on.

Scores are suspicions: higher is more suspicious. A sample is detected when its score lies strictly
above the threshold, so that a detector that gives every sample the same score detects nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Scores = NDArray[np.float64]


def threshold_at(false_positive_rate: float, calibration_scores: ArrayLike) -> float:
    """Smallest score that a new clean sample exceeds with at most a given probability.

    The split conformal rule (Vovk, Gammerman and Shafer, *Algorithmic learning in a random world*, 2005): a
    new score that is exchangeable with N calibration scores exceeds the k-th largest of them with probability
    k / (N + 1) at most, so that k is the largest whole number up to ``rate * (N + 1)``.

    Args:
        false_positive_rate: tolerated probability of a false alarm, in [0, 1].
        calibration_scores: ``[N]`` suspicions of clean samples, N at least 1.

    Returns:
        The threshold, one of the scores; minus infinity where every false alarm is tolerated; plus infinity
        where there are too few scores to promise the rate: it takes 19 for .05.

    Raises:
        ValueError: if a score is not finite, there is none, or the rate lies outside [0, 1].
    """
    if not 0 <= false_positive_rate <= 1:
        raise ValueError(f"the false positive rate must lie in [0, 1], got {false_positive_rate}")
    scores = _finite(calibration_scores)
    if scores.size == 0:
        raise ValueError("a threshold needs at least one calibration score")
    # Comparing shares, not multiplying the rate by the count: 0.29 * 100 is 28.999... in floating
    # point.
    shares = np.arange(scores.size + 2) / (scores.size + 1)
    place = int(np.flatnonzero(shares <= false_positive_rate)[-1])
    if place == 0:
        return math.inf
    if place > scores.size:
        return -math.inf
    return float(np.sort(scores)[scores.size - place])


def detected(scores: ArrayLike, threshold: float) -> NDArray[np.bool_]:
    """Whether each score lies strictly above the threshold.

    Args:
        scores: ``[N]`` suspicions.
        threshold: from :func:`threshold_at`; may be infinite.

    Returns:
        ``bool [N]``.

    Raises:
        ValueError: if a score is not finite or the threshold is NaN.
    """
    if math.isnan(threshold):
        raise ValueError("the threshold is NaN")
    flagged: NDArray[np.bool_] = _finite(scores) > threshold
    return flagged


def auroc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive outscores a negative, ties half.

    This is the Mann-Whitney statistic divided by the number of pairs (Hanley and McNeil 1982).

    Args:
        positives: ``[P]`` suspicions of manipulated samples.
        negatives: ``[N]`` suspicions of clean samples.

    Returns:
        A number in [0, 1]; 0.5 is chance; NaN if either side is empty.

    Raises:
        ValueError: if a score is not finite.
    """
    return _auroc(_finite(positives), _finite(negatives))


def auroc_interval(
    positives: ArrayLike,
    negatives: ArrayLike,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the AUROC; positives and negatives are drawn separately.

    Args:
        positives: ``[P]`` suspicions of manipulated samples.
        negatives: ``[N]`` suspicions of clean samples.
        draws: number of bootstrap draws, at least 1.
        seed: seed of the draws; the same seed gives the same interval.
        level: coverage of the interval, in (0, 1).

    Returns:
        Lower and upper end, both in [0, 1]; NaN and NaN if either side is empty.

    Raises:
        ValueError: if a score is not finite, or draws or level are out of range.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if not 0 < level < 1:
        raise ValueError(f"the level must lie in (0, 1), got {level}")
    positives, negatives = _finite(positives), _finite(negatives)
    if positives.size == 0 or negatives.size == 0:
        return math.nan, math.nan
    generator = np.random.default_rng(seed)
    areas = [
        _auroc(
            positives[generator.integers(positives.size, size=positives.size)],
            negatives[generator.integers(negatives.size, size=negatives.size)],
        )
        for _ in range(draws)
    ]
    low, high = np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _finite(scores: ArrayLike) -> _Scores:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"expected scores [N], got shape {values.shape}")
    if not np.isfinite(values).all():
        broken = int((~np.isfinite(values)).sum())
        raise ValueError(f"{broken} of {values.size} scores are not finite")
    return values


def _auroc(positives: _Scores, negatives: _Scores) -> float:
    if positives.size == 0 or negatives.size == 0:
        return math.nan
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left").sum()
    not_above = np.searchsorted(ordered, positives, side="right").sum()
    return float((below + not_above) / (2 * positives.size * negatives.size))
