"""The statistics of the boards: their algebra, their coverage and their traps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from benchmark.boards import resampling
from benchmark.boards.resampling import bootstrap_weights, errors, intervals, pairwise_p_values, strata_of
from benchmark.boards.statistics import Standing, holm, rank, rank_families, scores

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Board = tuple[Floats, Labels]

# Coarse values make ties frequent; the fine grid makes them rare, and none a matter of rounding.
VALUES = st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.integers(0, 1024).map(lambda k: k / 1024)
P_VALUES = st.lists(st.sampled_from([0.0, 0.01, 0.02, 0.05, 1.0]) | st.floats(0, 1), max_size=12)
few = settings(max_examples=40, deadline=None)


@st.composite
def boards(draw: st.DrawFn) -> Board:
    """Values ``[1-6 methods, 1-20 cases]``, methods shifted apart by chance, of 1-3 tasks."""
    methods, cases = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    rows = st.lists(VALUES, min_size=cases, max_size=cases)
    values = np.array(draw(st.lists(rows, min_size=methods, max_size=methods)))
    shifts = draw(st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=methods, max_size=methods))
    tasks = draw(st.lists(st.integers(0, 2), min_size=cases, max_size=cases))
    return values + np.array(shifts)[:, None], np.array(tasks)


def places(standings: list[Standing]) -> list[tuple[int, int, int, int]]:
    """The whole numbers of the standings, which must agree exactly."""
    return [(s.rank, s.rank_low, s.rank_high, s.tie_group) for s in standings]


def estimates(standings: list[Standing]) -> Floats:
    """Scores and interval ends ``[methods, 3]``, which may differ by rounding."""
    return np.array([(s.score, s.ci_low, s.ci_high) for s in standings])


# --- scores and weights -------------------------------------------------------------------------


def test_tasks_count_equally() -> None:
    """Three cases of one task weigh as much as the one case of another."""
    assert scores([[1.0, 1.0, 1.0, 0.0]], ["a", "a", "a", "b"]) == pytest.approx([0.5])


@few
@given(boards(), st.integers(0, 99))
def test_scores_follow_permutations(board: Board, seed: int) -> None:
    """The order of methods and cases carries no meaning."""
    values, tasks = board
    generator = np.random.default_rng(seed)
    rows, columns = generator.permutation(len(values)), generator.permutation(len(tasks))
    permuted = scores(values[rows][:, columns], tasks[columns])
    np.testing.assert_allclose(permuted, scores(values, tasks)[rows], atol=1e-14)


@few
@given(boards(), st.integers(0, 5))
def test_weights_are_resampled_cases(board: Board, seed: int) -> None:
    """Every draw takes one case fewer of each task than it has, one at least, and tasks weigh equally."""
    _, tasks = board
    weights = bootstrap_weights(tasks, draws=20, seed=seed)
    labels = np.unique(tasks)
    for label in labels:
        drawn = max(1, np.sum(tasks == label) - 1)
        counts = weights[tasks == label] * drawn * len(labels)
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-12)
        np.testing.assert_allclose(counts.sum(axis=0), drawn)


def test_more_draws_begin_with_the_same_draws() -> None:
    """The blocks that bound memory do not show in the draws."""
    tasks = np.arange(90) % 4
    many = bootstrap_weights(tasks, draws=2_345, seed=3)
    np.testing.assert_array_equal(many[:, :777], bootstrap_weights(tasks, draws=777, seed=3))


def test_the_spread_of_draws_is_the_standard_error_of_a_mean_in_every_task() -> None:
    """Drawing as many as there are would be too narrow by the root of (n - 1) / n, in every task."""
    generator = np.random.default_rng(3)
    tasks = np.arange(40) % 10  # ten tasks of four cases
    values = generator.normal(size=40)
    expected = np.sqrt(sum(values[tasks == t].var(ddof=1) / 4 for t in range(10))) / 10
    drawn = values @ bootstrap_weights(tasks, draws=40_000)
    assert drawn.std() == pytest.approx(expected, rel=0.03)


def test_draws_agree_with_a_loop_that_resamples() -> None:
    """Mean, spread and quantiles equal those of a resampler written as plain loops."""
    generator = np.random.default_rng(0)
    values = generator.gamma(1.0, size=17)
    tasks = np.array([0] * 4 + [1] * 10 + [2] * 3)
    looped = []
    for _ in range(4_000):
        means = []
        for task in range(3):
            own = [value for value, label in zip(values, tasks, strict=True) if label == task]
            means.append(np.mean([own[generator.integers(len(own))] for _ in own[1:]]))
        looped.append(np.mean(means))
    drawn = values @ bootstrap_weights(tasks, draws=20_000)
    levels = [0.025, 0.25, 0.5, 0.75, 0.975]
    spread = float(np.std(looped))
    assert drawn.mean() == pytest.approx(np.mean(looped), abs=0.07 * spread)
    assert drawn.std() == pytest.approx(spread, rel=0.05)
    np.testing.assert_allclose(np.quantile(drawn, levels), np.quantile(looped, levels), atol=0.15 * spread)


def test_strata_remove_the_spread_between_tasks() -> None:
    """Two tasks of constant cases leave nothing to resample, however far apart they lie."""
    draws = np.array([0.0] * 5 + [1.0] * 9) @ bootstrap_weights([0] * 5 + [1] * 9, draws=50)
    np.testing.assert_allclose(draws, 0.5, atol=1e-14)


# --- intervals ----------------------------------------------------------------------------------


def test_intervals_are_the_wider_of_stretched_percentiles_and_students() -> None:
    """Of skewed cases of one task, written down anew."""
    values = np.random.default_rng(4).gamma(0.5, size=12)
    low, high = intervals(values[None], np.zeros(12))
    reach = stats.t.ppf(0.975, 11)
    percentiles = np.quantile(values @ bootstrap_weights(np.zeros(12)), stats.norm.cdf([-reach, reach]))
    half = reach * values.std(ddof=1) / np.sqrt(12)
    assert low[0] == pytest.approx(min(percentiles[0], values.mean() - half))
    assert high[0] == pytest.approx(max(percentiles[1], values.mean() + half))


def test_errors_are_those_of_a_textbook() -> None:
    """Welch's two samples: a difference of tasks has the same error and degrees of freedom as their mean."""
    generator = np.random.default_rng(5)
    first, second = generator.normal(size=6), generator.normal(scale=3, size=15)
    _, error, freedom = errors(np.hstack([first, second])[None], strata_of([0] * 6 + [1] * 15))
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert error[0] == pytest.approx(np.sqrt(first.var(ddof=1) / 6 + second.var(ddof=1) / 15) / 2)
    assert freedom[0] == pytest.approx(welch.df)


