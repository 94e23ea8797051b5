"""Task files of track visualization, and the cells that are planned for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from harness import ROOT, Project, write_suite
from visualization_project import FIELDS, SALIENCY, TASK, write_task

from benchmark.errors import TaskError
from benchmark.explainers.visualization import (
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Transformations,
)
from benchmark.tasks.task import load_task
from benchmark.tracks.visualization.workbench import procedure_of

SIZE = (1, 28, 28)
SPECTRUM = torch.ones(1, 28, 15)


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        ({"victim": "fashion-tin"}, "victim", "did you mean 'fashion-tiny'?"),
        ({"data": "fashion"}, "data", "unknown name 'fashion'"),
        ({"cases": [{"unit": 1, "target": "cross"}]}, "cases.0.target", "did you mean 'cross-28'?"),
        ({"cases": [{"unit": 1, "target": "ring-28", "victim": "fashion-sml"}]}, "cases.0.victim", "did you"),
        ({"cases": [{"unit": 1, "targt": "ring-28"}]}, "cases.0.targt", "did you mean 'target'?"),
        ({"cases": [{"unit": -1, "target": "ring-28"}]}, "cases.0.unit", "at least 0"),
        ({"cases": [{"unit": 1}]}, "cases.0.target", "missing; add it"),
        ({"cases": []}, "cases", "is empty"),
        ({"cases": 2}, "cases", "list"),
        ({"explainer": {"name": "feature_visualisation"}}, "explainer.name", "'feature_visualization'?"),
        ({"explainer": {"name": "gradient"}}, "explainer.name", "unknown name 'gradient'"),
        (
            {"explainer": {"name": "feature_visualization", "settings": {"step": 1}}},
            "explainer.settings",
            "unknown setting 'step': did you mean 'steps'?",
        ),
        (
            {"explainer": {"name": "feature_visualization", "settings": {"crops": None}}},
            "explainer.settings",
            "unknown setting 'crops'",
        ),
        ({"budget": {"linf": 0.1}}, "budget.accuracy_drop", "missing; add it"),
        ({"budget": {"accuracy_drop": 1.5}}, "budget.accuracy_drop", "at most 1"),
        ({"visualization_seeds": 0}, "visualization_seeds", "above 0"),
        ({"visualisation_seeds": 4}, "visualisation_seeds", "did you mean 'visualization_seeds'?"),
        ({"metrics": {"primary": "mse_target"}}, "metrics.primary", "ssim_target"),
        ({"metrics": {"report": ["pcc"]}}, "metrics.report", "add ssim, the primary metric"),
        ({"metrics": {"oter_seeds": 1}}, "metrics.oter_seeds", "did you mean 'other_seeds'?"),
        ({"modes": ["adaptiv"]}, "modes.0", "'adaptive'"),
        ({"defenses": []}, "defenses", "is empty"),
        ({"pools": {"calibration": ["fashion-mini-1"]}}, "pools.negatives", "missing; add it"),
        (
            {"pools": {"calibration": ["fashion-mini-1"], "negatives": ["fashion-small-0"]}},
            "pools.negatives",
            "did you mean 'fashion-small-",
        ),
        (
            {"pools": {"calibration": ["fashion-mini-1", "fashion-mini-2"], "negatives": ["fashion-mini-2"]}},
            "pools",
            "fashion-mini-2 is in both pools",
        ),
        (
            {"pools": {"calibration": ["fashion-tiny"], "negatives": ["fashion-mini-2"]}},
            "pools.calibration",
            "fashion-tiny is the network of a case",
        ),
        (
            {"explainer": {"name": "feature_visualization", "settings": {"optimizer": "adamw"}}},
            "explainer.settings",
            "adam",
        ),
        (
            {"explainer": {"name": "feature_visualization", "settings": {"steps": 0}}},
            "explainer.settings",
            "steps",
        ),
        (
            {"explainer": {"name": "feature_visualization", "settings": {"learning_rate": "fast"}}},
            "explainer.settings",
            "learning_rate",
        ),
        (
            {"explainer": {"name": "feature_visualization", "settings": {"parametrization": "wavelet"}}},
            "explainer.settings.parametrization",
            "fourier",
        ),
        (
            {"explainer": {"name": "feature_visualization", "settings": {"transformations": {"shft": 2}}}},
            "explainer.settings.transformations",
            "",
        ),
        (
            {
                "explainer": {
                    "name": "feature_visualization",
                    "settings": {"transformations": {"scale": [1.2, 0.8]}},
                }
            },
            "explainer.settings.transformations",
            "smallest",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_wrong_field_is_told_in_one_line_by_file_field_and_fix(
    changes: dict[str, Any], field: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / "tasks" / "visualization").mkdir(parents=True)
    for name in ("victims.yaml", "datasets.yaml", "targets.yaml"):
        (tmp_path / "tasks" / name).symlink_to(ROOT / "tasks" / name)
    (tmp_path / "tasks" / f"{TASK}.yaml").write_text(yaml.safe_dump({**FIELDS, **changes}), encoding="utf-8")
    with pytest.raises(TaskError) as raised:
        load_task(TASK, tmp_path)
    message = str(raised.value)
    assert message.startswith(f"tasks/{TASK}.yaml: "), message
    assert f"field {field}" in message and hint in message, message
    assert "\n" not in message and "pydantic" not in message


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, FeatureVisualization(SIZE)),
        ({"parametrization": "fourier", "optimizer": "adam"}, FeatureVisualization(SIZE, Fourier(), "adam")),
        (
            {"transformations": {"rotations": [5], "scale": [0.9, 1], "shift": 0, "noise": 0.1}},
            FeatureVisualization(SIZE, transformations=Transformations((5.0,), (0.9, 1.0), 0, 0.1)),
        ),
        ({"transformations": {}}, FeatureVisualization(SIZE, transformations=Transformations())),
        ({"parametrization": "maco"}, FeatureVisualization(SIZE, MagnitudeConstrained(SPECTRUM))),
    ],
    ids=["pixel", "fourier", "given", "usual", "maco"],
)
def test_a_task_says_what_is_optimized_and_behind_what(
    settings: dict[str, Any], expected: FeatureVisualization
) -> None:
    found = procedure_of(settings, SIZE, SPECTRUM)
    assert found == expected and type(found.parametrization) is type(expected.parametrization)


def test_a_parametrization_that_needs_even_pictures_is_refused_for_others() -> None:
    with pytest.raises(TaskError, match="even width"):
        procedure_of({"parametrization": "fourier"}, (3, 27, 27), SPECTRUM)


# The plan.


@pytest.fixture(scope="module")
def planned(base: Project, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The planned cells of tasks that differ in what they are for."""
    project = base.copy(tmp_path_factory.mktemp("planned") / "project")
    tasks = [
        write_task(project, "no-pools", pools=...),
        write_task(project, "oblivious", modes=["oblivious"]),
        write_task(project, "adaptive", modes=["adaptive"]),
        write_task(project, "for-hardenings", defenses=["hardening"]),
        write_task(project, "for-detectors", defenses=["detector"]),
    ]
    write_suite(project, [SALIENCY, TASK, *tasks])
    states, result = project.planned()
    assert result.code == 0, result.err
    return pd.DataFrame(
        [name.split(" x ") for name in states], columns=["task", "attack", "defense", "mode", "seed"]
    )


