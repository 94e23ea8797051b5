"""Which images a task of maps attacks, and whose maps are the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
import torch
from harness import ROOT
from torch import nn

from benchmark.errors import TaskError
from benchmark.explainers import Gradient, GradientTimesInput, Query
from benchmark.network import Network
from benchmark.tasks.data import Split, load_data
from benchmark.tasks.task import load_task
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.saliency import workbench
from benchmark.tracks.saliency.task import CalibrationSpec, SaliencyTask
from benchmark.tracks.saliency.workbench import Workbench, _check_gradient, prepare


def made(cases: int = 24, version: int = 1) -> Workbench:
    """A small task, ready."""
    task = cast("SaliencyTask", load_task("saliency/smoke-gradient", ROOT))
    return prepare(task.model_copy(update={"cases": cases, "version": version}), ROOT, torch.device("cpu"))


def test_cases_are_of_all_classes_in_turn_and_targets_of_drawn_other_classes() -> None:
    bench = made()
    shift = (bench.targets.labels - bench.cases.labels) % 10
    assert (shift != 0).all()
    assert torch.bincount(bench.cases.labels, minlength=10).max() <= 3, "cases are of all classes in turn"
    assert torch.bincount(shift, minlength=10).max() <= 8, "no class is the one to be looked for"
    assert len(shift.unique()) >= 6
    assert torch.equal(made().targets.inputs, bench.targets.inputs), "drawn once and for all"
    assert not torch.equal(made(version=2).targets.labels, bench.targets.labels)
    several = torch.cat([bench.cases.inputs, bench.targets.inputs, bench.negatives.inputs]).flatten(1)
    assert len(several.unique(dim=0)) == len(several), "no image has two roles"


def test_no_case_and_no_target_is_an_image_whose_map_shows_nothing() -> None:
    """Grad-CAM of this network is dead for many coats, which would be drawn otherwise."""
    task = cast("SaliencyTask", load_task("saliency/grad-cam-16", ROOT))
    task = task.model_copy(update={"calibration": CalibrationSpec(images=0, negatives=64)})
    bench = prepare(task, ROOT, torch.device("cpu"))

    def dead(images: Images) -> int:
        maps = bench.explainer.explain(bench.model, Query(images.inputs, images.labels)).flatten(1)
        return int((maps.amax(1) == maps.amin(1)).sum())

    assert len(bench.cases) == len(bench.targets) == task.cases
    assert dead(bench.cases) == dead(bench.targets) == 0
    natural = Images(bench.natural, predictions(bench.model, bench.natural))
    assert dead(natural) > 0, "there are such"


def test_methods_are_handed_what_natural_images_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small data set fewer than of a large one; none at all is refused."""
    task = cast("SaliencyTask", load_task("saliency/smoke-gradient", ROOT))
    task = task.model_copy(update={"calibration": CalibrationSpec(images=0, negatives=0)})
    whole = load_data(task.data, ROOT)
    for count in (5, 0):
        part = replace(whole, counts={"attacker": count, "evaluation": 300})
        monkeypatch.setattr(workbench, "load_data", lambda *_, part=part: part)
        if count:
            bench = prepare(task, ROOT, torch.device("cpu"))
            assert 3 <= len(bench.natural) <= 5 and not len(bench.calibration) and not len(bench.negatives)
        else:
            with pytest.raises(TaskError, match="1 correctly classified images of split attacker"):
                prepare(task, ROOT, torch.device("cpu"))


def test_images_are_read_in_parts_and_no_more_than_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of as many as ImageNet has not all can be held; in what parts they are read changes nothing."""
    task = cast("SaliencyTask", load_task("saliency/smoke-gradient", ROOT))
    task = task.model_copy(update={"calibration": CalibrationSpec(images=8, negatives=4)})
    whole = load_data(task.data, ROOT)
    size = 4 * 28 * 28
    plain = prepare(task, ROOT, torch.device("cpu"))
    monkeypatch.setattr(workbench, "_PART_BYTES", 10 * size)
    parts = prepare(task, ROOT, torch.device("cpu"))
    for one, other in zip(plain.images(), parts.images(), strict=True):
        assert torch.equal(one, other)

    read: list[int] = []

    def counted(name: str, indices: Sequence[int]) -> Split:
        read.extend(indices if name == "attacker" else [])
        return whole.part(name, indices)

    monkeypatch.setattr(workbench, "load_data", lambda *_: replace(whole, _read=counted))
    monkeypatch.setattr(workbench, "_MOST_BYTES", 30 * size)
    few = prepare(task, ROOT, torch.device("cpu"))
    assert 30 <= len(read) <= 60 < (8 + 16) * 8, "so many, and what was classified wrongly"
    assert torch.equal(few.calibration.inputs, plain.calibration.inputs)
    assert 30 - 8 <= len(few.natural) < 40


def test_maps_that_attacks_have_no_gradient_of_are_refused_and_no_others() -> None:
    """Of a linear network the gradient is the same for all images, whatever is smoothed."""
    task = cast("SaliencyTask", load_task("saliency/smoke-gradient", ROOT))
    images = Images(torch.rand(2, 1, 6, 6), torch.tensor([1, 2]))
    linear = Network(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)))
    with pytest.raises(TaskError, match=r"maps of gradient on fashion-small have no gradient in the image"):
        _check_gradient(task, linear, Gradient(), images)
    for network, explainer in (
        (linear, GradientTimesInput()),
        (Network(nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 4))), Gradient()),
    ):
        _check_gradient(task, network, explainer, images)
