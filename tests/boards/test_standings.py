"""Variants, places of triggers, attack seeds and clusters: who is ranked among whom."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from board_tables import (
    BASE,
    METHODS,
    MODES,
    Key,
    build_boards,
    joined,
    row,
    tables,
)

from benchmark.boards.matrix import mean_table
from benchmark.boards.statistics import rank
from benchmark.boards.tables import Tables
from benchmark.boards.words import answer


def test_a_method_is_ranked_by_its_best_variant_and_says_how_many_there_were() -> None:
    more: dict[Key, list[float]] = {}
    for name, value in (("blur[width=1]", 0.3), ("blur[width=2]", 0.1), ("hard", 0.2)):
        more |= {(attack, name, mode): [value] * 4 for attack in ("strong", "weak") for mode in MODES}
    board = build_boards(tables(BASE | more))["hardenings"]
    assert list(board["hardening"]) == ["none", "blur[width=2]", "hard", "blur[width=1]", "soft"]
    assert board["rank"].fillna(0).tolist() == [0, 2, 3, 0, 4]
    assert board["tries"].fillna(0).tolist() == [0, 2, 1, 2, 1]
    assert board["note"].tolist()[3] == "its method has the rank of blur[width=2], the best of 2 tries"
    said = answer("hardening", board)
    assert (
        "The best hardening, blur[width=2] (0.90 [0.90, 0.90]), the best of 2 tries, is not clearly better"
        in said
    )


@pytest.mark.parametrize(("gain", "first"), [(0.2, True), (0.002, False)])
def test_what_cannot_be_told_from_nothing_comes_after_it(gain: float, first: bool) -> None:
    """A gain that the cases' spread leaves open takes no rank from doing nothing, however the scores lie."""
    dice = np.random.default_rng(0)
    nothing = dice.uniform(0.3, 0.6, 16)
    values = np.stack([nothing + gain + dice.normal(0, 0.02, 16), nothing, nothing - 0.2])
    task = np.zeros(16, int)
    found = rank(values, task, floor=1)
    assert [one.rank for one in found] == ([1, 2, 3] if first else [2, 1, 3])
    assert rank(values, task)[0].rank == (1 if values[0].mean() > nothing.mean() else 2)
    assert all(one.rank_low <= one.rank <= one.rank_high for one in found)


def test_what_is_exactly_as_good_as_nothing_is_not_first() -> None:
    same = {(a, "hard", mode): BASE[a, "none", "oblivious"] for a in ("strong", "weak") for mode in MODES}
    worse = {(a, "soft", mode): [0.9] * 4 for a in ("strong", "weak") for mode in MODES}
    board = build_boards(tables(BASE | worse | same))["hardenings"]
    assert list(board["hardening"]) == ["none", "hard", "soft"]
    assert board["rank"].fillna(0).tolist() == [0, 2, 3]
    assert (board["rank_high"].dropna() >= board["rank"].dropna()).all()


@pytest.mark.parametrize(("places", "apart"), [([1.0] * 4, False), ([1.0, 1.0, 1.0, 0.0], True)])
def test_triggers_without_a_place_are_ranked_apart(places: list[float], apart: bool) -> None:
    """One case without a place is enough: nothing shows that one."""
    strong, weak = ("strong", "none", "oblivious"), ("weak", "none", "oblivious")
    columns = {strong: {"placed": places}, weak: {"placed": [1.0] * 4}}
    boards = build_boards(tables({key: BASE[key] for key in (strong, weak)}, columns=columns))
    board = boards["attacks"]
    assert list(board["attack"]) == (["weak", "strong"] if apart else ["strong", "weak"])
    assert list(board["place"]) == ["placed", "unplaced" if apart else "placed"]
    assert board["rank"].tolist() == ([1, 1] if apart else [1, 2])
    assert sorted(boards["matrix"]["rank"]) == sorted(board["rank"])
    said = answer("attack", board)
    assert said.startswith(f"Of triggers with a place: {board['attack'][0]} manipulates most")
    assert ("Of those without: strong manipulates most" in said) is apart


def test_seeds_of_a_case_are_shown_apart_and_drawn_together() -> None:
    other = {key: [value + 0.1 for value in values] for key, values in BASE.items()}
    one, both = tables(BASE), joined(tables(BASE), tables(other, seed=1))
    strong = row(both, "attacks", "strong")
    assert "seed_spread" not in build_boards(one)["attacks"]
    assert strong["seed_spread"] == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert (strong["cases"], strong["clusters"]) == (4, 4)
    alone = row(one, "attacks", "strong")
    width = strong["ci_high"] - strong["ci_low"]
    assert width == pytest.approx(alone["ci_high"] - alone["ci_low"]), "a second seed is no second case"


