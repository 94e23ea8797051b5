"""Draws of the cases that there might have been: a paired bootstrap of clusters, stratified by task, seeded.

`values` are finite numbers ``[methods, cases]``, of the order of one; `tasks` labels each case's task
(integers or strings, ``[cases]``), and `clusters` what its cases belong to inside their task: an image or a
network that several cases (or attack seeds) are about. Without clusters every case is one by itself. A
method's score is the mean over tasks of the mean over the task's cases.

Two things are asked at once, and the more careful answer counts: the bootstrap, which follows the skew of the
values and whose tails are too short where clusters are few, so that they are stretched to Student's
(Hesterberg 2015, section 4.3); and Student's t with the degrees of freedom of Satterthwaite (1946) from the
clusters' sums (Cochran 1977, "Sampling techniques", section 6.3), which knows nothing of skew.
`benchmarks/coverage.py` simulates what that covers.

Assumptions: clusters are exchangeable within a task; tasks are fixed, not sampled. A draw resamples the same
clusters for all methods, so that the difficulty which methods share cancels (paired comparison).

Limits: a task of a single cluster adds no spread: with one in every task the interval is a point, which is
not certainty.

Equal seeds give equal draws under one version of numpy; global random state is never touched. ValueError is
raised where shapes do not fit or there is no case, method or draw.

Sources: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979; Hesterberg,
"What teachers should know about the bootstrap", The American Statistician 69, 2015; Satterthwaite, "An
approximate distribution of estimates of variance components", Biometrics Bulletin 2, 1946.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TOLERANCE = 1e-12
DRAWS = 10_000
_KEPT_BYTES = 64_000_000
_KEPT: OrderedDict[tuple[object, ...], tuple[Floats, ...]] = OrderedDict()
"""Weights of the draws asked for last, by what they follow from: a board asks for the same ones again."""


@dataclass(frozen=True)
class Stratum:
    """The cases of one task.

    Args:
        cases: their indices.
        cluster: the number of each one's cluster, from 0.
    """

    cases: Integers
    cluster: Integers

    @cached_property
    def count(self) -> int:
        """Number of clusters."""
        return int(self.cluster.max()) + 1

    def sums(self, values: Floats) -> Floats:
        """Sums over each cluster ``[methods, clusters]`` of values of these cases ``[methods, cases]``."""
        found = np.zeros((len(values), self.count))
        np.add.at(found.T, self.cluster, values.T)
        return found


def strata_of(tasks: npt.ArrayLike, clusters: npt.ArrayLike | None = None) -> list[Stratum]:
    """A stratum for every task, in the order of their labels."""
    labels = np.asarray(tasks)
    if labels.ndim != 1 or len(labels) == 0:
        raise ValueError(f"tasks must hold one label per case, not an array {labels.shape}")
    own = np.arange(len(labels)) if clusters is None else np.asarray(clusters)
    if own.shape != labels.shape:
        raise ValueError(f"clusters must hold one label per case, not an array {own.shape}")
    found = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return [Stratum(cases, np.unique(own[cases], return_inverse=True)[1].reshape(-1)) for cases in found]


def means(matrix: Floats, strata: list[Stratum]) -> Floats:
    """Mean over tasks of the mean over each task's cases."""
    return np.asarray(np.mean([matrix[:, one.cases].mean(axis=1) for one in strata], axis=0))


