"""Helpers of tests of track fairwashing within one process: tasks, attacks made of functions, and cells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from network_case import CPU, By, Tensors, root
from torch import Tensor

from baselines.controls.none import NoDefense
from benchmark.api import Detector, FairwashingAudit, FairwashingCase, Forgery, Hardening
from benchmark.methods.meter import Meter
from benchmark.tracks.fairwashing.scoring import make_scorer
from benchmark.tracks.fairwashing.steps import forge, judge, reference
from benchmark.tracks.fairwashing.task import FairwashingTask
from benchmark.tracks.fairwashing.workbench import Workbench, prepare

IMAGES = 6
FIELDS: dict[str, Any] = {
    "id": "fairwashing/mine",
    "version": 1,
    "title": "false maps",
    "track": "fairwashing",
    "goal": "picture",
    "victim": "fashion-tiny",
    "data": "fashion-mnist",
    "explainer": {"name": "gradient"},
    "cases": [{"picture": "ring-28"}, {"picture": "cross-28", "victim": "fashion-mini-1"}],
    "images": IMAGES,
    "budget": {"accuracy_drop": 0.5, "agreement": 0.3, "drift": 1.0},
    "metrics": {"primary": "pcc_target", "report": ["pcc", "ssim", "mse"]},
    "pools": {"calibration": ["fashion-mini-2"], "negatives": ["fashion-mini-3"], "false_positive_rate": 0.5},
}
PLACE = {"row": 20, "column": 20}
CASES: dict[str, dict[str, Any]] = {
    "picture": {"picture": "ring-28"},
    "top_k": {},
    "center_mass": {},
    "swapped_classes": {"classes": [1, 9]},
    "other_image": {},
    "trigger_picture": {"picture": "ring-28", **PLACE},
    "red_herring": {"picture": "ring-28", "target_class": 3, **PLACE},
    "full_disguise": {"target_class": 3, **PLACE},
}
"""What a case needs, by goal."""
Columns = dict[str, list[Any]]


def made(**changes: Any) -> Workbench:
    """A task with some fields changed, ready."""
    return prepare(FairwashingTask(**{**FIELDS, **changes}), root(), CPU)


def of_goal(goal: str, **changes: Any) -> Workbench:
    """A task of one goal, ready."""
    return made(goal=goal, cases=[CASES[goal]], **changes)


def offered(bench: Workbench, detector: Detector | None = None) -> FairwashingCase:
    """What an attack is handed of the first case."""
    case = bench.cases[0]
    return FairwashingCase(
        model=bench.models[case.victim],
        explainer=bench.explainer,
        goal=case.goal,
        budget=bench.budget(),
        data=bench.splits.attacker.images,
        labels=bench.splits.attacker.labels,
        generator=torch.Generator().manual_seed(0),
        detector=detector,
    )


class Counting(Detector):
    """Suspects by the size of weights."""

    name = "counting"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """Mean square of all weights."""
        values = [value.double().flatten() for value in audit.model.module.state_dict().values()]
        return torch.cat(values).square().mean()[None]


def unchanged(case: FairwashingCase, weights: Tensors) -> Forgery:
    """The clean weights."""
    return Forgery(weights=weights)


def forged(bench: Workbench, function: Callable[[FairwashingCase, Tensors], Any] = unchanged) -> Tensors:
    """What the forge step stores of a function's forgeries."""
    return forge(bench, By(function), None, "oblivious", 0, Meter())


def scored(bench: Workbench, forgery: Tensors, defense: Hardening | Detector | None = None) -> Columns:
    """Samples of a cell."""
    chosen = NoDefense() if defense is None else defense
    natural, judged = reference(bench, chosen, 0, Meter()), judge(bench, chosen, forgery, 0, Meter())
    return make_scorer(bench).score(forgery, natural, judged, 0)
