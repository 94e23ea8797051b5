"""What detectors of images are calibrated and tested on: natural images, and harmlessly changed ones."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from benchmark.api import LInfBudget
from benchmark.seeds import seed_of
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.saliency import harmless
from benchmark.tracks.saliency.adversarial import Adversary
from benchmark.tracks.saliency.workbench import Workbench


@dataclass(frozen=True)
class Pools:
    """Images by kind of change, none of whose predicted class has changed.

    Args:
        calibration: of the attacker split, of the kinds for which a rate of false alarms is promised:
            ``clean``, ``noised`` and ``adversarial``.
        negatives: of the evaluation split, none of them a case: those kinds and :data:`harmless.CHANGES`.
    """

    calibration: dict[str, Images]
    negatives: dict[str, Images]


_VALUES = 32 * 28 * 28
"""Of images that are moved at once, at least: many at once take less time than few."""

_MADE: WeakKeyDictionary[Workbench, Pools] = WeakKeyDictionary()
"""All detectors of a task are asked about the same images, and making them takes seconds."""


def pools_of(bench: Workbench) -> Pools:
    """The task's pools: they depend on the task alone."""
    if bench not in _MADE:
        calibration = _promised(bench, bench.calibration, "calibration")
        negatives = _promised(bench, bench.negatives, "negatives")
        for kind, change in harmless.CHANGES.items():
            negatives[kind] = _recognized(bench, change(bench.negatives.inputs), bench.negatives)
        _MADE[bench] = Pools(calibration, negatives)
    return _MADE[bench]


def _promised(bench: Workbench, images: Images, role: str) -> dict[str, Images]:
    """Images of the kinds that thresholds are set on."""
    generator = torch.Generator().manual_seed(seed_of(f"noise of {role}", bench.task.id, bench.task.version))
    noised = harmless.noised(images.inputs, _linf(bench), generator)
    return {
        "clean": images,
        "noised": _recognized(bench, noised, images),
        "adversarial": _adversarial(bench, images, role),
    }


def _adversarial(bench: Workbench, images: Images, role: str) -> Images:
    """Adversarial examples, less those whose map did not come back."""
    seed = seed_of(f"adversary of {role}", bench.task.id, bench.task.version) % 2**31
    batch = max(bench.task.batch, _VALUES // images.inputs[0].numel())
    adversary = Adversary(bench.model, bench.explainer, _linf(bench), batch, seed)
    moved = adversary.there_and_back(images.inputs, images.labels)
    alone = adversary.left_alone(moved, images.inputs, images.labels)
    return _recognized(bench, moved[alone], Images(images.inputs[alone], images.labels[alone]))


def _linf(bench: Workbench) -> float:
    """The budget of tasks that have detectors."""
    assert isinstance(bench.budget, LInfBudget)
    return bench.budget.linf


def _recognized(bench: Workbench, inputs: Tensor, images: Images) -> Images:
    """Changed images, less those that are taken for another class."""
    kept = predictions(bench.model, inputs) == images.labels
    return Images(inputs[kept], images.labels[kept])
