"""Task files of track signature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import ROOT
from signature_case import CPU, FIELDS, SIZE, TASK, case, explainer, pools, root

from benchmark.api import InputAgnosticSaliency
from benchmark.errors import TaskError
from benchmark.tasks.task import load_task
from benchmark.tracks.signature.task import SignatureTask
from benchmark.tracks.signature.workbench import prepare

# Task files.


def read(tmp_path: Path, **changes: Any) -> SignatureTask:
    """The task of a file with some fields changed."""
    (tmp_path / "tasks" / "signature").mkdir(parents=True)
    for name in ("victims.yaml", "datasets.yaml", "targets.yaml"):
        (tmp_path / "tasks" / name).symlink_to(ROOT / "tasks" / name)
    (tmp_path / "tasks" / f"{TASK}.yaml").write_text(yaml.safe_dump({**FIELDS, **changes}), encoding="utf-8")
    task = load_task(TASK, tmp_path)
    assert isinstance(task, SignatureTask)
    return task


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        (case(target_class=10), "cases.0.target_class", "fashion-mini-1 has classes 0 to 9, not 10"),
        (case(target_class=-1), "cases.0.target_class", "at least 0"),
        (case(row=28), "cases.0", "row 28, column 22 lies outside images of 28x28"),
        (case(column=99), "cases.0", "row 23, column 99 lies outside images of 28x28"),
        (case(row=-1), "cases.0.row", "at least 0"),
        (case(pattern="disc"), "cases.0.pattern", "'square', 'checkerboard' or 'cross'"),
        (case(patern="cross"), "cases.0.patern", "did you mean 'pattern'?"),
        (case(victim="fashion-mini-0"), "cases.0.victim", "did you mean 'fashion-mini-"),
        ({"cases": [{"target_class": 1, "row": 2}]}, "cases.0.column", "missing; add it"),
        ({"cases": []}, "cases", "is empty"),
        ({"cases": 2}, "cases", "list"),
        ({"victim": "fashion-min-1"}, "victim", "did you mean 'fashion-mini-1'?"),
        ({"data": "fashion"}, "data", "unknown name 'fashion'"),
        ({"explainer": {"name": "gradient"}}, "explainer.name", "known: input_agnostic_saliency"),
        (explainer(sample=3), "explainer.settings", "did you mean 'samples'?"),
        (explainer(without=["scaling"]), "explainer.settings", "unknown setting 'without'"),
        (explainer(steps=0), "explainer.settings.steps", "above 0; it is 0"),
        (explainer(steps=2.5), "explainer.settings.steps", "whole number"),
        (explainer(steps="3"), "explainer.settings.steps", "whole number; it is '3'"),
        (explainer(samples=3.0), "explainer.settings.samples", "whole number; it is 3.0"),
        (explainer(samples=True), "explainer.settings.samples", "whole number"),
        (explainer(radius="wide"), "explainer.settings.radius", "number; it is 'wide'"),
        (explainer(radius=float("nan")), "explainer.settings.radius", "finite number"),
        (explainer(spread=-1), "explainer.settings.spread", "at least 0"),
        (explainer(step=0), "explainer.settings.step", "above 0"),
        (explainer(nudges=-1), "explainer.settings.nudges", "at least 0"),
        (explainer(shift=-1), "explainer.settings.shift", "at least 0"),
        (explainer(scaled=1), "explainer.settings.scaled", "true or false"),
        ({"classes": [3]}, "classes", "at least 2"),
        ({"classes": [3, 7, 10]}, "classes", "fashion-mini-1 has classes 0 to 9, not 10"),
        ({"classes": [3, 4]}, "classes", "add the cases' target class 7"),
        ({"classes": [3, 7, 3]}, "classes", "names 3 twice"),
        ({"budget": {}}, "budget.accuracy_drop", "missing; add it"),
        ({"budget": {"accuracy_drop": 1.5}}, "budget.accuracy_drop", "at most 1"),
        ({"budget": {"accuracy_drop": "a/4"}}, "budget.accuracy_drop", "write a number or a fraction"),
        ({"budget": {"accuracy_drop": 0.1, "sucess": 0.9}}, "budget.sucess", "did you mean 'success'?"),
        ({"metrics": {"top": 0}}, "metrics.top", "above 0"),
        ({"metrics": {"report": ["mse"]}}, "metrics.report.0", "'ssim'"),
        ({"modes": ["adaptiv"]}, "modes.0", "'adaptive'"),
        (pools(["fashion-mini-3"], []), "pools.negatives", "is empty"),
        (pools(["fashion-mini-33"], ["fashion-mini-333"]), "pools.negatives", "'fashion-mini-33'?"),
        (
            pools(["fashion-mini-3", "fashion-mini-4"], ["fashion-mini-4"]),
            "pools",
            "fashion-mini-4 is in both pools, and a threshold is never tested where it was set",
        ),
        (
            pools(["fashion-mini-3"], ["fashion-mini-4", "fashion-mini-2"]),
            "pools.negatives",
            "fashion-mini-2 is the network of a case",
        ),
        (
            pools(["fashion-mini-3"], ["fashion-mini-4"], false_positive_rate=1),
            "pools.false_positive_rate",
            "below 1",
        ),
    ],
)
def test_a_wrong_field_is_told_in_one_line_by_file_field_and_fix(
    changes: dict[str, Any], field: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskError) as raised:
        read(tmp_path, **changes)
    message = str(raised.value)
    assert message.startswith(f"tasks/{TASK}.yaml: field {field}: "), message
    assert hint in message, message
    assert "\n" not in message and "pydantic" not in message


def test_settings_reach_the_map(tmp_path: Path) -> None:
    given = {"steps": 2, "samples": 3, "radius": 1, "step": 0.25, "spread": 0}
    task = read(tmp_path, **explainer(**given))
    found = prepare(task, root(), CPU).explainer
    assert found == InputAgnosticSaliency(SIZE, **given)


def test_a_task_knows_its_networks_and_what_it_is_for(tmp_path: Path) -> None:
    task = read(tmp_path)
    assert task.victims() == [f"fashion-mini-{number}" for number in range(1, 11)]
    assert task.case_count == 2 and task.defense_kinds() == ["hardening", "detector"]
    without = SignatureTask(**{"id": TASK, **FIELDS, "pools": None})
    assert without.defense_kinds() == ["hardening"]
    assert without.victims() == ["fashion-mini-1", "fashion-mini-2"]


def test_identities_change_with_what_matters(tmp_path: Path) -> None:
    """A budget scores anew, and is told to attacks; metrics and false positive rates score anew only."""
    task = read(tmp_path)

    def identities(**changes: Any) -> tuple[bool, bool]:
        other = SignatureTask(**{"id": TASK, **FIELDS, **changes})
        return other.run_identity() != task.run_identity(), other.score_identity() != task.score_identity()

    assert identities(title="another") == identities(limits={"seconds": 9}) == (False, False)
    assert identities(metrics={"top": 0.5}) == (False, True)
    assert identities(pools={**FIELDS["pools"], "false_positive_rate": 0.1}) == (False, True)
    assert identities(budget={"accuracy_drop": 0.1}) == (True, True)
    assert identities(**case(row=3))[0] and identities(**explainer(steps=4))[0]
    assert identities(version=2)[0] and identities(precision="float64")[0]


def test_every_task_of_the_track_can_be_read() -> None:
    files = sorted((ROOT / "tasks" / "signature").glob("*.yaml"))
    assert files
    for file in files:
        assert isinstance(load_task(f"signature/{file.stem}", ROOT), SignatureTask)