@pytest.mark.parametrize("cases", [4, 15])
def test_intervals_cover_the_truth(cases: int) -> None:
    """At least 93 % of 1,500 simulated data sets (skewed cases of 2 tasks) cover their truth."""
    generator = np.random.default_rng(1)
    tasks = np.repeat([0, 1], [cases, 2 * cases])
    data_sets = np.hstack([generator.beta(2, 5, (1_500, cases)), generator.beta(6, 2, (1_500, 2 * cases))])
    truth = (2 / 7 + 6 / 8) / 2
    low, high = intervals(data_sets, tasks, draws=1_500)
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.985


def test_seeds_of_one_case_are_no_further_cases() -> None:
    """Five seeds that say the same of ten cases leave interval and p-values as one does."""
    values = np.random.default_rng(6).normal(size=(2, 10))
    tasks, cases = np.repeat([0, 1], 5), np.arange(10)
    often, labels, clusters = np.repeat(values, 5, axis=1), np.repeat(tasks, 5), np.repeat(cases, 5)
    np.testing.assert_allclose(intervals(often, labels, clusters), intervals(values, tasks), atol=1e-12)
    once = pairwise_p_values(values, tasks)
    np.testing.assert_allclose(pairwise_p_values(often, labels, clusters), once, atol=1e-12)
    assert pairwise_p_values(often, labels)[0, 1] < once[0, 1], "without clusters seeds count as cases"


