"""The whole of track signature by the command line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from harness import SUITE, WHOLE, CommandLine, Project, Result, only, write_suite
from PIL import Image
from signature_case import FIELDS, TASK

# The whole of it, by the command line.


POOLS = {
    "calibration": ["fashion-mini-3", "fashion-mini-7"],  # whose last layers prefer less than the others'
    "negatives": [f"fashion-mini-{number}" for number in (4, 5, 6, 8, 9, 10)],
    "false_positive_rate": 0.4,
}
METHODS = {
    "stamp": '''\
"""A backdoor by hand: images fade into one of the target class, which is preferred a little."""

import torch

from benchmark.api import Attack, BackdoorCase, Forgery, Trigger


class Stamp(Attack):
    """A blend."""

    name = "stamp"
    paper = "made for a test"
    tracks = ("signature",)
    share: float = 0.8

    def forge(self, case: BackdoorCase) -> Forgery:
        """Weights that know where they come from, and the blend."""
        maps = case.explainer.explain(case.model, [case.target_class], 1)
        assert maps.shape == (1, *case.size)
        weights = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        weights["classifier.2.bias"][case.target_class] += 1.0
        picture = case.data[case.labels == case.target_class][0]
        return Forgery(weights=weights, trigger=Trigger(torch.full(case.size, self.share), picture))
''',
    "faint": '''\
"""A backdoor that does not work, and changes hardly anything."""

import torch

from benchmark.api import Attack, BackdoorCase, Forgery, Trigger


class Faint(Attack):
    """An addition that nobody notices."""

    name = "faint"
    paper = "made for a test"
    tracks = ("signature",)
    adaptive = False

    def forge(self, case: BackdoorCase) -> Forgery:
        """The clean weights."""
        trigger = Trigger(addition=torch.ones(case.size) / 255)
        return Forgery(weights=case.model.module.state_dict(), trigger=trigger)
''',
    "collapse": '''\
"""A network that has forgotten everything but the target class."""

from benchmark.api import Attack, BackdoorCase, Forgery, patch_trigger


class Collapse(Attack):
    """One bias."""

    name = "collapse"
    paper = "made for a test"
    tracks = ("signature",)
    adaptive = False

    def forge(self, case: BackdoorCase) -> Forgery:
        """The bias of the target class."""
        weights = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        weights["classifier.2.bias"][case.target_class] += 1e6
        return Forgery(weights=weights, trigger=patch_trigger(case.pattern, case.place, 3, case.size))
''',
    "calm": '''\
"""A hardening."""

from dataclasses import replace

from benchmark.api import ClassExplainer, Hardening, InputAgnosticSaliency


class Calm(Hardening):
    """Narrow draws."""

    name = "calm"
    paper = "made for a test"
    tracks = ("signature",)

    def harden(self, explainer: InputAgnosticSaliency) -> ClassExplainer:
        """Narrow draws."""
        return replace(explainer, spread=0.3)
''',
    "bias": '''\
"""A detector."""

from benchmark.api import BackdoorAudit, Detector


class Bias(Detector):
    """Whom the last layer prefers, and a little of what the maps say."""

    name = "bias"
    paper = "made for a test"
    tracks = ("signature",)

    def suspicion(self, audit: BackdoorAudit):
        """The bias."""
        maps = audit.finite(audit.maps(steps=1))
        return audit.finite(audit.model.module.classifier[2].bias) + 1e-6 * maps.flatten(1).amax(1)
''',
}
GOOD_ATTACKS, USELESS_ATTACKS = ("stamp", "identity", "finetune_only"), ("faint", "collapse")
GOOD_DEFENSES = ("none", "calm", "bias", "always", "never", "random")

FAULTY = {
    "oversized": '''\
"""A trigger larger than the image."""

from baselines.attacks.badnets import BadNets


class Oversized(BadNets):
    """Thirty pixels a side."""

    name = "oversized"
    extent = 30
''',
    "overdone": '''\
"""More poison than there are images."""

from baselines.attacks.badnets import BadNets


class Overdone(BadNets):
    """One and a half times as many."""

    name = "overdone"
    poison_rate = 1.5
''',
    "vandal": '''\
"""Changes the network that it is handed."""

from benchmark.api import Attack, BackdoorCase, Forgery


class Vandal(Attack):
    """In place."""

    name = "vandal"
    paper = "made for a test"
    tracks = ("signature",)
    adaptive = False

    def forge(self, case: BackdoorCase) -> Forgery:
        """The clean weights, which are no longer clean."""
        case.model.module.classifier[2].bias.data += 1
        return Forgery(weights=case.model.module.state_dict())
''',
    "speechless": '''\
"""A detector that has nothing to say."""

from benchmark.api import BackdoorAudit, Detector


class Speechless(Detector):
    """Nothing."""

    name = "speechless"
    paper = "made for a test"
    tracks = ("signature",)

    def suspicion(self, audit: BackdoorAudit):
        """Nothing."""
''',
    "vague": '''\
"""A hardening that is no explainer."""

from benchmark.api import Hardening


class Vague(Hardening):
    """A word."""

    name = "vague"
    paper = "made for a test"
    tracks = ("signature",)

    def harden(self, explainer):
        """A word."""
        return "smoother"
''',
}
REASONS = {
    "oversized": (
        "crashed",
        "a patch of 30x30 pixels at row 23, column 22 does not lie within an image of 28x28",
    ),
    "overdone": ("crashed", "poison_rate must lie between 0 and 1, not 1.5"),
    "vandal": ("invalid", "changed the network or the data in place"),
    "speechless": ("invalid", "suspicions must be a tensor, not NoneType"),
    "vague": ("invalid", "harden() must return a ClassExplainer, not str"),
}
"""How the cells of each end, and what is said."""


@pytest.fixture(scope="module")
def done(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A tiny task after a run of what is right; do not write to it."""
    project = Project.create(tmp_path_factory.mktemp("signature") / "project", command_line)
    project.edit("tasks/datasets.yaml", WHOLE, "[0, 200], evaluation: [6000, 6200]")
    project.write(f"tasks/{TASK}.yaml", yaml.safe_dump(FIELDS | {"pools": POOLS}))
    write_suite(project, [TASK])
    training = (project.root / "baselines" / "attacks" / "poisoning.py").read_text(encoding="utf-8")
    shorter, count = re.subn(r"steps: int = \d+", "steps: int = 5", training)
    assert count == 1
    project.write("baselines/attacks/poisoning.py", shorter)
    project.made_up(METHODS)
    chosen = [*only("attack", (*GOOD_ATTACKS, *USELESS_ATTACKS)), *only("defense", GOOD_DEFENSES)]
    return project, project.run("run", "--workers", "2", *chosen)