def defenses(planned: pd.DataFrame, task: str) -> set[str]:
    """Defenses that have cells of a task."""
    return set(planned.loc[planned["task"] == task, "defense"])


VISUALIZATION_DEFENSES = {"none", "clipped", "probe", "always", "never", "random"}


def test_a_method_has_cells_on_tasks_of_its_track_alone(planned: pd.DataFrame) -> None:
    of_task = {str(task): rows for task, rows in planned.groupby("task")}
    assert set(of_task[TASK]["attack"]) == {"nudge", "identity", "finetune_only"}
    assert defenses(planned, TASK) == VISUALIZATION_DEFENSES
    assert set(of_task[SALIENCY]["attack"]) == {"push", "pull", "identity", "copy_target", "random_noise"}
    soft = {"soft[beta=2]", "soft[beta=8]"}
    assert defenses(planned, SALIENCY) == {"none", *soft, "gap", "always", "never", "random"}


def test_a_task_without_pools_has_no_cells_of_detectors(planned: pd.DataFrame) -> None:
    assert defenses(planned, "visualization/no-pools") == {"none", "clipped"}


def test_a_task_says_which_defenses_it_is_for(planned: pd.DataFrame) -> None:
    assert defenses(planned, "visualization/for-hardenings") == {"none", "clipped"}
    expected = {"none", "probe", "always", "never", "random"}
    assert defenses(planned, "visualization/for-detectors") == expected, "none tells what is undefended"


def test_a_task_says_which_modes_it_has(planned: pd.DataFrame) -> None:
    modes = planned.groupby("task")["mode"].agg(set)
    assert modes[TASK] == {"oblivious", "adaptive"}
    assert modes["visualization/oblivious"] == {"oblivious"}
    adaptive = planned[planned["task"] == "visualization/adaptive"]
    assert adaptive[["attack", "defense", "mode"]].to_numpy().tolist() == [["nudge", "clipped", "adaptive"]]
