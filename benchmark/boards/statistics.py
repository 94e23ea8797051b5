"""Every rank carries its uncertainty: a paired bootstrap over cases, stratified by task, seeded.

`values` are finite numbers ``[methods, cases]``, of the order of one; `tasks` labels each case's
task (integers or strings, ``[cases]``). A method's score is the mean over tasks of the mean over
the task's cases: tasks count equally, whatever their size. Scores tie within `TOLERANCE`.

Assumptions: cases are exchangeable within a task; tasks are fixed, not sampled. Intervals and
p-values speak of new cases of the same tasks, never of new tasks. A draw resamples the same cases
for all methods, so that the difficulty which methods share cancels (paired comparison).

Limits: percentile intervals are too narrow where cases are few (95 % intervals of skewed data in
one task cover about 83 % with 5 cases, 90 % with 10, 93 % with 20). A task with a single case adds
no spread: with one case in every task the interval is a point, which is not certainty; p-values
have a floor for such data.

Equal seeds give equal draws under one version of numpy; global random state is never touched.
ValueError is raised where shapes do not fit or there is no case, method or draw.

Sources: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979;
Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TOLERANCE = 1e-12
FEWEST = 8
"""Cases below which nothing is ranked, since intervals cover less than they say (benchmarks/coverage.py)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one method stands; ``ci_low <= score <= ci_high``, ``rank_low <= rank <= rank_high``.

    `rank` is 1 + the number of methods with a strictly better score (ties share the smallest
    rank), `rank_low` 1 + the number of significantly better methods, `rank_high` the number of
    methods less the significantly worse ones. `tie_group` counts from 1 down the ranking: no
    method of a group differs significantly from the group's leader.
    """

    score: float
    ci_low: float
    ci_high: float
    rank: int
    rank_low: int
    rank_high: int
    tie_group: int


def scores(values: npt.ArrayLike, tasks: npt.ArrayLike) -> Floats:
    """Scores ``[methods]``, each within the range of the method's values."""
    return _scores(*_checked(values, tasks))


def bootstrap_weights(tasks: npt.ArrayLike, draws: int = 10_000, seed: int = 0) -> Floats:
    """Weights ``[cases, draws]`` such that ``values @ weights`` are the scores of all draws.

    A draw resamples each task's cases with replacement (multinomial), one fewer than the task has: as many
    would have (n - 1) / n of the variance in every task, however many tasks there are (Rao and Wu 1988,
    "Resampling inference with complex survey data"). Weights lie in [0, 1], and those of a task sum to
    1 / tasks. More draws under the same seed begin with the same draws. Weights are float64, because a
    coarser type breaks ties between methods by rounding: 160 MB for 2,000 cases and 10,000 draws. `rank` and
    `pairwise_p_values` work block by block and never hold more than 16 MB of them.
    """
    return np.concatenate(list(_weight_blocks(_strata(tasks), draws, seed)), axis=1)


def interval(values_of_draws: npt.ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """Percentile interval (Efron): ends ``[...]`` of draws ``[..., draws]``; level in (0, 1)."""
    draws = np.asarray(values_of_draws, dtype=np.float64)
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    if draws.ndim == 0 or draws.shape[-1] == 0:
        raise ValueError("an interval needs at least one draw along the last axis")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=-1)
    return np.asarray(low), np.asarray(high)


def pairwise_p_values(
    values: npt.ArrayLike, tasks: npt.ArrayLike, draws: int = 10_000, seed: int = 0
) -> Floats:
    """Two-sided paired p-values of all pairs ``[methods, methods]`` in (0, 1], uncorrected.

    ``p = 2 * (1 + min(#(difference <= 0), #(difference >= 0))) / (draws + 1)`` over the draws,
    capped at 1 and never below ``2 ** (1 - k)``, with k the number of cases in which the two
    methods differ. This floor is the least p-value of an exact sign test on k cases: without it
    one or two cases, which hardly vary when resampled, would count as overwhelming evidence.
    Symmetric; 1 on the diagonal and between identical methods.
    """
    return _resample(*_checked(values, tasks), draws, seed)[1]


def holm(p_values: npt.ArrayLike) -> Floats:
    """Holm's step-down adjusted p-values ``[tests]`` in [0, 1], in order, never below the raw ones.

    Controls the family-wise error (Holm 1979). ValueError for a raw value outside [0, 1] or nan.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if raw.ndim != 1 or not np.all((raw >= 0) & (raw <= 1)):
        raise ValueError("p_values must be one-dimensional with values in [0, 1]")
    order = np.argsort(raw)
    remaining = np.arange(len(raw), 0, -1)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * remaining), 1.0)
    return adjusted


def rank(
    values: npt.ArrayLike,
    tasks: npt.ArrayLike,
    higher_is_better: bool = True,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    names: Sequence[str] | None = None,
) -> list[Standing]:
    """One `Standing` per method, in the order of the rows.

    Methods differ significantly where their scores differ and their p-value, Holm-corrected over
    all pairs, is at most ``1 - level``; the rank interval hence always contains the rank. Score
    intervals are widened where needed to contain the score. Down the ranking, methods of equal
    rank enter together: they join the current tie group unless one of them differs significantly
    from its leader (leaders, where the best tie), else they open the next group.

    `draws` is a lower bound. The least p-value is 2 / (draws + 1) and is multiplied by the number
    of pairs, so that 10,000 draws could separate no two of 23 methods; draws are then raised to
    the fewest that can, 2 * pairs / (1 - level). `names` (distinct) only serve error messages,
    such as the ValueError for a value that is not finite.
    """
    matrix, strata = _checked(values, tasks, names)
    methods = len(matrix)
    draws = enough_draws(methods, draws, level)
    score_draws, p_values = _resample(matrix, strata, draws, seed)
    score, (low, high) = _scores(matrix, strata), interval(score_draws, level)
    gain = score if higher_is_better else -score
    better = gain[None, :] - gain[:, None] > TOLERANCE  # [i, j]: j is better than i
    pairs = np.triu_indices(methods, k=1)
    significant = np.zeros((methods, methods), dtype=np.bool_)
    significant[pairs] = holm(p_values[pairs]) <= 1 - level
    significant = (significant | significant.T) & (better | better.T)
    ranks = 1 + better.sum(axis=1)
    columns = (
        score,
        np.minimum(low, score),
        np.maximum(high, score),
        ranks,
        1 + (better & significant).sum(axis=1),
        methods - (better.T & significant).sum(axis=1),
        _tie_groups(ranks, significant),
    )
    return [Standing(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def enough_draws(methods: int, draws: int = 10_000, level: float = 0.95) -> int:
    """``draws``, or as many more as it takes that Holm's correction over all pairs can separate any two."""
    if draws > 0 and 0 < level < 1:
        return max(draws, math.ceil(methods * (methods - 1) / (1 - level)))
    return draws