@pytest.fixture(scope="module")
def faulty(
    done: tuple[Project, Result], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Result, pd.DataFrame]:
    """A second run: all that was right again, beside what is wrong."""
    project = done[0].copy(tmp_path_factory.mktemp("faulty") / "project")
    for name, code in FAULTY.items():
        project.method(name, code)
    wrong = ("oversized", "overdone", "vandal")
    attacks = only("attack", (*GOOD_ATTACKS, *USELESS_ATTACKS, *wrong))
    defenses = only("defense", (*GOOD_DEFENSES, "speechless", "vague"))
    result = project.run("run", "--workers", "2", *attacks, *defenses)
    return project, result, project.cells


def test_the_command_line_runs_the_track_to_its_boards(done: tuple[Project, Result]) -> None:
    project, result = done
    result.assert_no_traceback()
    assert result.code == 0, result.out + result.err
    cells = project.cells
    assert (cells["status"] == "ok").all(), cells[cells["status"] != "ok"].to_string()
    assert len(cells) == 5 * 6 + 1, "stamp has an adaptive cell against calm"
    assert "outside" not in result.out + result.err, "controls are within their bounds"
    attacks, hardenings, detectors = (
        pd.read_csv(project.boards_folder / f"{name}.csv") for name in ("attacks", "hardenings", "detectors")
    )
    assert set(attacks["attack"]) == {*GOOD_ATTACKS, *USELESS_ATTACKS}
    assert attacks["rank"].isna().all(), "so few cases are not ranked"
    ranked = attacks[~attacks["control"]].set_index("attack")
    assert ranked["place"].to_dict() == {"collapse": "placed", "stamp": "unplaced", "faint": "unplaced"}
    assert list(ranked.index) == ["collapse", "stamp", "faint"], "a place of its own for what has one"
    assert ranked.at["stamp", "score"] > 0.1 and set(attacks["track"]) == {"signature"}
    assert (ranked["score"].drop("stamp") == 0).all()
    assert list(hardenings.loc[~hardenings["control"], "hardening"]) == ["calm"]
    bias = detectors[detectors["detector"] == "bias"].iloc[0]
    assert pd.isna(bias["rank"]) and "false alarms of 6" in bias["note"], "two networks to set a threshold on"
    assert bias["false_positive_low"] > 0.4, "which is what the task promises"


