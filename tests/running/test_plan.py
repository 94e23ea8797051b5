"""An edit runs again what depends on it and nothing else, and `plan` says what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from harness import ROOT, TASKS, Project, Result, cell_names, submitted

from benchmark.api import Attack, Detector, Hardening
from benchmark.running.plan import Planner, modes_of
from benchmark.running.registry import find_methods
from benchmark.tasks.task import load_task, task_ids

Rows = Callable[[pd.DataFrame], "pd.Series[bool]"]
"""Which rows of ``cells.csv`` an edit concerns."""


def runnable(cells: pd.DataFrame) -> pd.DataFrame:
    """Cells that apply."""
    return cells[cells["status"] != "skipped"]


def adaptive_forgeries(cells: pd.DataFrame) -> int:
    """How many forgeries were made against the defenses of some cells."""
    adaptive = cells[cells["mode"] == "adaptive"]
    return len(adaptive[["task", "attack", "defense", "seed"]].drop_duplicates())


def test_a_suite_ends_with_a_line_that_counts_its_cells(first_run: tuple[Project, Result]) -> None:
    project, result = first_run
    assert result.code == 0, result.err
    cells = project.cells
    skipped = int((cells["status"] == "skipped").sum())
    assert skipped > 0, "the tiny suite has an attack that does not apply to one of its tasks"
    assert result.last_line == f"cells: {len(cells) - skipped} run, 0 cached, {skipped} skipped, 0 failed"


def test_cells_are_the_product_of_tasks_attacks_defenses_and_modes(
    first_run: tuple[Project, Result],
) -> None:
    cells = first_run[0].cells
    attacks = ["push", "pull", "identity", "random_noise", "copy_target"]
    defenses = ["none", "soft[beta=2]", "soft[beta=8]", "gap", "always", "never", "random"]
    oblivious = {f"{t} x {a} x {d} x oblivious x 0" for t in TASKS for a in attacks for d in defenses}
    adaptive = {
        f"{t} x {a} x {d} x adaptive x 0"
        for t in TASKS
        for a, against in (
            ("push", ["soft[beta=2]", "soft[beta=8]", "gap"]),  # evades detectors
            ("pull", ["soft[beta=2]", "soft[beta=8]"]),
        )
        for d in against
    }
    hardenings = ["none", "soft[beta=2]", "soft[beta=8]"]  # pull makes nothing on the second task
    pools = {f"{t} x push x {d} x transfer x 0" for t in TASKS for d in hardenings}
    pools |= {f"{TASKS[0]} x pull x {d} x transfer x 0" for d in hardenings}
    assert cell_names(cells) == oblivious | adaptive | pools
    assert cells["cell_id"].is_unique


@pytest.mark.parametrize(
    ("attack", "defense", "expected"),
    [
        (type("A", (Attack,), {"evades": True}), type("D", (Detector,), {}), ["oblivious", "adaptive"]),
        (type("A", (Attack,), {"evades": False}), type("D", (Detector,), {}), ["oblivious"]),
        (type("A", (Attack,), {"evades": True}), type("D", (Detector,), {"control": True}), ["oblivious"]),
        (type("A", (Attack,), {}), type("H", (Hardening,), {}), ["oblivious", "adaptive"]),
        (type("A", (Attack,), {"adaptive": False}), type("H", (Hardening,), {}), ["oblivious"]),
    ],
)
def test_what_can_adapt_does_whatever_a_defense_says_of_itself(
    attack: type[Attack], defense: type[Detector | Hardening], expected: list[str]
) -> None:
    task: Any = SimpleNamespace(modes=("oblivious", "adaptive"))
    methods: list[Any] = [SimpleNamespace(method=method) for method in (attack, defense)]
    assert modes_of(*methods, task) == expected


def test_a_second_run_runs_nothing_and_leaves_the_boards_as_they_are(finished: Project) -> None:
    before, cells = finished.boards(), runnable(finished.cells)
    result = finished.run("run")
    assert result.code == 0, result.err
    assert result.counts["run"] == 0
    assert result.counts["cached"] == len(cells)
    assert finished.boards() == before


def test_an_edited_comment_or_docstring_of_the_project_runs_nothing(finished: Project) -> None:
    finished.edit("benchmark/seeds.py", "A seed in [0, 2**63)", "A number in [0, 2**63)")
    finished.edit("benchmark/tracks/saliency/steps.py", "_AT_LAST = 8", "_AT_LAST = 8  # few")
    states, _ = finished.planned()
    assert {state for state, _ in states.values()} == {"hand", "skip"}


def test_an_edited_word_of_a_submission_runs_its_cells(finished: Project) -> None:
    cells = runnable(finished.cells)
    finished.edit("submissions/push/card.yaml", "Made for a test", "Made for another test")
    states, _ = finished.planned()
    stale = {cell: why for cell, (state, why) in states.items() if state == "run"}
    assert set(stale) == cell_names(cells[cells["attack"] == "push"])
    assert set(stale.values()) == {"changed: submissions/push/card.yaml"}


EDITS: dict[str, tuple[tuple[str, str, str], Rows, str]] = {
    "a line of an attack": (
        ("submissions/push/method.py", "share = 0.9", "share = 0.8"),
        lambda cells: cells["attack"] == "push",
        "submissions/push/method.py",
    ),
    "a line of a hardening": (
        ("baselines/defenses/soft.py", "factor: float = 1.0", "factor: float = 1.5"),
        lambda cells: cells["defense"].str.startswith("soft") | (cells["mode"] == "transfer"),
        "baselines/defenses/soft.py",
    ),
    "a line of a detector": (
        ("baselines/defenses/gap.py", "beta = 30.0", "beta = 20.0"),
        lambda cells: (
            (cells["defense"] == "gap") | ((cells["mode"] == "transfer") & (cells["attack"] == "push"))
        ),
        "baselines/defenses/gap.py",
    ),
    "a module that a method imports": (
        ("submissions/push/descent.py", "WIDTH = 30.0", "WIDTH = 20.0"),
        lambda cells: cells["attack"] == "push",
        "submissions/push/descent.py",
    ),
    "the version of a task": (
        (f"tasks/{TASKS[0]}.yaml", "version: 1", "version: 2"),
        lambda cells: cells["task"] == TASKS[0],
        "task",
    ),
    "the budget of a task": (
        (f"tasks/{TASKS[1]}.yaml", "linf: 32/255", "linf: 24/255"),
        lambda cells: cells["task"] == TASKS[1],
        "task",
    ),
    "how noise is drawn for every task": (
        ("benchmark/seeds.py", ">> 1", ">> 2"),
        lambda cells: pd.Series(True, cells.index),
        "benchmark/seeds.py",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_plan_names_exactly_the_cells_that_depend_on_an_edit_and_what_changed(
    name: str, finished: Project
) -> None:
    (file, old, new), concerned, part = EDITS[name]
    cells = runnable(finished.cells)
    finished.edit(file, old, new)
    states, result = finished.planned()
    assert result.code == 0, result.err
    stale = {cell for cell, (state, _) in states.items() if state == "run"}
    assert stale == cell_names(cells[concerned(cells)])
    reasons = {states[cell][1] for cell in stale}
    assert reasons == {f"changed: {part}"}
    at_hand = {cell for cell, (state, _) in states.items() if state == "hand"}
    assert at_hand == cell_names(cells) - stale


@pytest.mark.parametrize(
    "name, new_forgeries",
    [
        ("a line of an attack", lambda mine: 2 + adaptive_forgeries(mine)),  # oblivious ones of two tasks
        ("a line of a hardening", adaptive_forgeries),
    ],
)
def test_a_run_after_an_edit_runs_what_depends_on_it(
    name: str, new_forgeries: Callable[[pd.DataFrame], int], finished: Project
) -> None:
    (file, old, new), concerned, _ = EDITS[name]
    cells = runnable(finished.cells)
    mine = cells[concerned(cells)]
    assert 0 < len(mine) < len(cells)
    before = {kind: finished.steps(kind) for kind in ("forge", "judge", "score")}
    finished.edit(file, old, new)
    result = finished.run("run")
    assert result.code == 0, result.err
    assert (result.counts["run"], result.counts["cached"]) == (len(mine), len(cells) - len(mine))
    made = {kind: len(finished.steps(kind) - before[kind]) for kind in before}
    assert made == {"forge": new_forgeries(mine), "judge": len(mine), "score": len(mine)}
    kept = ~finished.cells["cell_id"].isin(set(cells["cell_id"]))
    assert cell_names(finished.cells[kept & (finished.cells["status"] == "ok")]) == cell_names(mine)


def test_an_edited_metric_scores_every_cell_anew_and_runs_none(finished: Project) -> None:
    cells, samples = runnable(finished.cells), finished.samples
    before = {kind: finished.steps(kind) for kind in ("forge", "reference", "judge", "score")}
    finished.edit("benchmark/metrics/similarity.py", "    correlation =", "    added = correlation =")
    states, planned = finished.planned()
    assert {state for state, _ in states.values()} == {"score", "skip"}, planned.out[:500]
    result = finished.run("run")
    assert result.code == 0, result.err
    assert (result.counts["run"], result.counts["cached"]) == (0, len(cells))
    made = {kind: len(finished.steps(kind) - before[kind]) for kind in before}
    assert made == {"forge": 0, "reference": 0, "judge": 0, "score": len(cells)}
    pd.testing.assert_frame_equal(finished.samples, samples)


def test_an_edited_metric_of_a_task_scores_the_tasks_cells_anew(finished: Project) -> None:
    finished.edit(f"tasks/{TASKS[0]}.yaml", "primary: pcc_target", "primary: ssim_target")
    cells = runnable(finished.cells)
    states, _ = finished.planned()
    to_score = {cell for cell, (state, _) in states.items() if state == "score"}
    assert to_score == cell_names(cells[cells["task"] == TASKS[0]])
    assert "run" not in {state for state, _ in states.values()}


def test_a_new_title_or_limit_of_a_task_changes_nothing(finished: Project) -> None:
    finished.edit(f"tasks/{TASKS[0]}.yaml", "title: two images", "title: a couple of images")
    finished.edit(f"tasks/{TASKS[0]}.yaml", "seconds: 60", "seconds: 90")
    states, _ = finished.planned()
    assert {state for state, _ in states.values()} == {"hand", "skip"}


def test_a_store_that_is_not_there_is_told(fresh: Project) -> None:
    result = fresh.run("plan", "--store", "elsewhere")
    assert result.code == 0 and "elsewhere yet: nothing is at hand" in result.err
    assert not (fresh.root / "elsewhere").exists() and "elsewhere" not in fresh.run("plan").err


def test_plan_runs_nothing_and_counts_what_a_run_would_do(fresh: Project) -> None:
    states, result = fresh.planned()
    assert result.code == 0, result.err
    assert {reason for state, reason in states.values() if state == "run"} == {"new"}
    skipped = sum(state == "skip" for state, _ in states.values())
    assert result.last_line == (
        f"plan: {len(states) - skipped} to run, 0 to score, 0 at hand, {skipped} skipped, "
        "0 failed or cannot run"
    )
    assert [path.name for path in (fresh.root / ".potemkin").iterdir()] == ["fingerprints.json"]
    assert not (fresh.root / "results").exists()
    assert {reason for state, reason in states.values() if state == "skip"} == {"pull: gradients only"}


def test_one_seed_more_runs_that_seed_only(finished: Project) -> None:
    cells = runnable(finished.cells)
    text = (finished.root / f"tasks/{TASKS[0]}.yaml").read_text(encoding="utf-8")
    finished.write(f"tasks/{TASKS[0]}.yaml", f"{text}seeds: [0, 1]\n")
    states, _ = finished.planned()
    stale = {cell for cell, (state, _) in states.items() if state == "run"}
    mine = cell_names(cells[cells["task"] == TASKS[0]])
    assert stale == {f"{cell.removesuffix(' x 0')} x 1" for cell in mine}


@pytest.mark.parametrize("allowed", [True, False])
def test_weights_that_are_not_at_hand_are_downloaded_only_where_allowed(
    allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run`` may download what a hub has; a plan or a board never does."""
    asked: list[bool] = []

    def sha256(name: str, root: Path, *, download: bool = True) -> str:
        asked.append(download)
        return "0" * 64

    monkeypatch.setattr("benchmark.running.plan.victim_sha256", sha256)
    registry = find_methods(ROOT)
    planner = Planner(ROOT, lambda task: allowed)
    task = load_task("saliency/smoke-gradient", ROOT)
    planner.cells([task], registry.attacks(["identity"]), registry.defenses(["none"]))
    assert asked == [allowed] * 3, "the network under attack and the two that are decoys"