def worst_case(values: npt.ArrayLike) -> Floats:
    """Pointwise worst case ``[cases]`` of successes ``[attacks, cases]``: the maximum per case.

    Neither the mean over attacks nor the maximum of their means: on every case a defense faces
    the attack that suits this case best. Higher is worse for the defense; nan stands for an
    attack absent on a case, and is the result only where every attack is absent.
    """
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) == 0:
        raise ValueError(f"values must be [attacks, cases] with an attack, not {matrix.shape}")
    return np.asarray(np.fmax.reduce(matrix, axis=0))


def _scores(matrix: Floats, strata: list[Integers]) -> Floats:
    """Mean over tasks of the mean over each task's cases."""
    return np.asarray(np.mean([matrix[:, cases].mean(axis=1) for cases in strata], axis=0))


def _resample(matrix: Floats, strata: list[Integers], draws: int, seed: int) -> tuple[Floats, ...]:
    """Scores of all draws ``[methods, draws]`` and p-values ``[methods, methods]``."""
    first, second = np.triu_indices(len(matrix), k=1)
    # Differences come before resampling: identical methods differ by exactly 0 in every draw.
    differences = matrix[first] - matrix[second]
    below, above = np.zeros((2, len(first)), dtype=np.int64)
    score_draws = []
    for weights in _weight_blocks(strata, draws, seed):
        score_draws.append(matrix @ weights)
        resampled = differences @ weights
        below += (resampled <= TOLERANCE).sum(axis=1)
        above += (resampled >= -TOLERANCE).sum(axis=1)
    floor = 2.0 ** (1 - (np.abs(differences) > TOLERANCE).sum(axis=1))
    p_of_pairs = np.maximum(2 * (1 + np.minimum(below, above)) / (draws + 1), floor)
    p_values = np.ones((len(matrix), len(matrix)))
    p_values[first, second] = p_values[second, first] = np.minimum(p_of_pairs, 1.0)
    return np.concatenate(score_draws, axis=1), p_values


def _weight_blocks(strata: list[Integers], draws: int, seed: int) -> Iterator[Floats]:
    """Bootstrap weights in blocks of consecutive draws, each at most 16 MB (or a single draw)."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    cases = sum(map(len, strata))
    size = min(1_000, max(1, 2_000_000 // cases))
    # One generator per task: the draws do not depend on the size of the blocks.
    generators = np.random.default_rng(seed).spawn(len(strata))
    for start in range(0, draws, size):
        weights = np.empty((cases, min(size, draws - start)))
        for members, generator in zip(strata, generators, strict=True):
            n = len(members)
            drawn = max(1, n - 1)
            counts = generator.multinomial(drawn, np.full(n, 1 / n), size=weights.shape[1])
            weights[members] = counts.T / (drawn * len(strata))
        yield weights


def _tie_groups(ranks: Integers, significant: npt.NDArray[np.bool_]) -> Integers:
    """Number of each method's tie group, from 1 down the ranking."""
    groups = np.ones_like(ranks)
    group, leaders = 1, np.flatnonzero(ranks == 1)
    for place in np.unique(ranks):
        members = np.flatnonzero(ranks == place)
        if significant[np.ix_(leaders, members)].any():
            group, leaders = group + 1, members
        groups[members] = group
    return groups


def _strata(tasks: npt.ArrayLike) -> list[Integers]:
    """Indices of each task's cases, tasks in the order of their labels."""
    labels = np.asarray(tasks)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"tasks must hold one label per case, not an array {labels.shape}")
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]


def _checked(
    values: npt.ArrayLike, tasks: npt.ArrayLike, names: Sequence[str] | None = None
) -> tuple[Floats, list[Integers]]:
    """Values as a matrix and the strata of its columns, or an error that names the fault."""
    matrix, strata = np.asarray(values, dtype=np.float64), _strata(tasks)
    if matrix.ndim != 2 or len(matrix) == 0 or matrix.shape[1] != sum(map(len, strata)):
        raise ValueError(f"no [methods, cases] for {np.size(tasks)} task labels: {matrix.shape}")
    labels = [str(row) for row in range(len(matrix))] if names is None else list(names)
    if len(labels) != len(matrix) or len(set(labels)) != len(labels):
        raise ValueError(f"names must be {len(matrix)} distinct names, not {labels}")
    faulty = [labels[row] for row in np.flatnonzero(~np.isfinite(matrix).all(axis=1))]
    if faulty:
        raise ValueError(f"values must be finite; give each case a value for: {', '.join(faulty)}")
    return matrix, strata
