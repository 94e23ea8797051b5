"""An open method may have used anything, and changes nothing of a closed one's standing."""

from __future__ import annotations

import pandas as pd
import pytest
from board_tables import (
    Key,
    build_boards,
    tables,
)

OPENED: dict[Key, list[float]] = {
    ("strong", "none", "oblivious"): [0.6, 0.5, 0.7, 0.6],
    ("weak", "none", "oblivious"): [0.1, 0.2, 0.1, 0.2],
    ("strong", "soft", "oblivious"): [0.3, 0.2, 0.3, 0.2],
    ("weak", "soft", "oblivious"): [0.1, 0.1, 0.1, 0.1],
    ("strong", "hard", "oblivious"): [0.2, 0.1, 0.2, 0.1],
    ("weak", "hard", "oblivious"): [0.1, 0.1, 0.0, 0.1],
    ("strong", "gap", "oblivious"): [0.6, 0.5, 0.7, 0.6],
    ("weak", "gap", "oblivious"): [0.1, 0.2, 0.1, 0.2],
    **{("weak", defense, "adaptive"): [0.0] * 4 for defense in ("soft", "hard", "gap")},
}
WITH_OPEN: dict[Key, list[float]] = {
    **OPENED,
    **{("boundless", defense, "oblivious"): [0.9] * 4 for defense in ("none", "soft", "hard", "gap", "wall")},
    **{(attack, "wall", "oblivious"): [0.0] * 4 for attack in ("strong", "weak")},
    ("weak", "wall", "adaptive"): [0.0] * 4,
}
CAUGHT: dict[Key, dict[str, list[float]]] = {
    (attack, "gap", "oblivious"): {"detected": [1.0, 0.0, 1.0, 1.0]} for attack in ("strong", "weak")
}


@pytest.mark.parametrize("name", ["attacks", "hardenings", "detectors", "matrix"])
def test_open_methods_leave_closed_rows_as_they_are(name: str) -> None:
    skipped = {("boundless", "soft", "adaptive"): {"status": "skipped", "reason": "boundless: no"}}
    before = build_boards(tables(OPENED, columns=CAUGHT))[name]
    after = build_boards(tables(WITH_OPEN, skipped, CAUGHT))[name]
    assert set(before["division"]) == {"closed"}
    kept = after[after["division"] == "closed"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[list(before)], before)


def test_open_methods_are_ranked_apart_below_the_closed_ones() -> None:
    values = {**WITH_OPEN, ("identity", "none", "oblivious"): [0.0] * 4}
    boards = build_boards(tables(values, columns=CAUGHT))
    attacks, hardenings, matrix = boards["attacks"], boards["hardenings"], boards["matrix"]
    assert attacks["attack"].tolist() == ["strong", "weak", "boundless", "identity"]
    assert attacks["division"].tolist() == ["closed", "closed", "open", "closed"]
    assert attacks["rank"].tolist()[:3] == [1, 2, 1]
    assert attacks["score"].tolist()[2] == pytest.approx(0.9)
    assert set(attacks["best_defense"]) == {"hard"}, (
        "an open hardening is what closed attacks are shown under"
    )
    shown = hardenings[hardenings["hardening"] != "none"]
    assert shown["hardening"].tolist() == ["hard", "soft", "wall"]
    assert shown["division"].tolist() == ["closed", "closed", "open"]
    assert shown["rank"].tolist() == [2, 3, 2], "four cases tell none of them from doing nothing"
    assert shown["score"].tolist()[2] == pytest.approx(1.0), "judged by an open attack"
    undefended = matrix[matrix["defense"] == "none"].set_index("attack")
    assert undefended.loc[["strong", "weak", "boundless"], "rank"].tolist() == [1, 2, 1]
    walled = matrix[matrix["defense"] == "wall"]
    assert set(walled["division"]) == {"open"}