def test_shipped_tasks_leave_out_methods_that_exist() -> None:
    entries = find_methods(ROOT).entries
    known = {name for entry in entries for name in (entry.name, entry.variant)}
    left = {name for task in task_ids(ROOT) for name in load_task(task, ROOT).leaves_out}
    assert left and left <= known


def test_a_task_has_no_cells_of_what_it_leaves_out(fresh: Project) -> None:
    before, _ = fresh.planned()
    file = f"tasks/{TASKS[0]}.yaml"
    text = (fresh.root / file).read_text(encoding="utf-8")
    fresh.write(file, text + 'leaves_out: ["soft[beta=2]", push]\n')
    after, _ = fresh.planned()
    gone = {
        name for name in before if name.startswith(TASKS[0]) and ("soft[beta=2]" in name or " push " in name)
    }
    assert gone
    gone.add(f"{TASKS[0]} x pull x soft[beta=8] x transfer x 0")  # whose pool has nothing else
    assert set(after) == set(before) - gone
    assert all(state == after[name][0] for name, (state, _) in before.items() if name in after)


def test_a_hardening_more_changes_the_pools_of_the_others_and_nothing_else(finished: Project) -> None:
    cells = runnable(finished.cells)
    finished.method("firm", submitted("firm"))
    states, result = finished.planned()
    assert result.code == 0, result.err
    own = {cell for cell in states if " x firm x " in cell}
    stale = {cell: why for cell, (state, why) in states.items() if state == "run" and cell not in own}
    assert set(stale) == cell_names(cells[cells["mode"] == "transfer"])
    added = "against, submissions/firm/method.py, submissions/firm/card.yaml"
    assert set(stale.values()) == {f"changed: {added}"}


