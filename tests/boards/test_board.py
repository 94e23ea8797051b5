"""Boards follow their rules: worst cases, failures, skips and controls, on tables made by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from board_tables import (
    BASE,
    CASES,
    INFRA,
    METHODS,
    MISSING,
    MODES,
    Key,
    build_boards,
    failed,
    joined,
    row,
    skipped,
    tables,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.boards import board as board_module
from benchmark.boards.board import hardening_board
from benchmark.boards.gates import control_violations
from benchmark.boards.matrix import mean_table
from benchmark.boards.tables import Tables
from benchmark.boards.words import answer, with_interval


def test_attacks_are_ranked_by_their_mean_on_the_undefended_explanation() -> None:
    made = tables(BASE)
    assert row(made, "attacks", "strong")["score"] == pytest.approx(0.5)
    assert row(made, "attacks", "weak")["score"] == pytest.approx(0.3)
    assert list(build_boards(made)["attacks"]["attack"]) == ["strong", "weak"]


def test_hardenings_are_scored_by_the_worst_case_over_attacks_and_modes_of_each_sample() -> None:
    worst = [0.2, 0.5, 0.3, 0.4]  # by hand, case by case
    assert row(tables(BASE), "hardenings", "soft")["score"] == pytest.approx(1 - np.mean(worst))
    undefended = [0.8, 0.6, 0.9, 0.2]
    assert row(tables(BASE), "hardenings", "none")["score"] == pytest.approx(1 - np.mean(undefended))


@pytest.mark.parametrize(
    ("queries", "misleads"), [([0.2, 0.6, 0.4, 0.6], True), ([0.1, 0.1, 0.2, 0.0], False)]
)
def test_a_hardening_that_queries_move_further_than_gradients_is_said_to_mislead(
    queries: list[float], misleads: bool
) -> None:
    asked = {("asks", "none", "oblivious"): [0.0] * 4, ("asks", "soft", "oblivious"): [0.9] * 4}
    gradients = {
        ("strong", "soft", "adaptive"): [0.1, 0.1, 0.1, 0.0],
        ("weak", "soft", "adaptive"): [0.0] * 4,
    }
    made = tables(BASE | gradients | asked | {("asks", "soft", "adaptive"): queries})
    soft = row(made, "hardenings", "soft")
    assert soft["by_gradients"] == pytest.approx(0.075) and soft["by_queries"] == pytest.approx(
        np.mean(queries)
    )
    assert soft["misleads"] == misleads
    assert pd.isna(row(made, "hardenings", "none")["misleads"])
    said = answer("hardening", build_boards(made)["hardenings"])
    assert ("Gradients mislead attacks on soft (0.45 by queries, 0.08 by gradients)." in said) == misleads


def test_what_a_stranger_says_of_its_attack_speaks_against_no_hardening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = BASE | {("asks", "soft", mode): [0.9] * 4 for mode in MODES}
    assert bool(row(tables(values), "hardenings", "soft")["misleads"])
    monkeypatch.setitem(METHODS, "asks", replace(METHODS["asks"], foreign=True))
    assert "misleads" not in build_boards(tables(values))["hardenings"]


POOL = {
    ("strong", "none", "transfer"): [0.9, 0.9, 0.9, 0.9],
    ("strong", "soft", "transfer"): [0.3, 0.1, 0.5, 0.2],
    ("weak", "soft", "transfer"): [0.0, 0.0, 0.0, 0.0],
    ("weak", "none", "transfer"): [0.0, 0.0, 0.0, 0.0],
}


def pooled(average: list[float]) -> Tables:
    """The base tables with pools; ``average`` is that of what strong made against others than soft."""
    means = {key: {"manipulation_average": values} for key, values in POOL.items()}
    means["strong", "soft", "transfer"] = {"manipulation_average": average}
    return tables(BASE | POOL, columns=means)


def test_what_was_made_against_others_is_part_of_a_hardenings_worst_case_and_of_nothing_else() -> None:
    made = pooled([0.1, 0.1, 0.2, 0.1])
    soft, none = (row(made, "hardenings", name) for name in ("soft", "none"))
    assert soft["score"] == pytest.approx(1 - np.mean([0.3, 0.5, 0.5, 0.4]))
    assert none["score"] == pytest.approx(1 - np.mean([0.9, 0.9, 0.9, 0.9]))
    assert soft["manipulation_transfer"] == pytest.approx((1.1 / 4 + 0) / 2)
    assert soft["manipulation_adaptive"] == pytest.approx((0.7 / 4 + 0.4 / 4) / 2)
    for method in ("strong", "weak"):
        with_pool, alone = row(made, "attacks", method), row(tables(BASE), "attacks", method)
        pd.testing.assert_series_equal(with_pool.drop("coverage"), alone.drop("coverage"), check_names=False)


@pytest.mark.parametrize(("average", "said"), [([0.3, 0.6, 0.3, 0.6], True), ([0.1, 0.1, 0.2, 0.1], False)])
def test_a_hardening_that_others_forgeries_move_further_on_average_is_told(
    average: list[float], said: bool
) -> None:
    board = build_boards(pooled(average))["hardenings"]
    assert bool(board.set_index("hardening").loc["soft", "transfers"]) == said
    words = "What was made against others moves soft further than what was made against it."
    assert (words in answer("hardening", board)) == said


def test_a_hardening_that_fails_under_a_pool_has_no_rank_and_one_whose_pool_failed_keeps_it() -> None:
    key = ("strong", "soft", "transfer")
    rest = {k: values for k, values in (BASE | POOL).items() if k != key}
    at_fault, spared = (
        row(tables(rest, {key: failed(culprit)}), "hardenings", "soft") for culprit in ("soft", "hard")
    )
    assert pd.isna(at_fault["rank"]) and at_fault["note"].startswith("it failed under what strong made")
    assert spared["rank"] == 2 and spared["score"] == row(tables(BASE), "hardenings", "soft")["score"]


def test_bounds_of_controls_are_of_means_and_not_of_the_worst_of_a_pool() -> None:
    lost = {("strong", "none", "transfer"): {"fidelity": [np.nan] * 4}}
    assert control_violations(tables(BASE | POOL, columns=lost)) == []


def test_few_cases_have_an_order_and_no_ranks() -> None:
    few, enough = build_boards(tables(BASE), fewest=5), build_boards(tables(BASE), fewest=4)
    for name in ("attacks", "hardenings", "matrix"):
        columns = ["rank", "rank_low", "rank_high", "tie_group", "apart"]
        assert few[name][columns].isna().all(axis=None) and enough[name]["rank"].notna().any()
        pd.testing.assert_frame_equal(few[name].drop(columns=columns), enough[name].drop(columns=columns))
    assert board_module.build_boards(tables(BASE))["attacks"]["rank"].isna().all()
    said = answer("attack", few["attacks"])
    assert said.startswith("strong manipulates most (0.50 ")
    assert said.endswith(" 4 cases are too few to rank: the order is no more than one.")


def test_a_board_of_few_cases_has_no_ranks_though_others_of_the_track_have() -> None:
    """Detectors are asked on one task, hardenings on two: eight cases rank, four do not."""
    asked = {("strong", "gap", mode): [0.1, 0.2, 0.3, 0.4] for mode in ("oblivious", "adaptive")}
    both = joined(tables(BASE | asked), tables(BASE, task="saliency/two"))
    boards = build_boards(both, fewest=5)
    assert boards["hardenings"]["rank"].notna().any() and boards["detectors"]["rank"].isna().all()
    field = boards["matrix"].set_index("defense")
    assert field.loc["none", "rank"].notna().any() and field.loc["gap", "rank"].isna().all()


def test_without_an_attack_by_queries_nothing_is_said_of_gradients() -> None:
    assert "misleads" not in build_boards(tables(BASE))["hardenings"]


def test_an_attack_under_the_best_defense_is_the_larger_of_both_modes() -> None:
    strong = row(tables(BASE), "attacks", "strong")
    assert strong["best_defense"] == "soft"
    assert strong["score_best_defense"] == pytest.approx(np.mean([0.2, 0.5, 0.1, 0.0]))


def test_scores_are_means_over_tasks_of_means_over_cases() -> None:
    other = {key: [0.0] * 4 for key in BASE}
    made = joined(tables(BASE), tables(other, task="saliency/two"))
    assert row(made, "attacks", "strong")["score"] == pytest.approx(0.25)
    assert row(made, "hardenings", "soft")["score"] == pytest.approx((0.65 + 1.0) / 2)


@pytest.mark.parametrize("status", ["crashed", "timeout", "oom", "invalid"])
def test_an_attack_that_fails_counts_as_no_manipulation(status: str) -> None:
    key = ("weak", "none", "oblivious")
    made = tables(without(key), {key: failed("weak", status)})
    weak = row(made, "attacks", "weak")
    assert weak["score"] == 0 and weak["rank"] == 2
    assert weak["coverage"] == pytest.approx(2 / 3)


def test_an_attack_that_fails_in_one_mode_counts_by_the_other() -> None:
    key = ("strong", "soft", "adaptive")
    made = tables(without(key), {key: failed("strong")})
    assert row(made, "hardenings", "soft")["score"] == pytest.approx(1 - np.mean([0.2, 0.2, 0.3, 0.4]))


@pytest.mark.parametrize("status", ["crashed", "timeout", "oom", "invalid"])
@pytest.mark.parametrize("mode", ["oblivious", "adaptive"])
def test_a_hardening_that_fails_counts_as_fully_manipulated(mode: str, status: str) -> None:
    key = ("strong", "soft", mode)
    made = tables(without(key), {key: failed("soft", status)})
    soft = row(made, "hardenings", "soft")
    assert soft["score"] == 0
    assert pd.isna(soft["rank"]) if mode == "adaptive" else soft["rank"] == 2, "it is ranked, and below none"


def test_a_hardening_that_fails_on_one_task_is_scored_on_all() -> None:
    keys = [key for key in BASE if key[1] == "soft"]
    broken = tables(without(*keys), dict.fromkeys(keys, failed("soft")), task="saliency/two")
    made = joined(tables(BASE), broken)
    assert row(made, "hardenings", "soft")["score"] == pytest.approx((0.65 + 0) / 2)


def test_a_hardening_that_is_skipped_protects_as_little_as_none() -> None:
    keys = [key for key in BASE if key[1] == "soft"]
    made = tables(without(*keys), dict.fromkeys(keys, skipped("soft")))
    soft, none = (row(made, "hardenings", name) for name in ("soft", "none"))
    assert soft["score"] == pytest.approx(none["score"])
    assert soft["rank"] == 2 and pd.isna(none["rank"])
    assert soft["coverage"] == 0


def test_an_attack_that_is_skipped_manipulates_nothing() -> None:
    keys = [key for key in BASE if key[0] == "weak"]
    made = tables(without(*keys), dict.fromkeys(keys, skipped("weak")))
    assert row(made, "attacks", "weak")["score"] == 0
    assert row(made, "hardenings", "soft")["score"] == pytest.approx(1 - np.mean([0.2, 0.5, 0.1, 0.0]))


@pytest.mark.parametrize("end", [INFRA, MISSING], ids=["infra", "missing"])
@pytest.mark.parametrize("key", [("weak", "none", "oblivious"), ("weak", "soft", "adaptive")])
def test_what_has_not_run_through_no_fault_of_a_method_is_shown_without_a_rank(
    key: Key, end: dict[str, str]
) -> None:
    made = tables(without(key), {key: end})
    board, name = ("attacks", "weak") if key[1] == "none" else ("hardenings", "soft")
    found = row(made, board, name)
    assert pd.isna(found["rank"]) and pd.isna(found["score"])
    assert found["coverage"] < 1


def test_a_cell_that_was_never_planned_leaves_a_method_without_a_rank() -> None:
    made = tables(without(("weak", "soft", "oblivious"), ("weak", "soft", "adaptive")))
    assert pd.isna(row(made, "hardenings", "soft")["rank"])


def test_coverage_is_the_share_of_cells_that_ended_ok() -> None:
    assert row(tables(BASE), "attacks", "strong")["coverage"] == 1
    keys = [("weak", "soft", "oblivious"), ("weak", "soft", "adaptive")]
    made = tables(without(*keys), {keys[0]: failed("weak"), keys[1]: skipped("weak")})
    assert row(made, "attacks", "weak")["coverage"] == pytest.approx(1 / 3)
    assert row(made, "hardenings", "soft")["coverage"] == pytest.approx(2 / 4)


def test_controls_are_shown_last_and_without_a_rank() -> None:
    values = {
        **BASE,
        ("identity", "none", "oblivious"): [0.0] * 4,
        ("identity", "soft", "oblivious"): [0.0] * 4,
    }
    boards = build_boards(tables(values))
    assert list(boards["attacks"]["attack"]) == ["strong", "weak", "identity"]
    assert boards["attacks"]["rank"].isna().tolist() == [False, False, True]
    assert boards["attacks"]["control"].tolist() == [False, False, True]
    assert list(boards["hardenings"]["hardening"]) == ["none", "soft"], "on four cases not told from none"
    assert boards["hardenings"]["rank"].isna().tolist() == [True, False]


def test_a_controls_attack_harms_no_defense() -> None:
    values = {
        **BASE,
        ("noise", "none", "oblivious"): [1.0] * 4,
        ("noise", "soft", "oblivious"): [1.0] * 4,
    }
    expected = row(tables(BASE), "hardenings", "soft")["score"]
    assert row(tables(values), "hardenings", "soft")["score"] == expected


def detector_tables(detected: list[float]) -> Tables:
    """A detector beside the undefended explanation."""
    key = ("strong", "gap", "oblivious")
    values = {("strong", "none", "oblivious"): [0.8, 0.6, 0.4, 0.2], key: [0.8, 0.6, 0.4, 0.2]}
    return tables(values, columns={key: {"detected": detected, "auroc": [0.5, 1.0, 0.5, 1.0]}})


def test_detectors_are_scored_by_what_is_manipulated_and_not_detected() -> None:
    gap = row(detector_tables([1.0, 0.0, 1.0, 0.0]), "detectors", "gap")
    assert gap["score"] == pytest.approx(1 - np.mean([0.0, 0.6, 0.0, 0.2]))
    assert gap["detection_rate"] == pytest.approx(0.5) and gap["evasion"] == pytest.approx(0.5)
    assert gap["auroc"] == pytest.approx(0.75)
    assert row(detector_tables([1.0] * 4), "detectors", "gap")["score"] == 1
    assert row(detector_tables([0.0] * 4), "detectors", "gap")["score"] == pytest.approx(0.5)


def test_a_detector_that_fails_counts_as_fully_fooled_and_a_skipped_one_detects_nothing() -> None:
    key = ("strong", "gap", "oblivious")
    undefended = {("strong", "none", "oblivious"): [0.8, 0.6, 0.4, 0.2]}
    assert row(tables(undefended, {key: failed("gap")}), "detectors", "gap")["score"] == 0
    gap = row(tables(undefended, {key: skipped("gap")}), "detectors", "gap")
    assert gap["score"] == pytest.approx(0.5)


def test_the_matrix_has_the_mean_of_every_pair_and_mode() -> None:
    matrix = build_boards(tables(BASE))["matrix"].set_index(["attack", "defense", "mode"])
    assert len(matrix) == len(BASE)
    for key, values in BASE.items():
        assert matrix.loc[key, "score"] == pytest.approx(np.mean(values))
        assert matrix.loc[key, "n"] == len(CASES)
        assert matrix.loc[key, "cases"] == matrix.loc[key, "clusters"] == len(CASES)


def test_of_one_case_under_several_seeds_a_table_shows_no_interval() -> None:
    """Seeds are no other cases: their interval of [.44, .44] reads like certainty."""
    found = tables(BASE)
    one = found.samples.drop_duplicates(["task", "attack", "defense", "mode"])
    seeds = pd.concat([one.assign(seed=seed) for seed in range(3)])
    means = mean_table(replace(found, samples=seeds), ["task", "attack", "defense", "mode"])
    assert (means["n"] == 3).all() and (means["cases"] == 1).all() and (means["clusters"] == 1).all()
    assert "one case" in with_interval(means.iloc[0], 2)


def test_cases_are_counted_in_each_group_though_others_have_as_many_samples_of_one_network() -> None:
    """Three seeds of a case and three cases of one network are drawn alike, and are not as many cases."""
    chosen = [("strong", "none", "oblivious"), ("weak", "none", "oblivious")]
    found = tables({key: BASE[key] for key in chosen})
    here = found.samples.assign(victim="a")
    other = here.assign(sample_id=here["sample_id"] + "-b", victim="b").drop_duplicates("attack")
    strong, weak = (here[here["attack"] == name] for name in ("strong", "weak"))
    seeds = pd.concat([strong.iloc[:1].assign(seed=seed) for seed in range(3)])
    rows = pd.concat([seeds, weak.iloc[:3], other])
    means = mean_table(replace(found, samples=rows), ["task", "attack", "defense", "mode"]).set_index(
        "attack"
    )
    assert means.loc["strong", "cases"] == 2 and means.loc["weak", "cases"] == 4
    assert means.loc["strong", "clusters"] == means.loc["weak", "clusters"] == 2


@settings(max_examples=15, deadline=None)
@given(
    numbers=st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12),
    ending=st.sampled_from(["ok", "failed attack", "skipped attack", "failed defense"]),
)
def test_one_attack_more_never_raises_the_score_of_a_defense(numbers: list[float], ending: str) -> None:
    few = {key: values for key, values in BASE.items() if key[0] == "strong"}
    keys: list[Key] = [
        ("weak", "none", "oblivious"),
        ("weak", "soft", "oblivious"),
        ("weak", "soft", "adaptive"),
    ]
    values = {key: numbers[4 * i : 4 * i + 4] for i, key in enumerate(keys)}
    ends = {
        "ok": {},
        "failed attack": dict.fromkeys(keys, failed("weak")),
        "skipped attack": dict.fromkeys(keys, skipped("weak")),
        "failed defense": {key: failed("soft") for key in keys if key[1] == "soft"},
    }[ending]
    more = tables({**few, **{k: v for k, v in values.items() if k not in ends}}, ends)
    for name in ("soft", "none"):
        before, after = (
            hardening_board(made).set_index("hardening").loc[name, "score"] for made in (tables(few), more)
        )
        assert after <= before + 1e-12, f"{name} rises from {before} to {after}"


def test_the_order_of_rows_changes_no_board() -> None:
    made = tables(BASE)
    turned = Tables(made.cells, made.samples.iloc[::-1].reset_index(drop=True), METHODS)
    for name, board in build_boards(made).items():
        pd.testing.assert_frame_equal(board, build_boards(turned)[name], obj=name)


def test_boards_of_failures_only_are_no_error() -> None:
    keys = list(BASE)
    for kept, end in itertools.product([keys[:1], keys[:2]], [failed("soft"), MISSING, INFRA]):
        ends = {key: end for key in keys if key not in kept}
        boards = build_boards(tables({key: BASE[key] for key in kept}, ends))
        assert "attacks" in boards


def test_samples_without_any_detectors_columns_are_no_error() -> None:
    undefended = ("strong", "none", "oblivious")
    made = tables({undefended: BASE[undefended]}, {("strong", "gap", "oblivious"): failed("gap")})
    bare = Tables(made.cells, made.samples.drop(columns=["detected", "auroc"]), METHODS)
    assert row(bare, "detectors", "gap")["score"] == 0


def test_a_track_of_which_nothing_has_run_leaves_the_others_their_boards() -> None:
    """Its samples are none, and no column of none is missing."""
    made = tables(BASE)
    missing = tables({}, {("strong", "none", "oblivious"): failed("strong")}, task="signature/one")
    cells = pd.concat([made.cells, missing.cells.assign(track="signature")], ignore_index=True)
    boards = build_boards(Tables(cells, made.samples, METHODS))
    assert set(boards["hardenings"]["track"]) == {"saliency"}