def test_clusters_of_several_sizes_weigh_by_their_cases() -> None:
    """A draw is a mean over the drawn cases; what is drawn is whole networks."""
    clusters = np.array([0, 0, 0, 1, 2, 2])
    weights = bootstrap_weights(np.zeros(6), 50, clusters=clusters)
    np.testing.assert_allclose(weights.sum(axis=0), 1)
    np.testing.assert_allclose(weights[0], weights[2])
    assert (weights[3] == 1).any(), "both draws may be of the network with one case"


def test_one_case_per_task_has_a_point_interval_and_no_significance() -> None:
    """Nothing varies when resampled: the interval is a point, but no method may claim victory."""
    standings = rank([[0.9, 0.8], [0.1, 0.2]], ["a", "b"])
    np.testing.assert_allclose(estimates(standings), [[0.85] * 3, [0.15] * 3])
    assert places(standings) == [(1, 1, 2, 1), (2, 1, 2, 1)]


# --- p-values -----------------------------------------------------------------------------------


@few
@given(boards())
def test_p_values_are_symmetric_and_never_zero(board: Board) -> None:
    """A matrix in (0, 1], 1 on its diagonal and between identical methods."""
    values, tasks = board
    p_values = pairwise_p_values(np.vstack([values, values[:1]]), tasks, draws=50)
    np.testing.assert_array_equal(p_values, p_values.T)
    assert np.all((p_values > 0) & (p_values <= 1))
    assert np.all(np.diag(p_values) == 1) and p_values[0, -1] == 1


def test_p_value_equals_its_definition() -> None:
    """The larger of Student's and of what is counted over the draws, its deviate looked up in Student's."""
    generator = np.random.default_rng(2)
    values, tasks = generator.normal(size=(2, 40)), np.arange(40) % 2
    values[0] += 0.3
    difference = (values[0] - values[1]) @ bootstrap_weights(tasks, draws=500, seed=9)
    tail = min(np.sum(difference <= 0), np.sum(difference >= 0))
    assert tail > 0
    observed = pairwise_p_values(values, tasks, draws=500, seed=9)[0, 1]
    apart = values[0] - values[1]
    deviate = stats.norm.isf((1 + tail) / 501)
    _, error, freedom = errors(apart[None], strata_of(tasks))
    student = min(deviate, abs(scores(apart[None], tasks)[0]) / error[0])
    assert observed == pytest.approx(2 * stats.t.sf(student, freedom[0]))


def test_rounding_breaks_no_tie_of_draws() -> None:
    """Draws that tie in whole numbers, which are exact here, also tie in tenths."""
    steps = np.random.default_rng(7).integers(-2, 4, size=(6, 32))
    exact = pairwise_p_values(steps, np.zeros(32), draws=2_000)
    np.testing.assert_allclose(pairwise_p_values(0.1 * steps, np.zeros(32), draws=2_000), exact, rtol=1e-9)


@pytest.mark.parametrize("differing", [0, 1, 2, 5])
def test_few_differing_cases_are_no_evidence(differing: int) -> None:
    """The p-value never falls below that of an exact sign test on the cases that differ."""
    values = np.zeros((2, 30))
    values[0, :differing] = 1.0
    assert pairwise_p_values(values, np.zeros(30))[0, 1] >= min(1.0, 2.0 ** (1 - differing))


@pytest.mark.parametrize("cases", [2, 4, 30])
def test_false_positives_stay_rare(cases: int) -> None:
    """Two methods of equal merit are told apart about once in twenty data sets, or less."""
    generator = np.random.default_rng(cases)
    tasks = np.zeros(cases)
    found = [
        pairwise_p_values(generator.normal(size=(2, cases)), tasks, draws=400)[0, 1] <= 0.05
        for _ in range(300)
    ]
    assert np.mean(found) <= 0.07


