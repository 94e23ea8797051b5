"""A difference between two fields of a board is about the same cases, or one of them is empty."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from board_tables import BASE, INFRA, Key, build_boards, failed, joined, row, skipped, tables

OBLIVIOUS = {key: [1.0] * 4 for key in BASE if key[2] == "oblivious"}
"""A second task, where attacks reach everything, without a mode adaptive."""


def field(board: pd.DataFrame, *key: str) -> pd.Series:
    """A field of the matrix."""
    return board.set_index(["attack", "defense", "mode"]).loc[key]


def test_modes_are_compared_on_tasks_that_have_all_of_them() -> None:
    made = joined(tables(BASE), tables(OBLIVIOUS, task="saliency/two"))
    alone, both = build_boards(tables(BASE)), build_boards(made)
    pd.testing.assert_frame_equal(both["matrix"], alone["matrix"])
    for column in ("manipulation_oblivious", "manipulation_adaptive"):
        for name in ("soft", "none"):
            found, before = (row(t, "hardenings", name)[column] for t in (made, tables(BASE)))
            assert found == pytest.approx(before, nan_ok=True)
    assert row(made, "hardenings", "soft")["score"] < row(tables(BASE), "hardenings", "soft")["score"]


def test_without_a_task_that_has_all_modes_nothing_is_left_out_of_the_matrix() -> None:
    only = {key: [0.5] * 4 for key in BASE if key[2] == "adaptive"}
    made = joined(tables(OBLIVIOUS), tables(only, task="saliency/two"))
    assert len(build_boards(made)["matrix"]) == len(BASE)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (failed("weak"), 0.0),
        (skipped("weak"), 0.0),
        (failed("soft"), 1.0),
        (skipped("soft"), 0.3),  # what weak reaches undefended
        (INFRA, np.nan),
    ],
)
def test_a_field_that_misses_cases_is_what_the_rules_say_and_has_no_raw_columns(
    end: dict[str, str], expected: float
) -> None:
    key: Key = ("weak", "soft", "oblivious")
    two = tables({k: v for k, v in BASE.items() if k != key}, {key: end}, task="saliency/two")
    matrix = build_boards(joined(tables(BASE), two))["matrix"]
    gap, whole = field(matrix, *key), field(matrix, "strong", "soft", "oblivious")
    assert gap["score"] == pytest.approx((np.mean(BASE[key]) + expected) / 2, nan_ok=True)
    assert gap["n"] == 4 and gap["coverage"] == 0.5 and pd.isna(gap["rank"])
    assert pd.isna(gap["fidelity"]) and whole["fidelity"] == 1.0 and whole["n"] == 8


def test_raw_columns_are_of_methods_that_miss_nothing() -> None:
    columns = {key: {"pcc_target": values} for key, values in BASE.items()}
    key: Key = ("weak", "none", "oblivious")
    rest = {k: v for k, v in BASE.items() if k != key}
    two = tables(rest, {key: failed("weak")}, {k: columns[k] for k in rest}, task="saliency/two")
    made = joined(tables(BASE, columns=columns), two)
    assert pd.isna(row(made, "attacks", "weak")["pcc_target"])
    assert row(made, "attacks", "strong")["pcc_target"] == pytest.approx(0.5)


def test_what_a_detector_separates_is_told_of_the_same_forgeries_for_all_and_of_adaptive_ones_beside() -> (
    None
):
    values = {(attack, "gap", mode): [0.5] * 4 for attack in ("strong", "weak") for mode in ("oblivious",)}
    values |= {(attack, "never", "oblivious"): [0.5] * 4 for attack in ("strong", "weak")}
    values["strong", "gap", "adaptive"] = [0.5] * 4
    columns = {key: {"auroc": [0.5] * 4, "detected": [0.0] * 4} for key in values}
    for attack, auroc in (("strong", 0.9), ("weak", 0.7)):
        columns[attack, "gap", "oblivious"] = {"auroc": [auroc] * 4, "detected": [1.0] * 4}
    columns["strong", "gap", "adaptive"] = {"auroc": [0.1] * 4, "detected": [0.0] * 4}
    made = tables(BASE | values, columns=columns)
    gap, never = (row(made, "detectors", name) for name in ("gap", "never"))
    assert gap["auroc"] == pytest.approx(0.8) and gap["detection_rate"] == 1
    assert gap["auroc_adaptive"] == pytest.approx(0.1) and gap["detection_rate_adaptive"] == 0
    assert never["auroc"] == 0.5 and pd.isna(never["auroc_adaptive"])


def test_what_forgeries_leave_is_that_of_the_worst_case() -> None:
    truth = {key: {"truth": [1 - value for value in values]} for key, values in BASE.items()}
    found = row(tables(BASE, columns=truth), "hardenings", "soft")
    assert found["truth"] == pytest.approx(1 - np.mean([0.2, 0.5, 0.3, 0.4]))