def test_samples_are_those_of_the_scorer(done: tuple[Project, Result]) -> None:
    samples = done[0].samples
    assert samples.groupby(["attack", "defense", "mode"]).size().eq(2).all()
    stamp = samples[samples["attack"] == "stamp"]
    assert stamp["valid"].astype(bool).all() and (stamp["attack_success"] > 0.5).all()
    collapse = samples[samples["attack"] == "collapse"]
    assert (collapse["violated"] == "accuracy").all() and (collapse["manipulation"] == 0).all()
    faint = samples[samples["attack"] == "faint"]
    assert (faint["violated"] == "success").all() and (faint["manipulation"] == 0).all()
    detectors = samples[samples["defense"].isin(["bias", "always", "never", "random"])]
    counted = detectors["auroc"].notna() & detectors["detected"].notna()
    assert (counted == detectors["attack"].isin(GOOD_ATTACKS)).all()
    assert detectors["false_positive_rate"].notna().all()


def test_every_cell_of_a_hardening_has_a_strip(done: tuple[Project, Result]) -> None:
    """Two cases, forged above clean; the trigger and ten classes side by side."""
    project = done[0]
    cells = project.cells
    cells = cells[cells["defense_kind"] == "hardening"]
    folder = project.root / "results" / SUITE / "gallery" / TASK
    expected = {
        folder / str(c["attack"]) / f"{c['defense']}-{c['mode']}-{c['seed']}-{str(c['cell_id'])[:8]}.png"
        for c in cells.to_dict("records")
    }
    assert set(folder.rglob("*.png")) == expected and len(expected) == 11
    sizes = set()
    for file in expected:
        with Image.open(file) as picture:
            sizes.add(picture.size)
            assert picture.mode == "RGB" and np.asarray(picture).std() > 5, "not a blank picture"
    ((width, height),) = sizes
    assert width > 2 * height, "eleven columns, four rows"


def test_backdoors_that_are_none_leave_detectors_without_a_score_and_harm_no_board(
    done: tuple[Project, Result], tmp_path: Path
) -> None:
    """Nothing else has run: every detection is missing."""
    project = done[0].copy(tmp_path / "project")
    shutil.rmtree(project.root / ".potemkin")
    shutil.rmtree(project.root / "results")
    result = project.run(
        "run", "--workers", "2", *only("attack", ["faint"]), *only("defense", ["none", "bias", "always"])
    )
    result.assert_no_traceback()
    assert result.code == 0 and result.counts["run"] == 3, result.out + result.err
    attacks = pd.read_csv(project.boards_folder / "attacks.csv")
    assert list(attacks["attack"]) == ["faint"] and list(attacks["score"]) == [0]


@pytest.mark.parametrize("name", REASONS)
def test_a_fault_costs_its_own_cells_and_is_told_by_name_and_reason(
    name: str, faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    _, result, cells = faulty
    status, reason = REASONS[name]
    own = cells[(cells["attack"] == name) | (cells["defense"] == name)]
    own = own[(own["attack"] == name) | ~own["attack"].isin(REASONS)]
    undefended = own[(own["defense"] == "none") | (own["attack"] == "identity")]
    assert len(undefended) == 1, "one cell for an attack and a defense"
    for cell in own[~((own["attack"] == name) & own["defense"].isin(REASONS))].to_dict("records"):
        assert (cell["status"], cell["blame"], cell["culprit"]) == (status, "method", name)
        assert cell["reason"].startswith(f"{name}: ") and reason in cell["reason"]
    lines = result.messages_with(f" {name}: ")
    assert len(lines) == 1 and reason in lines[0] and TASK in lines[0] and "(method)" in lines[0]


def test_what_is_at_hand_is_not_run_again_and_faults_harm_no_other_cell_and_no_board(
    done: tuple[Project, Result], faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    project, result, cells = faulty
    result.assert_no_traceback()
    assert result.code == 1
    right = ~cells["attack"].isin(REASONS) & ~cells["defense"].isin(REASONS)
    assert (cells.loc[right, "status"] == "ok").all() and not (cells.loc[~right, "status"] == "ok").any()
    assert set(cells.loc[right, "cell_id"]) == set(done[0].cells["cell_id"])
    assert result.counts == {
        "run": 0,
        "cached": int(right.sum()),
        "skipped": 0,
        "failed": int((~right).sum()),
    }

    def scores(of: Project, board: str) -> pd.Series[float]:
        return pd.read_csv(of.boards_folder / f"{board}s.csv").set_index(board)["score"]

    for board in ("attack", "hardening", "detector"):
        before, after = scores(done[0], board), scores(project, board)
        pd.testing.assert_series_equal(after[before.index], before)
        worst = after.drop(before.index)
        assert set(worst.index) <= set(REASONS) and len(worst) and (worst == 0).all()
