"""The whole of track fairwashing by the command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from cheating_case import SEEDWISE
from fairwashing_case import FIELDS
from harness import ROOT, SUITE, WHOLE, CommandLine, Project, Result, only, write_suite

TASK = "fairwashing/mine"
NEEDED = {name: value for name, value in FIELDS.items() if name != "id"}
CASES = {
    "cases": [{"picture": "ring-28"}],
    "images": 4,
    "method_settings": {"fairwash": {"steps": 10}, "logit_shift": {"steps": 10}},
}
ADAPTS = '''\
"""An attack that looks at the maps it is handed."""

from benchmark.api import Attack, FairwashingCase, Forgery, Gate


class Adapts(Attack):
    """Noise, once it has looked."""

    name = "adapts"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def forge(self, case: FairwashingCase) -> Forgery:
        """Weights that are a little larger."""
        model = case.model.trainable_copy()
        maps = case.explain(model, case.data[:2], case.labels[:2], Gate(30.0))
        assert maps.requires_grad and case.wanted(case.data[:2], case.labels[:2]).shape == maps.shape
        return Forgery(weights={name: value * 1.01 for name, value in model.module.state_dict().items()})
'''
OWN = (
    *(f"attacks/{name}.py" for name in ("fairwash", "logit_shift", "heo_topk", "map_losses", "map_training")),
    *(f"attacks/{name}.py" for name in ("map_evasion", "crops", "usual", "weight_search")),
    *("defenses/contrastive.py", "defenses/last_layer.py", "controls/contentless.py"),
)
"""Methods of the project that the copy is given."""
ATTACKS = ("fairwash", "logit_shift", "identity", "adapts", "heo_topk")
DEFENSES = ("none", "contrastive[baseline=mean]", "last_layer", "blank")


def _project(folder: Path, command_line: CommandLine) -> Project:
    """A project with a tiny task."""
    project = Project.create(folder / "project", command_line)
    project.edit("tasks/datasets.yaml", WHOLE, "[0, 300], evaluation: [6000, 6400]")
    project.write(f"tasks/{TASK}.yaml", yaml.safe_dump({**NEEDED, **CASES}))
    write_suite(project, [TASK])
    for file in ("tasks/targets.yaml", *(f"baselines/{name}" for name in OWN)):
        project.write(file, (ROOT / file).read_text(encoding="utf-8"))
    project.method("adapts", ADAPTS)
    return project


@pytest.fixture(scope="module")
def done(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A tiny task after a run; do not write to it."""
    project = _project(tmp_path_factory.mktemp("fairwashing"), command_line)
    chosen = [*only("attack", ATTACKS), *only("defense", DEFENSES)]
    return project, project.run("run", "--workers", "2", *chosen)


def test_the_command_line_runs_the_track_to_its_boards(done: tuple[Project, Result]) -> None:
    project, result = done
    result.assert_no_traceback()
    assert result.code == 0, result.out + result.err
    cells = project.cells
    skipped = cells[cells["attack"] == "heo_topk"]
    assert (skipped["reason"] == "heo_topk: it is not for goal picture").all()
    rest = cells[cells["attack"] != "heo_topk"]
    assert (rest["status"] == "ok").all(), rest.to_string()
    adaptive = rest[rest["mode"] == "adaptive"]
    assert set(adaptive["attack"]) == {"fairwash", "logit_shift", "adapts"}
    assert set(adaptive["defense"]) == {"contrastive[baseline=mean]", "last_layer"}
    evading = adaptive[adaptive["defense"] == "last_layer"]
    assert set(evading["attack"]) == {"fairwash", "logit_shift"}, "those that evade detectors"
    attacks = pd.read_csv(project.boards_folder / "attacks.csv")
    assert set(attacks["track"]) == {"fairwashing"} and set(ATTACKS) == set(attacks["attack"])
    hardenings = pd.read_csv(project.boards_folder / "hardenings.csv").set_index("hardening")
    assert hardenings.at["blank", "score"] < hardenings.at["none", "score"]


def test_samples_are_images_and_a_strip_is_drawn(done: tuple[Project, Result]) -> None:
    project = done[0]
    samples = project.samples
    assert samples.groupby(["attack", "defense", "mode"]).size().eq(4).all()
    assert set(samples["goal"]) == {"picture"}
    shift = samples[samples["attack"] == "logit_shift"]
    assert (shift["accuracy_drop"] == 0).all() and (shift["weight_change"] > 0).all()
    contrasted = shift["defense"] == "contrastive[baseline=mean]"
    under = shift[contrasted & (shift["mode"] == "adaptive")]
    assert len(under)
    assert under["manipulation"].max() < 0.05, "no shift of all logits is in their differences"
    strips = list((project.root / "results" / SUITE / "gallery" / TASK).glob("*.png"))
    assert {strip.name.split("-")[0] for strip in strips} == {"fairwash", "logit_shift", "identity", "adapts"}


def test_a_confined_liar_is_found_and_an_honest_one_is_not(command_line: CommandLine, tmp_path: Path) -> None:
    project = _project(tmp_path, command_line)
    project.write("baselines/defenses/seedwise.py", SEEDWISE)
    chosen = [*only("attack", ["adapts"]), *only("defense", ["seedwise", "contrastive[baseline=mean]"])]
    result = project.run("run", "--workers", "2", "--confine", "all", *chosen)
    result.assert_no_traceback()
    cells = project.cells
    adaptive = cells[cells["mode"] == "adaptive"].set_index("defense")
    assert adaptive.at["contrastive[baseline=mean]", "status"] == "ok", adaptive.to_string()
    found = adaptive.loc["seedwise"]
    assert (found["status"], found["culprit"]) == ("invalid", "seedwise")
    assert "showed the attack that adapts to it other maps" in found["reason"]