def test_a_pool_does_not_depend_on_the_order_in_which_methods_are_found() -> None:
    registry = find_methods(ROOT)
    task = load_task("saliency/gradient-32", ROOT)
    attacks, defenses = registry.attacks(["dombrowski"]), registry.defenses(["none", "aggregation"])
    defenses += registry.defenses(["beta_smoothing[beta=10]", "edges"])
    planned = [Planner(ROOT).cells([task], attacks, order) for order in (defenses, defenses[::-1])]
    first, second = ({cell.defense.variant: cell for cell in cells if cell.pool} for cells in planned)
    assert {name: cell.id for name, cell in first.items()} == {name: c.id for name, c in second.items()}
    pools = {name: [other.defense.variant for other in cell.pool] for name, cell in first.items()}
    both = ["aggregation", "beta_smoothing[beta=10]"]
    assert pools == {"none": both, "edges": both, both[0]: both[1:], both[1]: both[:1]}
    opened = [replace(entry, division="open") for entry in defenses if entry.variant == both[0]]
    rest = [entry for entry in defenses if entry.variant != both[0]]
    found = {c.defense.variant: len(c.pool) for c in Planner(ROOT).cells([task], attacks, opened + rest)}
    assert found == {both[0]: 1, "none": 1, "edges": 1, both[1]: 0}, (
        "what is made against open ones is in none"
    )
