"""Settings of tasks are checked strictly when they are read, on every track, and without loading anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import ROOT

from benchmark.errors import TaskError
from benchmark.tasks.data_manifest import data_entry
from benchmark.tasks.task import load_suite, load_task

SALIENCY: dict[str, Any] = {
    "version": 1,
    "title": "t",
    "track": "saliency",
    "victim": "fashion-small",
    "data": "fashion-mnist",
    "explainer": {"name": "gradient"},
    "cases": 2,
    "budget": {"linf": "16/255"},
}
OTHERS = {
    track: yaml.safe_load((ROOT / "tasks" / track / "smoke.yaml").read_text(encoding="utf-8"))
    for track in ("visualization", "signature")
}
BASE = {"saliency": SALIENCY, **OTHERS}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that lends its manifests and files."""
    (tmp_path / "tasks").mkdir()
    for name in ("victims.yaml", "datasets.yaml", "targets.yaml", "assets"):
        (tmp_path / "tasks" / name).symlink_to(ROOT / "tasks" / name)
    return tmp_path


def written(root: Path, track: str, changes: dict[str, Any], name: str = "mine") -> str:
    """Writes a task with some fields changed (``a.b`` is b within a); its id."""
    fields = yaml.safe_load(yaml.safe_dump(BASE[track]))
    for key, value in changes.items():
        *path, last = key.split(".")
        place = fields
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[last] = value
    file = root / "tasks" / track / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return f"{track}/{name}"


def refusal(root: Path, track: str, changes: dict[str, Any]) -> str:
    """What is said of a task."""
    with pytest.raises(TaskError) as raised:
        load_task(written(root, track, changes), root)
    message = str(raised.value)
    assert message.startswith(f"tasks/{track}/mine.yaml: ") and "\n" not in message and len(message) < 1500
    return message


@pytest.mark.parametrize("track", BASE)
def test_the_base_is_sound(track: str, root: Path) -> None:
    assert load_task(written(root, track, {}), root).track == track


@pytest.mark.parametrize("track", BASE)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("version", True),
        ("version", "1"),
        ("version", 1.0),
        ("version", 10**12),
        ("title", 5),
        ("title", "two\nlines"),
        ("title", "x" * 301),
        ("seeds", [2**64]),
        ("seeds", [2**63]),
        ("seeds", [-1]),
        ("seeds", [True]),
        ("seeds", ["1"]),
        ("seeds", [1.0]),
        ("seeds", [3, 1, 3]),
        ("seeds", 3),
        ("modes", ["oblivious", "oblivious"]),
        ("modes", "oblivious"),
        ("defenses", ["detector", "detector"]),
        ("leaves_out", ["a", "a"]),
        ("leaves_out", [1]),
        ("metrics.report", ["pcc", "ssim", "pcc"]),
        ("limits.seconds", True),
        ("limits.seconds", "60"),
        ("limits.seconds", 0),
        ("limits.seconds", 1e30),
        ("limits.memory_gb", -1),
        ("explainer.settings", [1]),
        ("victim", ["fashion-small"]),
        ("victim", "x" * 10_000),
        ("data", 3),
        ("precision", True),
    ],
)
def test_a_wrong_value_is_told_by_field_on_every_track(
    track: str, field: str, value: Any, root: Path
) -> None:
    assert f"field {field}" in refusal(root, track, {field: value})


@pytest.mark.parametrize(
    ("track", "field", "value"),
    [
        ("saliency", "cases", True),
        ("saliency", "cases", "4"),
        ("saliency", "cases", 4.0),
        ("saliency", "cases", 1990),  # each has a target, and there are negatives
        ("saliency", "cases", 10**10),
        ("saliency", "batch", 0),
        ("saliency", "batch", True),
        ("saliency", "budget.linf", True),
        ("saliency", "budget.linf", "0.06"),
        ("saliency", "budget.linf", "1e400"),
        ("saliency", "budget.linf", f"{'9' * 5000}/255"),
        ("saliency", "budget.l2", "2"),
        ("saliency", "budget.flow", 1.5),
        ("saliency", "budget.l2", 2.0),  # beside linf
        ("saliency", "budget", {}),
        ("saliency", "budget", {"explanations": 5}),
        ("saliency", "budget", {"patch": {"row": 25, "column": 0, "height": 4, "width": 4}}),
        ("saliency", "budget", {"patch": {"row": 0, "column": 0, "height": 28, "width": 28}}),
        ("saliency", "budget", {"patch": {"row": 0, "column": 0, "height": 0, "width": 4}}),
        ("saliency", "budget.explanations", True),
        ("saliency", "budget.explanations", 0),
        ("saliency", "constraints.prediction_kept", 1),
        ("saliency", "calibration.images", 6001),
        ("saliency", "calibration.images", 0),  # of a task with detectors
        ("saliency", "calibration.negatives", 0),
        ("saliency", "calibration.negatives", -1),
        ("saliency", "calibration.images", "32"),
        ("saliency", "calibration.false_positive_rate", True),
        ("visualization", "cases.0.unit", 10),
        ("visualization", "cases.0.unit", True),
        ("visualization", "cases.0.unit", "4"),
        ("visualization", "visualization_seeds", "4"),
        ("visualization", "metrics.top", True),
        ("visualization", "budget.accuracy_drop", False),
        ("visualization", "pools.calibration", ["fashion-tiny", "fashion-tiny"]),
        ("visualization", "pools.false_positive_rate", "0.05"),
        ("signature", "cases.0.target_class", 10),
        ("signature", "cases.0.target_class", True),
        ("signature", "cases.0.row", 28),
        ("signature", "cases.0.column", "3"),
        ("signature", "budget.trigger_change", "4"),
        ("signature", "budget.trigger_change", True),
        ("signature", "pools.negatives", ["fashion-mini-4", "fashion-mini-4"]),
    ],
)
def test_a_wrong_value_is_told_by_field(track: str, field: str, value: Any, root: Path) -> None:
    told = refusal(root, track, {field: value})
    assert f"field {field}" in told or f"field {field.rpartition('.')[0]}" in told


