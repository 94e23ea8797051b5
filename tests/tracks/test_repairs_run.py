"""Repairs by the command line: from a task that has them to the board."""

from __future__ import annotations

import pandas as pd
import pytest
import yaml
from fairwashing_case import FIELDS
from harness import ROOT, WHOLE, CommandLine, Project, Result, only, write_suite

TASK = "fairwashing/mine"
NEEDED = {name: value for name, value in FIELDS.items() if name != "id"}
CASES = {
    "cases": [{"picture": "ring-28"}],
    "images": 4,
    "decoys": ["fashion-mini-2"],
    "defenses": ["hardening", "repair"],
    "method_settings": {"fairwash": {"steps": 40}, "clean_finetuning": {"steps": 20}},
}
OWN = (
    *(f"attacks/{name}.py" for name in ("fairwash", "map_losses", "map_training", "map_evasion")),
    *(f"attacks/{name}.py" for name in ("crops", "usual", "weight_search")),
    *(f"defenses/{name}.py" for name in ("finetuning", "clean_finetuning", "batch_norm_reestimation")),
    "controls/repairs.py",
)
"""Methods of the project that the copy is given."""
SUBMITTED = '''\
"""A repair that rounds."""

from benchmark.api import Repair, RepairCase


class Rounds(Repair):
    """Hundredths."""

    name = "rounds"
    paper = "made for a test"

    def repair(self, case: RepairCase):
        """Rounded weights."""
        return {name: (100 * value).round() / 100 for name, value in case.model.module.state_dict().items()}
'''
ATTACKS = ("fairwash", "identity")
REPAIRS = (
    *("clean_finetuning[rate=0.0003]", "batch_norm_reestimation", "rounds"),
    *("unrepaired", "constant_network", "new_head"),
)


@pytest.fixture(scope="module")
def done(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A tiny task after a run; do not write to it."""
    project = Project.create(tmp_path_factory.mktemp("repairs") / "project", command_line)
    project.edit("tasks/datasets.yaml", WHOLE, "[0, 300], evaluation: [6000, 6400]")
    project.write(f"tasks/{TASK}.yaml", yaml.safe_dump({**NEEDED, **CASES}))
    write_suite(project, [TASK])
    for file in ("tasks/targets.yaml", *(f"baselines/{name}" for name in OWN)):
        project.write(file, (ROOT / file).read_text(encoding="utf-8"))
    project.method("rounds", SUBMITTED)
    chosen = [*only("attack", ATTACKS), *only("defense", ("none", *REPAIRS))]
    return project, project.run("run", "--workers", "2", *chosen)


def test_a_run_ends_with_a_board_of_repairs(done: tuple[Project, Result]) -> None:
    project, result = done
    result.assert_no_traceback()
    assert result.code == 0, result.out + result.err
    cells = project.cells
    skipped = cells[cells["status"] == "skipped"]
    assert set(skipped["defense"]) == {"batch_norm_reestimation"}
    assert skipped["reason"].str.startswith("batch_norm_reestimation: the network has no batch norm").all()
    rest = cells[cells["status"] != "skipped"]
    assert (rest["status"] == "ok").all(), rest.to_string()
    adaptive = set(rest.loc[rest["mode"] == "adaptive", "defense"])
    assert adaptive == {"clean_finetuning[rate=0.0003]", "rounds"}
    board = pd.read_csv(project.boards_folder / "repairs.csv").set_index("repair")
    assert set(board.index) == set(REPAIRS)
    assert board.at["constant_network", "score"] == 0
    assert board.at["new_head", "score"] < board.at["unrepaired", "score"]
    left = board.at["batch_norm_reestimation", "score"], board.at["unrepaired", "score"]
    assert left[0] == pytest.approx(left[1]), "what does not apply leaves things as they are"


def test_a_forgery_is_made_once_for_hardenings_and_repairs(done: tuple[Project, Result]) -> None:
    cells = done[0].cells
    oblivious = cells[(cells["mode"] == "oblivious") & (cells["attack"] == "fairwash")]
    assert oblivious["forge_id"].nunique() == 1
    adaptive = cells[(cells["mode"] == "adaptive") & (cells["attack"] == "fairwash")]
    assert not set(adaptive["forge_id"]) & set(oblivious["forge_id"])


def test_nothing_is_left_or_lost_where_nothing_is_done(done: tuple[Project, Result]) -> None:
    samples = done[0].samples
    rows = samples[samples["attack"] == "fairwash"].set_index(["defense", "sample_id"])
    same = rows.loc["unrepaired"]
    assert (same["repair_change"] == 0).all() and (same["repair_cost"] == 0).all()
    none = rows.loc["none"].reindex(same.index)
    assert same["likeness"].to_numpy() == pytest.approx(none["likeness"].to_numpy())
    assert same["told"].to_numpy() == pytest.approx(none["told"].to_numpy(), abs=1e-6)
    assert (rows.loc["constant_network", "repair_cost"] > 0.3).all()