def test_pairing_finds_a_small_difference_under_large_shared_variance() -> None:
    """Intervals overlap almost wholly, and yet every case says which method is better."""
    generator = np.random.default_rng(3)
    shared = generator.normal(scale=10.0, size=80)
    lower, upper = rank(np.stack([shared, shared + 0.01]), np.arange(80) % 2)
    assert lower.ci_high > upper.ci_low
    assert places([lower, upper]) == [(2, 2, 2, 2), (1, 1, 1, 1)]


# --- Holm ---------------------------------------------------------------------------------------


def holm_by_definition(p_values: list[float]) -> list[float]:
    """Smallest family-wise level at which step-down testing still rejects each hypothesis."""
    adjusted = []
    for own in p_values:
        steps = []
        for other in p_values:
            if other <= own:
                not_smaller = sum(third >= other for third in p_values)
                steps.append(min(1.0, not_smaller * other))
        adjusted.append(max(steps))
    return adjusted


@given(P_VALUES)
def test_holm_equals_its_definition(p_values: list[float]) -> None:
    """Independent implementation, quadratic and free of sorting."""
    np.testing.assert_allclose(holm(p_values), holm_by_definition(p_values), rtol=1e-12)


@given(P_VALUES)
def test_holm_is_monotone_and_never_below_the_raw_values(p_values: list[float]) -> None:
    """Correction keeps the order, and lies between the raw values and Bonferroni's."""
    raw, adjusted = np.array(p_values), holm(p_values)
    assert np.all(np.diff(adjusted[np.argsort(raw)]) >= 0)
    assert np.all(adjusted >= raw) and np.all(adjusted <= np.minimum(1, raw * len(raw)))


def test_holm_on_a_textbook_example() -> None:
    """Four tests, order kept."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


# --- ranking ------------------------------------------------------------------------------------


@few
@given(boards())
def test_intervals_contain_score_and_rank(board: Board) -> None:
    """Also where resampling is skewed, degenerate or tied."""
    values, tasks = board
    for standing in rank(values, tasks, draws=50):
        assert standing.ci_low <= standing.score <= standing.ci_high
        assert 1 <= standing.rank_low <= standing.rank <= standing.rank_high <= len(values)


@few
@given(boards())
def test_ranks_count_strictly_better_methods(board: Board) -> None:
    """Ties share the smallest rank."""
    values, tasks = board
    standings = rank(values, tasks, draws=50)
    for own in standings:
        assert own.rank == 1 + sum(s.score - own.score > 1e-12 for s in standings)


@few
@given(boards())
def test_tie_groups_are_contiguous_and_increase(board: Board) -> None:
    """Down the ranking the group stays or grows by one; equal ranks share their group."""
    standings = sorted(rank(*board, draws=50), key=lambda s: (s.rank, s.tie_group))
    assert standings[0].tie_group == 1
    for above, below in pairwise(standings):
        assert below.tie_group - above.tie_group in (0, 1)
        assert below.rank > above.rank or below.tie_group == above.tie_group


@few
@given(boards())
def test_identical_methods_tie(board: Board) -> None:
    """Copies of a method stand exactly where it stands."""
    values, tasks = board
    standings = rank(np.vstack([values, values]), tasks, draws=50)
    assert places(standings[: len(values)]) == places(standings[len(values) :])


@few
@given(boards(), st.integers(0, 99))
def test_rank_follows_permutations(board: Board, seed: int) -> None:
    """Methods in any order; cases in any order that keeps the order within each task."""
    values, tasks = board
    rows = np.random.default_rng(seed).permutation(len(values))
    columns = np.argsort(tasks, kind="stable")
    expected = rank(values, tasks, draws=50)
    permuted = rank(values[rows][:, columns], tasks[columns], draws=50)
    assert places(permuted) == [places(expected)[row] for row in rows]
    np.testing.assert_allclose(estimates(permuted), estimates(expected)[rows], atol=1e-12)


@few
@given(boards(), st.sampled_from([-2.0, 0.5, 8.0]))
def test_a_constant_shifts_scores_and_intervals_only(board: Board, constant: float) -> None:
    """Ranks and groups do not depend on the origin of the scale."""
    values, tasks = board
    expected = rank(values, tasks, draws=50)
    shifted = rank(values + constant, tasks, draws=50)
    np.testing.assert_allclose(estimates(shifted), estimates(expected) + constant, atol=1e-12)
    assert places(shifted) == places(expected)


@pytest.mark.parametrize("seed", range(4))
def test_groups_and_rank_intervals_equal_their_definition(seed: int) -> None:
    """A chain of small steps: neighbors tie, but not with a leader far above them."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(8, 90)) - 0.25 * generator.permutation(8)[:, None]
    tasks, draws = np.arange(90) % 3, 2_000
    first, second = np.triu_indices(8, k=1)
    p_values = pairwise_p_values(values, tasks, draws=draws, seed=seed)[first, second]
    differ = np.zeros((8, 8), dtype=bool)
    differ[first, second] = np.array(holm_by_definition(p_values.tolist())) <= 0.05
    differ |= differ.T
    down = np.argsort(-scores(values, tasks)).tolist()
    standings = rank(values, tasks, draws=draws, seed=seed)
    group, leader = 1, down[0]
    for place, method in enumerate(down, start=1):
        if differ[leader, method]:
            group, leader = group + 1, method
        above, below = down[: place - 1], down[place:]
        low, high = 1 + int(differ[method, above].sum()), 8 - int(differ[method, below].sum())
        assert places(standings)[method] == (place, low, high, group)
        before = above[-1] if above else None  # ranges of ranks can meet though two neighbours differ
        assert standings[method].apart == (None if before is None else int(differ[before, method]))
    assert 2 <= group < 8


