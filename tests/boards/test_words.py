"""What boards say in words agrees with their rows."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from benchmark.boards.columns import NEVER_ATTACKED
from benchmark.boards.words import answer, with_interval


def board(noun: str, *rows: dict[str, Any]) -> pd.DataFrame:
    """A board with these rows in their order."""
    usual = {
        "ci_low": 0.0,
        "ci_high": 1.0,
        "rank": pd.NA,
        "tie_group": pd.NA,
        "division": "closed",
        "cases": 16,
        "clusters": 16,
        "control": False,
        "note": "",
    }
    return pd.DataFrame([{**usual, **row} for row in rows]).rename(columns={"name": noun})


LEADER = {"name": "d", "score": 0.5, "rank": 1, "tie_group": 1}
NONE = {"name": "none", "score": 0.30, "ci_low": 0.25, "ci_high": 0.35}


def hardenings(score: float, low: float, high: float, rank: int) -> str:
    """What is said of one hardening beside none."""
    soft = {"name": "soft", "score": score, "ci_low": low, "ci_high": high, "rank": rank, "tie_group": 1}
    return answer("hardening", board("hardening", soft, NONE))


def test_a_hardening_is_compared_with_none() -> None:
    assert hardenings(0.2, 0.1, 0.3, 2) == (
        "No hardening does better than none (0.30 [0.25, 0.35]); the best is soft (0.20 [0.10, 0.30])."
    )
    assert "soft (0.34 [0.30, 0.38]), is not clearly better than none" in hardenings(0.34, 0.30, 0.38, 2)
    assert "soft (0.50 [0.40, 0.60]), does better than none" in hardenings(0.5, 0.4, 0.6, 1)


def test_who_cannot_be_told_apart_is_named() -> None:
    second, third = {"score": 0.4, "rank": 2, "tie_group": 1}, {"score": 0.1, "rank": 3, "tie_group": 2}
    said = answer("attack", board("attack", LEADER, {"name": "b", **second}, {"name": "c", **third}))
    assert said == "d manipulates most (0.50 [0.00, 1.00]). It cannot be told apart from b."


def test_few_cases_are_told() -> None:
    said = answer("detector", board("detector", LEADER | {"cases": 7, "clusters": 7}))
    assert "7 cases are too few to rank" in said and said.startswith("d sees most (0.50")
    said = answer("detector", board("detector", LEADER | {"clusters": 3}))
    assert "16 cases of 3 networks are too few to rank" in said
    assert answer("detector", board("detector", {"name": "d", "score": 0.5})) == "No detector is ranked."


def test_of_one_case_no_interval_is_said() -> None:
    """A point would read as certainty."""
    row = pd.Series({"score": 0.8412, "ci_low": 0.8412, "ci_high": 0.8412, "clusters": 1})
    assert with_interval(row, 2) == "0.84 [one case]"
    row["cases"] = 3
    assert with_interval(row, 2) == "0.84 [one cluster]"
    row["clusters"], row["ci_low"] = 2, 0.5
    assert with_interval(row, 3) == "0.841 [0.500, 0.841]"


def test_how_many_neighbours_are_told_apart_is_said() -> None:
    """The control that does nothing is one of them, and has no rank."""

    def said(*apart: int | None) -> str:
        rows = [{"name": f"m{rank}", "rank": rank, "apart": one} for rank, one in enumerate(apart, 1)]
        return answer("attack", board("attack", *(LEADER | row for row in rows)))

    assert said(None, 1, 1).endswith(" All 2 pairs of neighbours are told apart.")
    equal = "told apart; the others are equal as far as this run can tell."
    assert said(None, 1, 0).endswith(f" Of 2 pairs of neighbours one is {equal}")
    assert said(None, 1, 0, 1).endswith(f" Of 3 pairs of neighbours 2 are {equal}")
    assert said(None, 0, 0).endswith(f" Of 2 pairs of neighbours none is {equal}")
    assert "neighbours" not in said(None, 1), "of two the sentence before says it"
    none = {**NONE, "control": True, "apart": 1}
    soft = {"name": "soft", "score": 0.4, "rank": 1, "tie_group": 1}
    hard = {"name": "hard", "score": 0.1, "rank": 3, "tie_group": 2, "apart": 0}
    words = answer("hardening", board("hardening", soft, none, hard))
    assert words.endswith(f" Of 2 pairs of neighbours one is {equal}")


@pytest.mark.parametrize(
    ("left", "said"),
    [(0.004, "none of them tells anything:"), (0.06, "tells more than 0.06:"), (0.4, ""), (-0.3, "anything")],
)
def test_an_order_of_clean_explanations_is_said_to_be_one(left: float, said: str) -> None:
    """Controls other than none, and what has no score, count for nothing."""
    rows = [
        {"name": "soft", "score": 0.4, "rank": 2, "tie_group": 1, "truth": left, "ci_high": 0.5},
        {**NONE, "control": True, "truth": min(left, 0.0)},
        {"name": "card", "score": 0.1, "control": True, "truth": 0.9},
        {"name": "late", "score": float("nan"), "truth": 0.9},
    ]
    words = answer("hardening", board("hardening", *rows))
    assert ("Under the worst attack" in words) == bool(said) and said in words


def test_hardenings_that_no_attack_was_asked_to_adapt_to_have_no_rank_and_are_compared() -> None:
    soft = {"name": "soft", "score": 0.2, "ci_low": 0.1, "ci_high": 0.3, "note": NEVER_ATTACKED}
    said = answer("hardening", board("hardening", soft, NONE | {"control": True}))
    assert said == (
        "No hardening does better than none (0.30 [0.25, 0.35]); the best is soft (0.20 [0.10, 0.30]). "
        "No attack was asked to adapt to any: none has a rank."
    )
    few = answer("hardening", board("hardening", soft | {"clusters": 3}, NONE | {"control": True}))
    assert few.endswith("16 cases of 3 units are too few to rank: the order is no more than one.")
