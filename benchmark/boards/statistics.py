"""Every rank carries its uncertainty: scores, tie groups and rank intervals from paired draws of cases.

What values, tasks and clusters are, and how cases are drawn, says :mod:`benchmark.boards.resampling`. Scores
tie within `TOLERANCE`. Tasks count equally, whatever their size. Intervals and p-values speak of new cases of
the same tasks, never of new tasks.

Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6, 1979.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from benchmark.boards.resampling import (
    DRAWS,
    TOLERANCE,
    Floats,
    Integers,
    checked,
    ends,
    means,
    pairwise_p_values,
    score_draws,
    widening,
)

FEWEST = 8
"""Clusters below which nothing is ranked: intervals cover less than they say (benchmarks/coverage.py)."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one method stands; ``ci_low <= score <= ci_high``, ``rank_low <= rank <= rank_high``.

    `rank` is 1 + the number of methods with a strictly better score (ties share the smallest
    rank), `rank_low` 1 + the number of significantly better methods, `rank_high` the number of
    methods less the significantly worse ones. `tie_group` counts from 1 down the ranking: no
    method of a group differs significantly from the group's leader. `apart` is 1 where it differs
    significantly from the one before it down the ranking, else 0; None for the first.
    """

    score: float
    ci_low: float
    ci_high: float
    rank: int
    rank_low: int
    rank_high: int
    tie_group: int
    apart: int | None = None


def scores(values: npt.ArrayLike, tasks: npt.ArrayLike) -> Floats:
    """Scores ``[methods]``, each within the range of the method's values."""
    return means(*checked(values, tasks))


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
    clusters: npt.ArrayLike | None = None,
    tries: Sequence[int] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
    floor: int | None = None,
) -> list[Standing]:
    """One `Standing` per method, in the order of the rows; higher is better.

    Methods differ significantly where their scores differ and their p-value, Holm-corrected over all pairs,
    is at most ``1 - level``; the rank interval hence always contains the rank. Down the ranking, methods of
    equal rank enter together: they join the current tie group unless one of them differs significantly from
    its leader (leaders, where the best tie), else they open the next group.

    `tries` says of how many variants each method is the best: a pair's p-value is multiplied by the tries of
    the better of the two, which may be the better one for having been tried more often (Bonferroni).

    `floor` is the row of a method that does nothing: it comes before every other that is not significantly
    better.
    """
    matrix, strata = checked(values, tasks, clusters)
    methods = len(matrix)
    score = means(matrix, strata)
    low, high = ends(matrix, strata, score_draws(matrix, strata, draws, seed), level)
    better = score[None, :] - score[:, None] > TOLERANCE  # [i, j]: j is better than i
    corrected = corrected_p_values(values, tasks, clusters, tries, draws, seed)
    significant = (corrected <= 1 - level) & (better | better.T)
    if floor is not None:
        tier = np.where(better[floor] & significant[floor], 0, 2)
        tier[floor] = 1
        higher = tier[None, :] < tier[:, None]
        better = higher | (better & ~higher.T)
    ranks = 1 + better.sum(axis=1)
    apart: list[int | None] = [None] * methods
    for above, here in pairwise(np.argsort(ranks, kind="stable").tolist()):
        apart[here] = int(significant[above, here] and ranks[above] < ranks[here])
    columns = (
        score,
        np.minimum(low, score),
        np.maximum(high, score),
        ranks,
        1 + (better & significant).sum(axis=1),
        methods - (better.T & significant).sum(axis=1),
        _tie_groups(ranks, significant),
    )
    return [Standing(*row) for row in zip(*(column.tolist() for column in columns), apart, strict=True)]


def corrected_p_values(
    values: npt.ArrayLike,
    tasks: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    tries: Sequence[int] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """p-values of all pairs ``[methods, methods]``, corrected for tries, and by Holm for the pairs.

    ValueError where `tries` are not one number, 1 at least, per method.
    """
    score = scores(values, tasks)
    count = np.ones(len(score), dtype=np.int64) if tries is None else np.asarray(tries)
    if count.shape != score.shape or (count < 1).any():
        raise ValueError(f"tries must be {len(score)} numbers from 1, not {tries}")
    raw = pairwise_p_values(values, tasks, clusters, draws, seed)
    first, second = pairs = np.triu_indices(len(score), k=1)
    of_better = np.where(score[first] >= score[second], count[first], count[second])
    found = np.ones_like(raw)
    found[pairs] = holm(np.minimum(raw[pairs] * of_better, 1))
    return np.minimum(found, found.T)


def rank_families(
    values: npt.ArrayLike,
    tasks: npt.ArrayLike,
    families: Sequence[Hashable],
    clusters: npt.ArrayLike | None = None,
    tries: Sequence[int] | None = None,
    draws: int = DRAWS,
    floor: Hashable | None = None,
) -> list[Standing | None]:
    """Ranks of families of variants, each by its best: a `Standing` for this one, None for the others.

    Its interval is widened for having been chosen (:func:`benchmark.boards.resampling.widening`).

    Args:
        values: of all variants, ``[variants, cases]``.
        tasks: label of each case's task.
        families: label of each variant's family.
        clusters: label of each case's cluster.
        tries: variants of each one's family that were tried; by default those that there are.
        draws: of the bootstrap.
        floor: the family that does nothing, before every other that is not significantly better.
    """
    matrix, strata = checked(values, tasks, clusters)
    score = means(matrix, strata)
    members = {family: np.flatnonzero([other == family for other in families]) for family in families}
    best = {family: int(rows[np.argmax(score[rows])]) for family, rows in members.items()}
    tried = [len(members[family]) if tries is None else tries[best[family]] for family in best]
    nothing = list(best).index(floor) if floor is not None else None
    chosen = rank(matrix[list(best.values())], tasks, clusters, tried, draws, floor=nothing)
    found: list[Standing | None] = [None] * len(matrix)
    for (family, at), standing in zip(best.items(), chosen, strict=True):
        own = matrix[members[family]]
        factor = 1.0
        if len(own) > 1:
            drawn = score_draws(own, strata, draws, 0)
            factor = widening(own, strata, int(np.argmax(score[members[family]])), drawn, LEVEL)
        found[at] = replace(
            standing,
            ci_low=standing.score - factor * (standing.score - standing.ci_low),
            ci_high=standing.score + factor * (standing.ci_high - standing.score),
        )
    return found


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