@pytest.mark.parametrize("track", OTHERS)
def test_cases_that_are_the_same_are_refused(track: str, root: Path) -> None:
    assert "field cases: " in refusal(root, track, {"cases": OTHERS[track]["cases"] * 2})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("lrp", {"stabilizer": "1e-6"}),
        ("lrp", {"stabilizer": 0}),
        ("lrp", {"stabilizer": True}),
        ("integrated_gradients", {"steps": 0}),
        ("integrated_gradients", {"steps": "8"}),
        ("integrated_gradients", {"steps": 8.0}),
        ("integrated_gradients", {"steps": True}),
        ("smoothgrad", {"samples": 0}),
        ("smoothgrad", {"scale": "0.1"}),
        ("smoothgrad", {"scale": -0.1}),
        ("smoothgrad", {"uniform": 1}),
        ("pattern_attribution", {"images": 0}),
        ("pattern_attribution", {"images": None}),
        ("gradient", {"steps": 3}),
        ("integrated_gradients", {"points": "middle"}),
        ("grad_cam", {"layer": "../features"}),
        ("rise", {"share": 0}),
        ("attn_lrp", {"gamma_dense": -0.1}),
        ("lime", {"segments": "slic"}),
    ],
)
def test_an_explainers_settings_are_checked(name: str, settings: dict[str, Any], root: Path) -> None:
    told = refusal(root, "saliency", {"explainer": {"name": name, "settings": settings}})
    assert "field explainer.settings" in told and next(iter(settings)) in told


def test_a_network_that_takes_other_images_or_tells_other_classes_is_refused(root: Path) -> None:
    message = refusal(root, "saliency", {"data": "cifar10"})
    assert (
        "field victim: fashion-small takes images of 1 x 28 x 28, those of cifar10 are 3 x 32 x 32" in message
    )
    text = (ROOT / "tasks" / "victims.yaml").read_text(encoding="utf-8")
    (root / "tasks" / "victims.yaml").unlink()
    (root / "tasks" / "victims.yaml").write_text(text + "\nwide:\n  <<: *fashion-small\n  classes: 12\n")
    assert "field victim: wide tells 12 classes, fashion-mnist has 10" in refusal(
        root, "saliency", {"victim": "wide"}
    )
    for track, part in (("visualization", "pools.negatives"), ("signature", "pools.negatives")):
        assert "wide tells 12 classes" in refusal(root, track, {part: ["wide"]})


def test_a_crop_is_no_larger_than_the_picture(root: Path) -> None:
    text = (ROOT / "tasks" / "datasets.yaml").read_text(encoding="utf-8")
    file = root / "tasks" / "datasets.yaml"
    file.unlink()
    file.write_text(text.replace("  crop: 224\n", "  crop: 300\n"), encoding="utf-8")
    for name in ("imagenet-folder", "imagenet-samples-package"):
        with pytest.raises(TaskError, match=rf"datasets\.yaml: entry '{name}': .*crop must not be larger"):
            data_entry(name, root)


def test_a_wrong_entry_stops_only_those_that_use_it(root: Path) -> None:
    text = (ROOT / "tasks" / "victims.yaml").read_text(encoding="utf-8")
    (root / "tasks" / "victims.yaml").unlink()
    (root / "tasks" / "victims.yaml").write_text(text + "\nwrong:\n  source: nowhere\n")
    good, bad = written(root, "saliency", {}), written(root, "saliency", {"victim": "wrong"}, "bad")
    (root / "tasks" / "suites.yaml").write_text(
        yaml.safe_dump({"both": {"title": "t", "tasks": [good, bad]}, "odd": {"tasks": 3}})
    )
    suite = load_suite("both", root)
    assert [task.id for task in suite.tasks] == [good]
    assert suite.problems[0].startswith("tasks/victims.yaml: entry 'wrong': ")


@pytest.mark.parametrize(
    "task_id", ["../suites", "saliency/../../x", "/etc/passwd", "a/b\0", "a" * 5000, "", "saliency"]
)
def test_an_id_that_is_none_is_an_unknown_task(task_id: str, root: Path) -> None:
    with pytest.raises(TaskError, match="unknown task"):
        load_task(task_id, root)


@pytest.mark.parametrize("track", [["saliency"], {"a": 1}, None, 3, True, "", "x" * 9000])
def test_a_track_that_is_none_is_told(track: Any, root: Path) -> None:
    assert "field track: unknown track" in refusal(root, "saliency", {"track": track})


def test_a_task_without_detectors_needs_no_calibration(root: Path) -> None:
    changes = {
        "calibration": {"images": 0, "negatives": 0},
        "defenses": ["hardening"],
        "modes": ["oblivious"],
    }
    assert load_task(written(root, "saliency", changes), root).defense_kinds() == ["hardening"]


def test_the_suite_from_packages_is_sound() -> None:
    """Its tasks can be read without the packages; what a step of its methods costs is set in the tasks."""
    suite = load_suite("imagenet-offline", ROOT)
    assert not suite.problems and len(suite.tasks) == 5
    forging = {"saliency": "dombrowski", "visualization": "slingshot_matched", "signature": "badnets"}
    for task in suite.tasks:
        assert task.data in ("imagenet-samples-package", "imagenet-samples-halves")
        assert task.defense_kinds() == ["hardening"] and task.limits.seconds >= 3600
        settings = task.method_settings[forging[task.track]]
        assert settings.get("iterations", settings.get("steps")) <= 160
