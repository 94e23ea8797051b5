"""Whatever part of a run was asked for, boards are made of it or it is said why not."""

from __future__ import annotations

import random

import pandas as pd
import pytest
from harness import ROOT

from benchmark.boards.gates import control_violations
from benchmark.boards.tables import Tables
from benchmark.boards.words import answer
from benchmark.publishing.published import boards_exist, read_tables, rebuilt
from benchmark.running.registry import find_methods


@pytest.fixture(scope="module")
def whole() -> Tables:
    """The published run of ``smoke``."""
    methods = {entry.variant: entry for entry in find_methods(ROOT, set()).entries}
    return read_tables(ROOT / "results" / "published" / "smoke", methods)


def part(whole: Tables, attacks: set[str], defenses: set[str], tasks: set[str]) -> Tables:
    """What a run has that was asked for some methods on some tasks."""

    def kept(table: pd.DataFrame) -> pd.DataFrame:
        asked = table["attack"].isin(attacks) & table["defense"].isin(defenses) & table["task"].isin(tasks)
        return table[asked].reset_index(drop=True)

    return Tables(kept(whole.cells), kept(whole.samples), whole.methods)


def assert_boards(made: Tables) -> None:
    """They are made, and each says something."""
    boards = rebuilt(made)
    assert boards
    for noun in ("attack", "hardening", "detector"):
        board = boards.get(f"{noun}s", pd.DataFrame())
        for _, own in board.groupby("track") if len(board) else ():
            assert answer(noun, own)


@pytest.mark.parametrize("defense", ["class_card", "smoothgrad", "never", "smoothing_gap"])
def test_a_single_cell_has_boards(defense: str, whole: Tables) -> None:
    """A control without content has nothing to be held against where ``none`` was not asked for."""
    made = part(whole, {"copy_target"}, {defense}, {"saliency/smoke-gradient"})
    assert len(made.samples) and control_violations(made) == []
    assert_boards(made)


@pytest.mark.parametrize("seed", range(4))
def test_a_part_of_a_run_has_boards(seed: int, whole: Tables) -> None:
    """Few attacks against few defenses, and each of them alone."""
    draw = random.Random(seed)
    task = draw.choice(sorted(set(whole.cells["task"])))
    here = whole.cells[whole.cells["task"] == task]
    for count in (1, 3):
        names = [sorted(set(here[column])) for column in ("attack", "defense")]
        attacks, defenses = ({*draw.sample(known, min(count, len(known)))} for known in names)
        made = part(whole, attacks, defenses, {task})
        if boards_exist(made):
            assert isinstance(control_violations(made), list), (attacks, defenses)
            assert_boards(made)