def test_cases_of_several_networks_are_drawn_by_network() -> None:
    made = tables(BASE)
    victims = made.samples["sample_id"].map({"a": "first", "b": "first", "c": "second", "d": "second"})
    grouped = Tables(made.cells, made.samples.assign(victim=victims), METHODS)
    strong, alone = row(grouped, "attacks", "strong"), row(made, "attacks", "strong")
    assert (strong["cases"], strong["clusters"], alone["clusters"]) == (4, 2, 4)
    assert strong["ci_high"] - strong["ci_low"] > alone["ci_high"] - alone["ci_low"]
    single = Tables(made.cells, made.samples.assign(victim="first"), METHODS)
    assert row(single, "attacks", "strong")["clusters"] == 4, "the only network is fixed"


def test_cases_of_one_unit_are_drawn_together_whatever_they_should_show() -> None:
    """What a hardening tells of a unit is the same for each of its pictures: three are no three cases.

    What an attack reaches is not: its cases stand alone.
    """
    made = tables(BASE)
    units = made.samples["sample_id"].map(
        {"a": "logits:1", "b": "logits:1", "c": "logits:2", "d": "logits:3"}
    )
    grouped = Tables(made.cells, made.samples.assign(victim="first", unit=units), METHODS)
    soft, alone = row(grouped, "hardenings", "soft"), row(made, "hardenings", "soft")
    assert (soft["cases"], soft["clusters"], alone["clusters"]) == (4, 3, 4)
    alike = {key: [values[0], values[0], *values[2:]] for key, values in BASE.items()}
    twice = tables(alike)
    units = twice.samples["sample_id"].map(
        {"a": "logits:1", "b": "logits:1", "c": "logits:2", "d": "logits:3"}
    )
    soft = row(
        Tables(twice.cells, twice.samples.assign(victim="first", unit=units), METHODS), "hardenings", "soft"
    )
    alone = row(twice, "hardenings", "soft")
    assert soft["ci_high"] - soft["ci_low"] > alone["ci_high"] - alone["ci_low"], "the same value twice"
    assert row(grouped, "attacks", "strong")["clusters"] == 4


def test_rows_of_a_pool_are_of_the_clusters_of_their_cases() -> None:
    """They do not say what their cases are about; others of the same cases do."""
    pool = {("strong", "soft", "transfer"): [0.3, 0.3, 0.2, 0.1]}
    made = tables(BASE | pool)
    names = made.samples["sample_id"].map({"a": "x", "b": "x", "c": "y", "d": "y"})
    told = made.samples.assign(victim=names.where(made.samples["mode"] != "transfer"))
    found = mean_table(Tables(made.cells, told, METHODS), ["task", "attack", "defense", "mode"])
    assert set(found["clusters"]) == {2} and set(found["cases"]) == {4}


def test_a_row_without_a_score_says_where_nothing_is_known_of_it() -> None:
    """A method that a task leaves out has no cells there, and one that failed there has."""
    hard = {(attack, "hard", mode): [0.2] * 4 for attack in ("strong", "weak") for mode in MODES}
    made = tables(BASE | hard)
    other = made.samples["task"].iloc[0]
    assert isinstance(other, str)
    more = made.cells.assign(task="saliency/other"), made.samples.assign(task="saliency/other")
    whole = Tables(
        *(
            pd.concat([one, two], ignore_index=True)
            for one, two in zip((made.cells, made.samples), more, strict=True)
        ),
        METHODS,
    )
    assert (build_boards(whole)["hardenings"]["note"].fillna("") == "").all()

    def without(kept: pd.DataFrame) -> pd.DataFrame:
        left: pd.DataFrame = kept[(kept["defense"] != "soft") | (kept["task"] == other)]
        return left

    absent = Tables(without(whole.cells), without(whole.samples), METHODS)
    board = build_boards(absent)["hardenings"].set_index("hardening")
    assert board.loc["soft", "note"] == "no cells on saliency/other" and pd.isna(board.loc["soft", "score"])
    assert pd.notna(board.loc["none", "score"])
    cells = whole.cells.assign(
        status=whole.cells["status"].where(
            (whole.cells["defense"] != "soft") | (whole.cells["task"] == other), "timeout"
        )
    )
    failed = build_boards(Tables(cells, without(whole.samples), METHODS))["hardenings"].set_index("hardening")
    assert failed.loc["soft", "note"] and pd.isna(failed.loc["soft", "rank"])


def test_an_attack_with_cells_on_other_tasks_alone_is_no_error() -> None:
    """As a store has them that only parts of a suite were run in."""
    hard = {("strong", "hard", mode): [0.2] * 4 for mode in MODES}
    made = tables(BASE | hard)

    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        kept = frame[(frame["attack"] == "strong") | frame["defense"].isin(["none"])]
        kept = kept[kept["mode"] == "oblivious"]
        elsewhere = (kept["attack"] == "weak") & (kept["defense"] == "none")
        return kept.assign(task=kept["task"].where(~elsewhere, "saliency/other"))

    boards = build_boards(Tables(moved(made.cells), moved(made.samples), METHODS))
    board = boards["hardenings"].set_index("hardening")
    assert board.loc["hard", "manipulation_oblivious"] == pytest.approx(0.2)
