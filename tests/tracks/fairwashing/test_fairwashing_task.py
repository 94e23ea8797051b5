"""Tasks of track fairwashing: what cannot be is said by file, field and fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from fairwashing_case import CASES, FIELDS, made, of_goal, root
from harness import ROOT

from benchmark.api import GOALS, FairwashingFacts
from benchmark.errors import TaskError
from benchmark.tasks.task import load_task
from benchmark.tracks.fairwashing.task import FairwashingTask, Goal
from benchmark.tracks.fairwashing.workbench import task_facts

TASK = {name: value for name, value in FIELDS.items() if name != "id"}


def refusal(tmp_path: Path, **changes: Any) -> str:
    """What is said of a task with some fields changed."""
    (tmp_path / "tasks" / "fairwashing").mkdir(parents=True)
    for name in ("victims.yaml", "datasets.yaml", "targets.yaml", "assets"):
        (tmp_path / "tasks" / name).symlink_to(ROOT / "tasks" / name)
    text = yaml.safe_dump({**TASK, **changes})
    (tmp_path / "tasks" / "fairwashing" / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(TaskError) as raised:
        load_task("fairwashing/mine", tmp_path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"goal": "pictures"}, "field goal: "),
        ({"cases": [{}]}, "field cases.0.picture: add it, goal picture needs one"),
        ({"cases": [{"picture": "ring-29"}]}, "field cases.0.picture: unknown name"),
        ({"goal": "top_k"}, "field cases.0.picture: remove it, goal top_k has none"),
        (
            {"goal": "trigger_picture"},
            "field cases.0.row: a trigger has a place: add it, goal trigger_picture needs one",
        ),
        ({"goal": "swapped_classes", "cases": [{"classes": [1, 10]}]}, "has classes 0 to 9, not 10"),
        ({"goal": "swapped_classes", "cases": [{"classes": [1]}]}, "field cases.0.classes"),
        (
            {"goal": "full_disguise", "cases": [{"target_class": 10, "row": 0, "column": 0}]},
            "field cases.0.target_class: fashion-tiny has classes 0 to 9, not 10",
        ),
        (
            {"goal": "full_disguise", "cases": [{"target_class": 1, "row": 28, "column": 0}]},
            "lies outside images of 28x28",
        ),
        ({"explainer": {"name": "gradients"}}, "field explainer.name: unknown name"),
        ({"metrics": {"transfer": ["lrpp"]}}, "field metrics.transfer: unknown name"),
        ({"metrics": {"primary": "ssim_target", "report": ["pcc"]}}, "field metrics.report: add ssim"),
        ({"budget": {}}, "field budget.accuracy_drop: missing"),
        ({"images": 0}, "field images"),
    ],
)
def test_a_wrong_field_is_told_in_one_line(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in refusal(tmp_path, **changes)


def test_goals_of_tasks_are_those_of_methods() -> None:
    assert set(get_args(Goal)) == set(GOALS) == set(CASES)


def test_methods_know_the_goal_and_the_budget() -> None:
    facts = task_facts(FairwashingTask(**FIELDS))
    assert isinstance(facts, FairwashingFacts)
    assert (facts.goal, facts.explainer, facts.budget.agreement) == ("picture", "gradient", 0.3)  # type: ignore[attr-defined]


def test_only_scores_depend_on_explainers_of_transfer() -> None:
    one, other = (FairwashingTask(**{**FIELDS, "metrics": {"transfer": names}}) for names in ([], ["lrp"]))
    assert one.run_identity() == other.run_identity() and one.score_identity() != other.score_identity()
    changed = FairwashingTask(**{**FIELDS, "images": 7})
    assert one.run_identity() != changed.run_identity()


def test_an_explainer_that_learns_from_the_network_is_refused() -> None:
    with pytest.raises(TaskError, match="pattern_attribution learns from the network, which is forged"):
        made(explainer={"name": "pattern_attribution"})


def test_too_few_images_are_told() -> None:
    with pytest.raises(TaskError, match="500 correctly classified images that case 0 is about are needed"):
        of_goal("swapped_classes", images=500)


def test_every_task_of_the_track_can_be_read() -> None:
    files = sorted((ROOT / "tasks" / "fairwashing").glob("*.yaml"))
    assert files
    for file in files:
        load_task(f"fairwashing/{file.stem}", ROOT)


def test_images_are_what_the_goal_is_about_and_in_no_other_hands() -> None:
    for goal in CASES:
        bench = of_goal(goal)
        (case,) = bench.cases
        assert len(case.images) == 6 and bool(case.goal.concerns(case.images.labels).all())
        hidden = {image.numpy().tobytes() for image in case.images.inputs}
        for split in (bench.splits.attacker, bench.splits.auditor):
            assert not hidden & {image.numpy().tobytes() for image in split.images}
        assert len(case.stay) == (0 if goal in ("picture", "top_k", "center_mass", "other_image") else 6)
        if goal == "swapped_classes":
            assert set(case.images.labels.tolist()) == {1, 9}
            assert not set(case.stay.labels.tolist()) & {1, 9}
    assert root().exists()