def bootstrap_weights(
    tasks: npt.ArrayLike,
    draws: int = DRAWS,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> Floats:
    """Weights ``[cases, draws]`` such that ``values @ weights`` are the scores of all draws.

    A draw resamples each task's clusters with replacement (multinomial), one fewer than the task has: as many
    would have (n - 1) / n of the variance in every task, however many tasks there are (Rao and Wu 1988,
    "Resampling inference with complex survey data"). Weights lie in [0, 1], and those of a task sum to
    1 / tasks. More draws under the same seed begin with the same draws. Weights are float64, because a
    coarser type breaks ties between methods by rounding: 160 MB for 2,000 cases and 10,000 draws.
    Everything else here works block by block and never holds more than 64 MB of them.
    """
    return np.concatenate(list(_weight_blocks(strata_of(tasks, clusters), draws, seed)), axis=1)


def intervals(
    values: npt.ArrayLike,
    tasks: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Floats, Floats]:
    """Ends ``[methods]`` of the scores' intervals, which contain the scores; level in (0, 1)."""
    matrix, strata = checked(values, tasks, clusters)
    return ends(matrix, strata, score_draws(matrix, strata, draws, seed), level)


def ends(matrix: Floats, strata: list[Stratum], drawn: Floats, level: float) -> tuple[Floats, Floats]:
    """Ends of intervals, given the scores ``[methods, draws]`` of all draws."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie strictly between 0 and 1, not {level}")
    score, error, freedom = errors(matrix, strata)
    reach = special.stdtrit(freedom, (1 + level) / 2)
    tails = special.ndtr(-reach)  # as far out as Student's quantile lies, if draws were normal
    low = np.array([np.quantile(row, tail) for row, tail in zip(drawn, tails, strict=True)])
    high = np.array([np.quantile(row, 1 - tail) for row, tail in zip(drawn, tails, strict=True)])
    return np.minimum(low, score - reach * error), np.maximum(high, score + reach * error)


def score_draws(matrix: Floats, strata: list[Stratum], draws: int, seed: int) -> Floats:
    """Scores ``[methods, draws]`` of all draws."""
    return np.concatenate([matrix @ weights for weights in _weight_blocks(strata, draws, seed)], axis=1)


def errors(matrix: Floats, strata: list[Stratum]) -> tuple[Floats, Floats, Floats]:
    """Scores, their standard errors and Satterthwaite's degrees of freedom (1 at least), each ``[methods]``.

    Errors that are nothing but rounding are 0.
    """
    variance, squares = np.zeros((2, len(matrix)))
    for one in strata:
        if one.count > 1:
            own = matrix[:, one.cases]
            residuals = one.sums(own - own.mean(axis=1, keepdims=True))
            part = (residuals**2).sum(axis=1) * one.count / (one.count - 1) / len(one.cases) ** 2
            part[part < TOLERANCE**2] = 0
            variance += part
            squares += part**2 / (one.count - 1)
    most = max(1, sum(one.count - 1 for one in strata))
    freedom = np.full(len(matrix), float(most))
    np.divide(variance**2, squares, out=freedom, where=squares > 0)
    return means(matrix, strata), np.sqrt(variance) / len(strata), np.clip(freedom, 1, most)


def pairwise_p_values(
    values: npt.ArrayLike,
    tasks: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Two-sided paired p-values of all pairs ``[methods, methods]`` in (0, 1], uncorrected.

    The largest of three. That of Student's t. The bootstrap's ``2 * (1 + min(#(difference <= 0),
    #(difference >= 0))) / (draws + 1)``, read as a normal deviate and looked up in Student's distribution;
    where no draw lies beyond 0 it is smaller than draws can tell, and says nothing. And
    ``2 ** (1 - k)``, with k the number of clusters in which the two methods differ: the least p-value of an
    exact sign test on k clusters, without which one or two, which hardly vary when resampled, would count as
    overwhelming evidence. Symmetric; 1 on the diagonal and between identical methods.
    """
    matrix, strata = checked(values, tasks, clusters)
    first, second = np.triu_indices(len(matrix), k=1)
    # Differences come before resampling: identical methods differ by exactly 0 in every draw.
    differences = matrix[first] - matrix[second]
    below, above = np.zeros((2, len(first)), dtype=np.int64)
    for weights in _weight_blocks(strata, draws, seed):
        drawn = differences @ weights
        below += (drawn <= TOLERANCE).sum(axis=1)
        above += (drawn >= -TOLERANCE).sum(axis=1)
    beyond = np.minimum(below, above)
    score, error, freedom = errors(differences, strata)
    apart = np.divide(np.abs(score), error, out=np.full(len(first), np.inf), where=error > 0)
    shares = np.minimum(2 * (1 + beyond) / (draws + 1), 1)
    deviates = np.where(beyond > 0, -special.ndtri(shares / 2), np.inf)
    p_of_pairs = 2 * special.stdtr(freedom, -np.minimum(apart, deviates))
    differing = sum((one.sums(np.abs(differences[:, one.cases])) > TOLERANCE).sum(axis=1) for one in strata)
    p_of_pairs = np.maximum(p_of_pairs, 2.0 ** (1 - differing))
    p_values = np.ones((len(matrix), len(matrix)))
    p_values[first, second] = p_values[second, first] = np.minimum(p_of_pairs, 1.0)
    return p_values


def widening(matrix: Floats, strata: list[Stratum], best: int, drawn: Floats, level: float) -> float:
    """Factor, 1 at least, that the interval of the best of several variants needs for having been chosen.

    The quantile of the largest studentized deviation of all of them in a draw, over that of the best alone
    (the max statistic of Westfall and Young, "Resampling-based multiple testing", 1993).
    """
    score, error, _ = errors(matrix, strata)
    if error[best] == 0:
        return 1.0
    away = np.abs(drawn - score[:, None]) / np.where(error > 0, error, np.inf)[:, None]
    alone, largest = np.quantile(away[best], level), np.quantile(away.max(axis=0), level)
    return float(max(1.0, largest / alone)) if alone > 0 else 1.0


def checked(
    values: npt.ArrayLike, tasks: npt.ArrayLike, clusters: npt.ArrayLike | None = None
) -> tuple[Floats, list[Stratum]]:
    """Values as a matrix and the strata of its columns, or an error that names the fault."""
    matrix, strata = np.asarray(values, dtype=np.float64), strata_of(tasks, clusters)
    if matrix.ndim != 2 or len(matrix) == 0 or matrix.shape[1] != np.size(tasks):
        raise ValueError(f"no [methods, cases] for {np.size(tasks)} task labels: {matrix.shape}")
    faulty = np.flatnonzero(~np.isfinite(matrix).all(axis=1)).tolist()
    if faulty:
        raise ValueError(f"values must be finite; give each case a value for: {', '.join(map(str, faulty))}")
    return matrix, strata


def _weight_blocks(strata: list[Stratum], draws: int, seed: int) -> Iterable[Floats]:
    """Bootstrap weights in blocks of consecutive draws, each at most 16 MB (or a single draw); read only."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1, not {draws}")
    cases = sum(len(one.cases) for one in strata)
    size = 8 * cases * draws
    if size > _KEPT_BYTES:
        return _fresh_blocks(strata, draws, seed)
    key = (draws, seed, *(part.tobytes() for one in strata for part in (one.cases, one.cluster)))
    if key not in _KEPT:
        while _KEPT and size + sum(block.nbytes for kept in _KEPT.values() for block in kept) > _KEPT_BYTES:
            _KEPT.popitem(last=False)
        _KEPT[key] = tuple(_fresh_blocks(strata, draws, seed))
    _KEPT.move_to_end(key)
    return _KEPT[key]


def _fresh_blocks(strata: list[Stratum], draws: int, seed: int) -> Iterator[Floats]:
    """The same, drawn."""
    cases = sum(len(one.cases) for one in strata)
    size = min(1_000, max(1, 2_000_000 // cases))
    # One generator per task: the draws do not depend on the size of the blocks.
    generators = np.random.default_rng(seed).spawn(len(strata))
    for start in range(0, draws, size):
        weights = np.empty((cases, min(size, draws - start)))
        for one, generator in zip(strata, generators, strict=True):
            drawn = max(1, one.count - 1)
            counts = generator.multinomial(drawn, np.full(one.count, 1 / one.count), size=weights.shape[1])
            own = counts.T[one.cluster].astype(float)
            weights[one.cases] = own / (own.sum(axis=0) * len(strata))
        weights.flags.writeable = False
        yield weights
