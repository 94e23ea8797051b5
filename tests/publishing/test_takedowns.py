"""An attack that makes a published defense's worst case worse is told, and so is what no longer does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_compare import Key, tables

from benchmark.boards.tables import Tables
from benchmark.publishing.compare import without
from benchmark.publishing.takedowns import comparable, reliefs, remember, takedowns


def suite(values: dict[Key, list[float]], **code: str) -> Tables:
    """Tables of one task of four cases; ``code`` is the defenses' code."""
    made = tables({key: np.array([row]) for key, row in values.items()})
    codes = made.cells["defense"].map(lambda name: code.get(name, "as it was"))
    return Tables(made.cells.assign(task_version=1, defense_code=codes), made.samples, made.methods)


BASE: dict[Key, list[float]] = {
    ("first", "none", "oblivious"): [0.5, 0.5, 0.5, 0.5],
    ("first", "soft", "oblivious"): [0.2, 0.2, 0.4, 0.0],
    ("first", "soft", "adaptive"): [0.1, 0.3, 0.1, 0.0],
    ("first", "hard", "oblivious"): [0.6, 0.6, 0.6, 0.6],
    ("first", "gap", "oblivious"): [0.5, 0.5, 0.5, 0.5],
}
NEW: dict[Key, list[float]] = {
    ("new", "none", "oblivious"): [0.4, 0.4, 0.4, 0.4],
    ("new", "soft", "oblivious"): [0.5, 0.1, 0.1, 0.0],
    ("new", "soft", "transfer"): [0.0, 0.5, 0.405, 0.0],
    ("new", "hard", "oblivious"): [0.6, 0.1, 0.1, 0.1],
    ("new", "gap", "oblivious"): [0.5, 0.5, 0.5, 0.5],
}


def test_a_new_attack_takes_down_what_it_makes_worse_case_by_case() -> None:
    (one,) = takedowns(suite(BASE), suite(BASE | NEW))
    assert (one.defense, one.attack, one.known, one.cases, one.of) == ("soft", "new", False, 2, 4)
    # before: .2 .3 .4 0; after: .5 .5 .405 0
    assert one.before == pytest.approx(1 - 0.9 / 4) and one.after == pytest.approx(1 - 1.405 / 4)
    assert one.line() == (
        "takedown (saliency, hardening): new (new) takes soft down, "
        "worse on 2 of 4 cases, score 0.775 -> 0.649; most on saliency/0, case 00, seed 0: 0.800 -> 0.500"
    )
    assert not reliefs(suite(BASE), suite(BASE | NEW))


def test_a_known_attack_whose_pool_has_grown_takes_down_too() -> None:
    pool: dict[Key, list[float]] = {("first", "soft", "transfer"): [0.9, 0.0, 0.0, 0.0]}
    (one,) = takedowns(suite(BASE), suite(BASE | pool))
    assert (one.attack, one.known, one.cases) == ("first", True, 1)


def test_what_is_gone_is_told_as_a_relief_and_as_no_takedown() -> None:
    before, after = suite(BASE | NEW), suite(BASE)
    assert not takedowns(before, after)
    (one,) = reliefs(before, after)
    assert one.defense == "soft" and one.before < one.after == pytest.approx(0.775)


def test_another_defense_of_the_same_name_or_another_version_of_a_task_is_taken_down_by_nobody() -> None:
    after = suite(BASE | NEW)
    assert not takedowns(suite(BASE, soft="other code"), after)
    assert not takedowns(
        Tables(suite(BASE).cells.assign(task_version=2), after.samples, after.methods), after
    )
    assert not takedowns(without(after, {"new"}), without(after, {"new"}))


def test_where_scores_are_by_other_rules_nobody_is_taken_down() -> None:
    before, after = suite(BASE), suite(BASE | NEW)
    by_others = before.samples.assign(manipulation=before.samples["manipulation"] / 2)
    other_cells = before.samples.assign(cell_id=before.samples["cell_id"] + "x")
    assert comparable(before, after)
    for samples in (by_others, other_cells):
        changed = Tables(before.cells, samples, before.methods)
        assert not comparable(changed, after)
        assert not takedowns(changed, after) and not reliefs(changed, after)


def test_takedowns_are_kept_with_the_commit_that_shows_them(tmp_path: Path) -> None:
    found, file = takedowns(suite(BASE), suite(BASE | NEW)), tmp_path / "takedowns.csv"
    remember([], file, "a")
    assert not file.exists()
    for commit in ("a", "b"):
        remember(found, file, commit)
    kept = pd.read_csv(file)
    assert list(kept["commit"]) == ["a", "b"] and set(kept["defense"]) == {"soft"}
    assert list(kept["cases"]) == [2, 2] and kept["after"].iloc[1] == pytest.approx(found[0].after)


def test_takedowns_of_an_older_release_are_kept_though_they_lack_columns(tmp_path: Path) -> None:
    found, file = takedowns(suite(BASE), suite(BASE | NEW)), tmp_path / "takedowns.csv"
    remember(found, file, "a")
    pd.read_csv(file).drop(columns=["task", "sample"]).to_csv(file, index=False)
    remember(found, file, "b")
    kept = pd.read_csv(file)
    assert list(kept["commit"]) == ["a", "b"] and kept["task"].isna().tolist() == [True, False]
