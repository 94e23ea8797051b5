"""Which images a task of maps attacks, and whose maps are the targets."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from harness import ROOT

from benchmark.tasks.task import load_task
from benchmark.tracks.saliency.task import SaliencyTask, TargetSpec
from benchmark.tracks.saliency.workbench import Workbench, prepare


def made(kind: str, cases: int = 24) -> Workbench:
    """A small task with one kind of targets, ready."""
    task = cast("SaliencyTask", load_task("saliency/smoke-gradient", ROOT))
    target = TargetSpec.model_validate({"kind": kind})
    return prepare(task.model_copy(update={"target": target, "cases": cases}), ROOT, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["other_image", "drawn_image"])
def test_a_target_is_of_another_class_and_classes_are_turned_or_drawn(kind: str) -> None:
    bench = made(kind)
    shift = (bench.targets.labels - bench.cases.labels) % 10
    assert (shift != 0).all()
    assert torch.bincount(bench.cases.labels, minlength=10).max() <= 3, "cases are of all classes in turn"
    if kind == "other_image":
        assert shift.unique().tolist() == [3]
    else:
        assert len(shift.unique()) >= 6
        assert torch.equal(made(kind).targets.inputs, bench.targets.inputs), "drawn once and for all"
    several = torch.cat([bench.cases.inputs, bench.targets.inputs, bench.negatives.inputs]).flatten(1)
    assert len(several.unique(dim=0)) == len(several), "no image has two roles"
