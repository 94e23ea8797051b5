"""Boards are withheld while a control lands outside its bounds, and one method loses its rank for itself."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from board_tables import (
    BASE,
    METHODS,
    MODES,
    joined,
    row,
    tables,
)
from harness import TASKS, Project, Result

from benchmark.boards.gates import control_violations
from benchmark.boards.tables import Tables


def test_controls_within_their_bounds_are_no_violation() -> None:
    values = {
        ("identity", "none", "oblivious"): [0.0] * 4,
        ("noise", "none", "oblivious"): [0.05] * 4,
        ("noise", "soft", "oblivious"): [0.9] * 4,  # its bounds are about the undefended explanation only
    }
    assert control_violations(tables(values)) == []


@pytest.mark.parametrize("defense", ["none", "card"])
def test_an_attack_outside_its_bounds_is_named_with_task_defense_and_value(defense: str) -> None:
    made = tables({("identity", defense, "oblivious"): [0.0, 0.0, 0.0, 0.2]})
    (violation,) = control_violations(made)
    for part in ("identity", "saliency/one", defense, "manipulation", "0.0500", "[0.0, 0.0]"):
        assert part in violation


def test_one_task_outside_is_enough_whatever_the_others_say() -> None:
    good = tables({("noise", "none", "oblivious"): [0.0] * 4})
    bad = tables({("noise", "none", "oblivious"): [0.09] * 4}, task="saliency/two")
    (violation,) = control_violations(joined(good, bad))
    assert "saliency/two" in violation


def test_a_hardening_and_a_detector_outside_their_bounds_are_named() -> None:
    none = ("strong", "none", "oblivious")
    never = ("strong", "never", "oblivious")
    made = tables(
        {none: [0.1] * 4, never: [0.1] * 4},
        columns={none: {"fidelity": [0.9] * 4}, never: {"auroc": [0.7] * 4}},
    )
    found = control_violations(made)
    assert len(found) == 2
    assert any("none" in text and "fidelity" in text for text in found)
    assert any("never" in text and "auroc" in text for text in found)


def test_a_value_that_is_not_a_number_is_outside_of_every_bound() -> None:
    made = tables({("identity", "none", "oblivious"): [float("nan")] * 4})
    assert len(control_violations(made)) == 1


def test_a_map_that_shows_nothing_is_held_against_no_bound() -> None:
    """It resembles nothing, not even itself, whatever the control does; only here is it asked."""
    values = {("identity", "none", "oblivious"): [0.0, 0.0, 0.0, 0.5]}
    for name, dead, violations in (
        ("dead", [0.0, 0.0, 0.0, 1.0], 0),
        ("dead_before", [0.0, 0.0, 0.0, 1.0], 0),
        ("dead_before", [0.0, 0.0, 1.0, 0.0], 1),
        ("dead", [float("nan")] * 4, 1),
    ):
        columns = {"dead": [0.0] * 4, "dead_before": [0.0] * 4} | {name: dead}
        assert len(control_violations(tables(values, columns={next(iter(values)): columns}))) == violations
    other = {"dead": [0.0, 0.0, 0.0, 1.0], "dead_before": [float("nan")] * 4}
    assert len(control_violations(tables(values, columns={next(iter(values)): other}))) == 1


def test_boards_are_withheld_and_the_control_is_named(finished: Project) -> None:
    assert finished.boards_folder.is_dir()
    finished.edit("benchmark/tracks/verdict.py", "0.5 * (positives", "0.75 * (positives")  # ties
    result = finished.run("run", "--task", TASKS[0], "--attack", "identity", "--attack", "push")
    result.assert_no_traceback()
    assert result.code == 1
    lines = result.messages_with("no board: control never: mean auroc is 0.75")
    assert len(lines) == 1, result.err
    assert "outside [0.5, 0.5]" in lines[0]
    assert not finished.boards_folder.exists(), "boards of before are left beside the message"
    assert (finished.root / "results/tiny/cells.csv").is_file(), "cells are written all the same"
    assert result.counts["run"] == 0 and result.counts["failed"] == 0, "no cell has failed"


def test_boards_of_a_run_hold_plain_numbers_in_full_precision(first_run: tuple[Project, Result]) -> None:
    project = first_run[0]
    attacks = pd.read_csv(project.boards_folder / "attacks.csv")
    samples = project.samples
    mine = samples[(samples["attack"] == "push") & (samples["defense"] == "none")]
    mine = mine[mine["mode"] == "oblivious"]
    expected = mine.groupby("task")["manipulation"].mean().mean()
    assert attacks.set_index("attack").loc["push", "score"] == pytest.approx(expected, rel=1e-12)
    assert {"score", "ci_low", "ci_high", "rank", "rank_low", "rank_high", "tie_group", "coverage"} <= set(
        attacks
    )


@pytest.mark.parametrize("foreign", [False, True])
def test_a_hardening_under_which_a_control_breaks_its_bounds_loses_its_own_rank_alone(foreign: bool) -> None:
    more = {("identity", name, "oblivious"): [0.0] * 4 for name in ("none", "soft", "hard")}
    more |= {(attack, "hard", mode): [0.0] * 4 for attack in ("strong", "weak") for mode in MODES}
    made = tables(BASE | more | {("identity", "hard", "oblivious"): [0.5] * 4})
    methods = METHODS | {"hard": replace(METHODS["hard"], foreign=foreign)}
    made = Tables(made.cells, made.samples, methods)
    assert control_violations(made) == []
    hard, soft = (row(made, "hardenings", name) for name in ("hard", "soft"))
    assert pd.isna(hard["rank"]) and "mean manipulation is 0.5000" in hard["note"]
    assert soft["rank"] == 2, "after none, which it is not told from on four cases"