def test_methods_of_equal_merit_share_one_group() -> None:
    """66 uncorrected comparisons would find differences; Holm's correction finds none."""
    generator = np.random.default_rng(8)
    boards_apart = 0
    for seed in range(10):
        standings = rank(generator.normal(size=(12, 100)), np.zeros(100), draws=1_500, seed=seed)
        boards_apart += any((s.rank_low, s.rank_high) != (1, 12) for s in standings)
    assert boards_apart <= 1


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_tied_leaders_close_a_group_together(order: list[int]) -> None:
    """A method that one of two tied leaders beats opens a group, whatever the order of rows."""
    noisy = np.tile([0.0, 2.0], 15)  # ties with the steady method, differs from none below
    values = np.stack([np.full(30, 9.0), np.full(30, 1.0), noisy, np.full(30, 0.9)])
    standings = rank(values[order], np.zeros(30))
    assert [standings[order.index(i)].rank for i in range(4)] == [1, 2, 2, 4]
    assert [standings[order.index(i)].tie_group for i in range(4)] == [1, 2, 2, 3]


def test_rounding_separates_no_ranks() -> None:
    """0.1 + 0.2 ties with 0.3."""
    assert [s.rank for s in rank([[0.1 + 0.2] * 3, [0.3] * 3, [0.2] * 3], [0, 0, 0])] == [1, 1, 3]


def test_many_methods_can_still_be_told_apart() -> None:
    """Holm over 435 pairs asks for more than 10,000 draws can tell: beyond them Student's t says it."""
    values = np.arange(30.0)[:, None] + np.random.default_rng(5).normal(scale=0.01, size=(30, 20))
    assert places(rank(values, np.zeros(20))) == [(30 - i,) * 4 for i in range(30)]


def test_one_method_alone() -> None:
    """Rank 1 of 1."""
    assert places(rank([[0.1, 0.7, 0.3]], [1, 1, 2])) == [(1, 1, 1, 1)]


def test_seed_decides_and_global_state_does_not() -> None:
    """Equal seeds give equal standings; numpy's global generator is neither read nor moved."""
    values, tasks = np.random.default_rng(6).random((3, 30)), ["a", "b", "c"] * 10
    np.random.seed(0)
    before = np.random.get_state(legacy=False)
    first = rank(values, tasks, draws=200, seed=1)
    after = np.random.get_state(legacy=False)
    np.random.seed(1)
    assert rank(values, tasks, draws=200, seed=1) == first
    assert rank(values, tasks, draws=200, seed=2) != first
    assert isinstance(before, dict) and isinstance(after, dict)
    assert before["state"]["pos"] == after["state"]["pos"]
    np.testing.assert_array_equal(before["state"]["key"], after["state"]["key"])


