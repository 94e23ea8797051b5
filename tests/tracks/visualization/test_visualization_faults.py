"""Runs of the command line on track visualization: faults, boards, pictures and what runs again."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from harness import ROOT, STEPS, SUITE, Project, Result, only, write_suite
from PIL import Image
from visualization_project import SALIENCY, SEEDS, TASK, write_task

from benchmark.boards.columns import NEVER_ATTACKED

UNITS = ["logits:4", "features.3:3"]

_ATTACK = '''\
import os, sys
from collections.abc import Mapping
import torch
from benchmark.api import Attack, Forgery, VisualizationCase


class Unreadable(Mapping):
    """Weights that cannot be read."""

    def __init__(self, names): self.names = names

    def __len__(self): return len(self.names)

    def __iter__(self): return iter(self.names)

    def __getitem__(self, name): raise OSError("no weights today")


class Faulty(Attack):
    """Wrong in one way."""

    name = "{name}"
    paper = "made for a test"
    tracks = ("visualization",)
    adaptive = False

    def forge(self, case: VisualizationCase) -> Forgery:
        """Wrong."""
        weights = {{name: value.clone() for name, value in case.model.module.state_dict().items()}}
        bias = "classifier.2.bias"
{body}
'''

_HARDENING = '''\
import torch
from benchmark.api import Hardening, Visualizer


class Wrapped(Visualizer):
    """A visualizer that is wrong in one way."""

    name = "wrapped"

    def __init__(self, inner): self.inner = inner

    def procedures(self):
        """Right."""
        return self.inner.procedures()

    def explain(self, model, units, seeds):
        """Wrong, perhaps."""
        images = self.inner.explain(model, units, seeds)
        {explain}

    def attainable(self, model, target):
        """Wrong, perhaps."""
        shown = self.inner.attainable(model, target)
        {attainable}


class Faulty(Hardening):
    """Wrong in one way."""

    name = "{name}"
    paper = "made for a test"
    tracks = ("visualization",)

    def harden(self, explainer):
        """Wrong, perhaps."""
        {harden}
'''

_DETECTOR = '''\
import torch
from benchmark.api import Detector


class Faulty(Detector):
    """Wrong in one way."""

    name = "{name}"
    paper = "made for a test"
    tracks = ("visualization",)

    def suspicion(self, audit):
        """Wrong."""
        {body}
'''


@dataclass(frozen=True)
class Fault:
    """What a method does, and how its cells have to end.

    Args:
        code: body of the method.
        status: of the cells.
        reason: part of the reason.
        place: method of the visualizer that the code stands in, for hardenings.
    """

    code: str
    status: str
    reason: str
    place: str = ""


_GIVEN = "\nreturn Forgery(weights=weights)"
ATTACKS = {
    "adds-a-tensor": Fault(
        'weights["classifier.4.bias"] = torch.zeros(3)' + _GIVEN,
        "invalid",
        "changed the architecture: classifier.4.bias is new",
    ),
    "drops-a-tensor": Fault(
        "weights.pop(bias)" + _GIVEN, "invalid", "changed the architecture: classifier.2.bias is missing"
    ),
    "changes-a-shape": Fault(
        "weights[bias] = torch.zeros(11)" + _GIVEN,
        "invalid",
        "weights classifier.2.bias have shape [11] instead of [10]",
    ),
    "nan-weights": Fault(
        "weights[bias][3] = float('nan')" + _GIVEN,
        "invalid",
        "weights classifier.2.bias hold 1 values that are NaN or infinite",
    ),
    "infinite-in-single": Fault(
        "weights[bias] = torch.full((10,), 1e300, dtype=torch.float64)" + _GIVEN,
        "invalid",
        "weights classifier.2.bias hold 10 values that are NaN or infinite",
    ),
    "returns-inputs": Fault(
        "return Forgery(case.data)", "invalid", "must return Forgery(weights=...), not Forgery(inputs)"
    ),
    "returns-nothing": Fault("return None", "invalid", "must return Forgery(weights=...), not NoneType"),
    "returns-weights": Fault("return weights", "invalid", "must return Forgery(weights=...), not dict"),
    "returns-integers": Fault(
        "weights[bias] = weights[bias].long()" + _GIVEN,
        "invalid",
        "weights classifier.2.bias have type torch.int64 instead of torch.float32",
    ),
    "returns-sparse-tensors": Fault(
        "weights[bias] = weights[bias].to_sparse()" + _GIVEN, "invalid", "cannot be returned"
    ),
    "returns-no-storage": Fault(
        "weights[bias] = weights[bias].to('meta')" + _GIVEN, "invalid", "cannot be returned"
    ),
    "unreadable-weights": Fault(
        "return Forgery(weights=Unreadable(list(weights)))", "crashed", "OSError: no weights today"
    ),
    "raises": Fault("raise KeyError('no such thing')", "crashed", "KeyError: 'no such thing'"),
    "raises-for-one-case": Fault(
        "assert case.unit.layer == 'logits', 'logits only'" + _GIVEN, "crashed", "AssertionError: logits only"
    ),
    "changes-the-network": Fault(
        "case.model.module.state_dict()[bias].add_(0.5)" + _GIVEN,
        "invalid",
        "changed the network or the data in place",
    ),
    "changes-the-images": Fault(
        "case.data[:3].fill_(0.5)" + _GIVEN, "invalid", "changed the network or the data in place"
    ),
}
HARDENINGS = {
    "hardens-nothing": Fault(
        "return None", "invalid", "harden() must return a Visualizer, not NoneType", "harden"
    ),
    "harden-raises": Fault("return 1 / 0", "crashed", "ZeroDivisionError", "harden"),
    "narrow-images": Fault(
        "return images[..., 1:]",
        "invalid",
        "1, 28, 27] instead of [1,",
        "explain",
    ),
    "nan-images": Fault("return images * float('nan')", "invalid", "NaN or infinite", "explain"),
    "no-images": Fault("return None", "invalid", "visualizations must be a tensor, not NoneType", "explain"),
    "raising-images": Fault(
        "raise RuntimeError('no image today')", "crashed", "RuntimeError: no image today", "explain"
    ),
    "attainable-raises": Fault("return shown[7]", "crashed", "IndexError", "attainable"),
    "attainable-narrow": Fault("return shown[..., 1:]", "invalid", "attainable pictures", "attainable"),
    "attainable-nothing": Fault("return None", "invalid", "attainable pictures must be", "attainable"),
}
DETECTORS = {
    "nan-suspicion": Fault("return torch.full((audit.samples,), float('nan'))", "invalid", "suspicions hold"),
    "infinite-suspicion": Fault("return torch.ones(audit.samples) / 0", "invalid", "NaN or infinite"),
    "one-suspicion": Fault("return torch.zeros(())", "invalid", "suspicions have shape [] instead of [1]"),
    "no-suspicion": Fault("return [0.0] * audit.samples", "invalid", "must be a tensor, not list"),
    "detector-raises": Fault("raise ValueError('no idea')", "crashed", "ValueError: no idea"),
}
FAULTS = {**ATTACKS, **HARDENINGS, **DETECTORS}
FALSE_LINES = "cells: 0 run, 99 cached, 0 skipped, 0 failed"
LEGAL = {
    "chatty": f"print({FALSE_LINES!r}, flush=True)\nos.write(2, {FALSE_LINES.encode()!r})" + _GIVEN,
    "forgets-everything": "weights = {name: value * 0 for name, value in weights.items()}" + _GIVEN,
    "overflows": "weights = {name: -1e30 * value for name, value in weights.items()}" + _GIVEN,
}
"""Attacks that break no rule of what is returned; the last two lose all accuracy."""
GOOD_ATTACKS = ("nudge", "identity")
GOOD_DEFENSES = ("none", "clipped", "probe")


def faulty_code(name: str) -> str:
    """The file of a faulty method."""
    if name in ATTACKS:
        return _ATTACK.format(name=name, body=textwrap.indent(ATTACKS[name].code, " " * 8))
    if name in DETECTORS:
        return _DETECTOR.format(name=name, body=DETECTORS[name].code)
    right = {"explain": "return images", "attainable": "return shown", "harden": "return Wrapped(explainer)"}
    return _HARDENING.format(name=name, **{**right, HARDENINGS[name].place: HARDENINGS[name].code})


WRONG_TASKS: dict[str, tuple[dict[str, Any], str]] = {
    "no-unit": (
        {"unit": 10, "target": "ring-28"},
        "unit logits:10 does not exist: layer logits has units 0 to 9",
    ),
    "small-target": (
        {"unit": 1, "target": "small"},
        "target small: small.png is 20 x 28 pixels, but the network takes 28 x 28: resize it",
    ),
    "no-target": (
        {"unit": 1, "target": "rung-28"},
        "field cases.0.target: unknown name 'rung-28': did you mean 'ring-28'?",
    ),
}
"""A case of each wrong task, and what must be said about it."""


@pytest.fixture(scope="module")
def done(base: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """Both tracks after a run of methods that are right, beside wrong tasks; do not write to it."""
    project = base.copy(tmp_path_factory.mktemp("done") / "project")
    path = project.root / "tasks" / "small.png"
    Image.new("L", (20, 28)).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = {"picture": path.name, "picture_sha256": digest, "licence": "MIT", "origin": "a test"}
    text = (project.root / "tasks" / "targets.yaml").read_text(encoding="utf-8")
    project.write("tasks/targets.yaml", text + yaml.safe_dump({"small": entry}))
    wrong = [write_task(project, name, cases=[case]) for name, (case, _) in WRONG_TASKS.items()]
    write_suite(project, [SALIENCY, TASK, *wrong])
    chosen = [*only("attack", ("push", *GOOD_ATTACKS)), *only("defense", (*GOOD_DEFENSES, "soft[beta=2]"))]
    return project, project.run("run", "--workers", "2", *chosen)


@pytest.fixture(scope="module")
def faulty(
    done: tuple[Project, Result], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Result, pd.DataFrame]:
    """A second run: everything that is wrong beside everything that is right, a line of which is another."""
    project = done[0].copy(tmp_path_factory.mktemp("faulty") / "project")
    project.edit("submissions/nudge/method.py", "share: float = 0.01", "share: float = 0.02")
    for name in FAULTS:
        project.method(name, faulty_code(name))
    for name, code in LEGAL.items():
        project.method(name, _ATTACK.format(name=name, body=textwrap.indent(code, " " * 8)))
    attacks = only("attack", (*GOOD_ATTACKS, *LEGAL, *ATTACKS))
    defenses = only("defense", (*GOOD_DEFENSES, *HARDENINGS, *DETECTORS))
    result = project.run("run", "--task", TASK, "--workers", "2", *attacks, *defenses)
    cells = project.cells
    return project, result, cells[cells["task"] == TASK]


def own_cells(cells: pd.DataFrame, name: str) -> pd.DataFrame:
    """Cells of a faulty method with methods that are right."""
    if name in ATTACKS:
        return cells[(cells["attack"] == name) & cells["defense"].isin(GOOD_DEFENSES)]
    return cells[(cells["defense"] == name) & ~cells["attack"].isin([*ATTACKS])]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_recorded_on_its_own_cells_and_blamed_on_its_method(
    name: str, faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    cells, fault = own_cells(faulty[2], name), FAULTS[name]
    undefended = cells[(cells["defense"] == "none") | (cells["attack"] == "identity")]
    assert len(undefended) == 1, "one cell for an attack and a defense"
    for cell in cells.to_dict("records"):
        where = f"{cell['attack']} x {cell['defense']} x {cell['mode']}: {cell['reason']}"
        assert cell["status"] == fault.status, where
        assert (cell["blame"], cell["n"]) == ("method", 0) and fault.reason in cell["reason"], where
        assert cell["reason"].startswith(f"{cell['culprit']}: "), where
        if cell["culprit"] != name:
            assert (cell["culprit"], cell["mode"]) == ("nudge", "adaptive"), where
            assert f"in a process with {name}, also submitted" in cell["reason"], where


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_in_one_line(name: str, faulty: tuple[Project, Result, pd.DataFrame]) -> None:
    lines = faulty[1].messages_with(f" {name}: ")
    assert len(lines) == 1, lines
    assert FAULTS[name].reason in lines[0] and TASK in lines[0] and "(method)" in lines[0]


def test_all_other_cells_end_ok(faulty: tuple[Project, Result, pd.DataFrame]) -> None:
    _, result, cells = faulty
    right = ~cells["attack"].isin([*ATTACKS]) & cells["defense"].isin(GOOD_DEFENSES)
    bad = cells[right & (cells["status"] != "ok")]
    assert bad.empty, bad[["attack", "defense", "mode", "status", "reason"]].to_string()
    assert set(cells.loc[right, "attack"]) == {*GOOD_ATTACKS, *LEGAL}
    assert result.counts["run"] + result.counts["cached"] == int(right.sum())
    assert result.counts["failed"] == int((~right).sum())


def test_a_run_with_faults_shows_no_traceback_and_exits_with_1(
    faulty: tuple[Project, Result, pd.DataFrame],
) -> None:
    result = faulty[1]
    result.assert_no_traceback()
    assert result.code == 1
    assert FALSE_LINES not in result.out + result.err, "what a method prints is nobody's result"
    assert result.out.count("cells: ") == 1


def test_faults_count_as_the_worst_admissible_value_on_the_boards(
    faulty: tuple[Project, Result, pd.DataFrame],
) -> None:
    def rows(board: str, name: str) -> pd.Series[float]:
        table = pd.read_csv(faulty[0].boards_folder / f"{board}.csv")
        return table[table["track"] == "visualization"].set_index(name)["score"]

    assert (rows("attacks", "attack")[[*ATTACKS]] == 0).all()
    assert (rows("hardenings", "hardening")[[*HARDENINGS]] == 0).all()
    assert (rows("detectors", "detector")[[*DETECTORS]] == 0).all()


@pytest.mark.parametrize("name", ["forgets-everything", "overflows"])
def test_a_network_that_lost_its_accuracy_is_no_manipulation(
    name: str, faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    samples = faulty[0].samples
    rows = samples[(samples["attack"] == name) & (samples["track"] == "visualization")]
    assert set(rows["defense"]) == {*GOOD_DEFENSES}
    assert not rows["valid"].astype(bool).any()
    assert (rows["violated"] == "accuracy").all() and (rows["manipulation"] == 0).all()
    assert (rows["accuracy_drop"] > 0.5).all()


def test_a_method_that_keeps_its_accuracy_is_valid(done: tuple[Project, Result]) -> None:
    samples = done[0].samples
    rows = samples[samples["track"] == "visualization"]
    assert rows["valid"].astype(bool).all() and (rows["violated"] == "").all()
    assert list(rows[rows["defense"] == "none"].groupby("attack")["unit"].agg(list)) == [UNITS] * 2


# Tasks.


def test_a_task_that_cannot_be_is_told_in_one_line_and_harms_no_other(
    done: tuple[Project, Result],
) -> None:
    project, result = done
    result.assert_no_traceback()
    assert result.code == 1
    for name, (_, text) in WRONG_TASKS.items():
        lines = result.messages_with(f"visualization/{name}")
        assert len(lines) == 1 and text in lines[0], (text, result.err)
    cells = project.cells
    right = cells["task"].isin([SALIENCY, TASK])
    assert (cells.loc[right, "status"] == "ok").all()
    assert set(cells.loc[~right, "task"]) == {"visualization/small-target"}, "the others cannot be read"
    assert (cells.loc[~right, "status"] == "invalid").all() and (cells.loc[~right, "blame"] == "task").all()


# Boards, pictures and what runs again.


def test_boards_rank_the_tracks_apart(done: tuple[Project, Result]) -> None:
    for name, ranked in (
        ("attacks", {"saliency": ["push"], "visualization": ["nudge"]}),
        ("hardenings", {"saliency": ["soft[beta=2]"], "visualization": ["clipped"]}),
    ):
        board = pd.read_csv(done[0].boards_folder / f"{name}.csv")
        assert board.columns[0] == "track"
        for track, expected in ranked.items():
            sound = board["note"].fillna("").isin(["", NEVER_ATTACKED])
            rows = board[(board["track"] == track) & ~board["control"] & sound]
            assert list(rows.iloc[:, 1]) == expected and rows["rank"].isna().all(), (name, track)
    attacks = pd.read_csv(done[0].boards_folder / "attacks.csv")
    assert sorted(attacks.loc[attacks["attack"] == "identity", "track"]) == ["saliency", "visualization"]
    for name in ("detectors", "matrix", "tasks"):
        assert "track" in pd.read_csv(done[0].boards_folder / f"{name}.csv")
    detectors = pd.read_csv(done[0].boards_folder / "detectors.csv")
    assert set(detectors["track"]) == {"visualization"}, "no detector of the other track was asked for"


def size_of(cells: int, rows: int) -> tuple[int, int]:
    """Width and height of a strip: panels of 112 pixels, 4 between them, under a line of 16."""
    return cells * 116 - 4, rows * 116 - 4 + 16


def test_every_cell_of_a_hardening_has_a_strip_and_every_attack_an_overview(
    done: tuple[Project, Result],
) -> None:
    project = done[0]
    cells = project.cells
    cells = cells[(cells["task"] == TASK) & (cells["defense_kind"] == "hardening")]
    folder = project.root / "results" / SUITE / "gallery" / TASK
    assert len(cells) == 5, "nudge has an adaptive cell"
    expected = set()
    for cell in cells.to_dict("records"):
        name = f"{cell['defense']}-{cell['mode']}-{cell['seed']}-{str(cell['cell_id'])[:8]}.png"
        expected.add(folder / str(cell["attack"]) / name)
        with Image.open(folder / str(cell["attack"]) / name) as picture:
            assert (picture.mode, picture.size) == ("RGB", size_of(2 + 2 * SEEDS, len(UNITS)))
            assert np.asarray(picture).std() > 10, "not a blank picture"
    for attack, rows in cells.groupby("attack"):
        (overview,) = folder.glob(f"{attack}-0-*.png")
        expected.add(overview)
        with Image.open(overview) as picture:
            assert picture.size == size_of(2 + len(rows), len(UNITS))
    assert set(folder.rglob("*.png")) == expected


def test_strips_show_targets_and_images_where_their_captions_say(done: tuple[Project, Result]) -> None:
    project = done[0]
    folder = project.root / "results" / SUITE / "gallery" / TASK / "identity"
    (file,) = folder.glob("none-oblivious-0-*.png")
    with Image.open(file) as picture:
        pixels = np.asarray(picture)
    with Image.open(ROOT / "tasks" / "assets" / "targets" / "ring-28.png") as target:
        ring = np.asarray(target).repeat(4, 0).repeat(4, 1)
    panels = [pixels[16 : 16 + 112, 116 * i : 116 * i + 112, 0].astype(int) for i in range(2 + 2 * SEEDS)]
    assert np.abs(panels[0] - ring).max() <= 1 and np.abs(panels[1] - ring).max() <= 1
    for seed in range(SEEDS):
        assert np.abs(panels[2 + seed] - panels[2 + SEEDS + seed]).max() <= 1, "identity changes nothing"


def test_what_is_at_hand_is_not_run_again_and_a_changed_line_runs_its_own_cells(
    done: tuple[Project, Result], faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    """Nudge has changed between the two runs, identity has not."""
    before, after = done[0], faulty[0]
    right = {(attack, defense) for attack in GOOD_ATTACKS for defense in GOOD_DEFENSES}
    ran: dict[str, list[str]] = {}
    for kind in STEPS:
        known = {step: record["started"] for step, record in before.records(kind).items()}
        records = after.records(kind)
        assert known and {step: records[step]["started"] for step in known} == known, "a step ran again"
        new = [records[step]["coordinates"] for step in records.keys() - known]
        ran[kind] = [at["attack"] for at in new if (at["attack"], at["defense"]) in right]
    assert ran["reference"] == [], "references do not depend on the attack"
    assert ran["judge"] == ran["score"] == ["nudge"] * 4, "none, probe, and clipped in both modes"
    assert set(ran["forge"]) <= {"nudge"}
    assert faulty[1].counts["cached"] == len(GOOD_DEFENSES), "identity"


def test_pictures_of_a_changed_attack_take_the_place_of_the_old_ones(
    done: tuple[Project, Result], faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    old, new = (
        {
            path.relative_to(project.root)
            for path in (project.root / "results" / SUITE / "gallery").rglob("*.png")
        }
        for project in (done[0], faulty[0])
    )
    folder = Path("results") / SUITE / "gallery" / TASK

    def of(names: set[Path], attack: str) -> set[Path]:
        strips = {name for name in names if name.parent == folder / attack}
        return strips | {n for n in names if n.parent == folder and n.name.startswith(f"{attack}-0-")}

    assert of(old, "identity") == of(new, "identity") and len(of(old, "identity")) == 3
    assert len(of(old, "nudge")) == len(of(new, "nudge")) == 4
    assert not of(old, "nudge") & of(new, "nudge")