# --- variants -----------------------------------------------------------------------------------


def test_a_method_has_the_rank_of_its_best_variant() -> None:
    """Variants take no places: the third row is second of two methods."""
    steps = np.random.default_rng(9).normal(scale=0.01, size=(4, 20))
    values = steps + np.array([0.5, 0.9, 0.7, 0.6])[:, None]
    found = rank_families(values, np.zeros(20), ["a", "a", "b", "a"])
    assert [one and one.rank for one in found] == [None, 1, 2, None]


def test_tries_have_to_be_paid_for() -> None:
    """What is evidence for one try is none for sixty-four; the worse method's tries do not matter."""
    values = np.random.default_rng(10).normal(scale=0.3, size=(2, 30))
    values[0] += 0.2
    once = rank(values, np.zeros(30))
    assert places(once) == [(1, 1, 1, 1), (2, 2, 2, 2)]
    assert places(rank(values, np.zeros(30), tries=[64, 1])) == [(1, 1, 2, 1), (2, 1, 2, 1)]
    assert rank(values, np.zeros(30), tries=[1, 64]) == once
    with pytest.raises(ValueError, match="tries must be 2 numbers"):
        rank(values, np.zeros(30), tries=[0, 1])


def test_the_best_of_many_equal_variants_is_covered_for_all_that() -> None:
    """Of 20 variants of noise the best looks better than it is; its own interval alone misses often."""
    generator, tasks = np.random.default_rng(11), np.zeros(24)
    widened, alone = 0, 0
    for _ in range(150):
        values = generator.normal(size=(20, 24))
        (best,) = (one for one in rank_families(values, tasks, ["a"] * 20, draws=1_000) if one)
        widened += best.ci_low <= 0 <= best.ci_high
        low, high = intervals(values[[np.argmax(values.mean(1))]], tasks, draws=1_000)
        alone += low[0] <= 0 <= high[0]
    assert widened >= 0.93 * 150 > alone


# --- errors -------------------------------------------------------------------------------------


def test_errors_name_the_fault() -> None:
    """Wrong shapes, absent values and impossible settings never pass silently."""
    values, tasks = [[0.1, 0.2], [0.3, 0.4]], ["a", "b"]
    with pytest.raises(ValueError, match="give each case a value for: 1"):
        rank([[0.1, 0.2], [0.3, float("nan")]], tasks)
    with pytest.raises(ValueError, match="clusters must hold one label per case"):
        rank(values, tasks, [0])
    with pytest.raises(ValueError, match="3 task labels"):
        scores(values, ["a", "b", "b"])
    with pytest.raises(ValueError, match="one label per case"):
        bootstrap_weights([])
    with pytest.raises(ValueError, match="draws must be at least 1"):
        rank(values, tasks, draws=0)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        bootstrap_weights(tasks, draws=0)
    with pytest.raises(ValueError, match="level"):
        rank(values, tasks, level=1.0)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.5, float("nan")])


def test_draws_that_are_kept_are_those_that_would_be_drawn() -> None:
    """Whatever was asked for before, and however much of it is kept."""
    generator = np.random.default_rng(5)
    asked = []
    for count in (6, 9, 40, 6, 9):
        tasks = np.sort(generator.integers(0, 2, count))
        asked.append((generator.random((3, count)), tasks, generator.integers(0, 4, count)))
    for values, tasks, clusters in (*asked, *asked):
        for draws in (7, 2_500):
            matrix, strata = resampling.checked(values, tasks, clusters)
            kept = resampling.score_draws(matrix, strata, draws, 3)
            assert np.array_equal(
                kept, matrix @ np.concatenate([*resampling._fresh_blocks(strata, draws, 3)], axis=1)
            )
            held = sum(block.nbytes for blocks in resampling._KEPT.values() for block in blocks)
            assert held <= resampling._KEPT_BYTES
