"""Helpers of tests of track signature within one process: a task, cases, and methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from network_case import CPU, By, Tensors, root
from torch import Tensor

from benchmark.api import (
    Attack,
    BackdoorAudit,
    BackdoorCase,
    ClassExplainer,
    Detector,
    Forgery,
    Hardening,
    InputAgnosticSaliency,
    patch_trigger,
)
from benchmark.methods.meter import Meter
from benchmark.tracks.signature.steps import forge
from benchmark.tracks.signature.task import SignatureTask
from benchmark.tracks.signature.workbench import Workbench, prepare

__all__ = ["CPU", "By", "Tensors", "root"]  # of the tests that import this

SIZE = (1, 28, 28)
TASK = "signature/mine"
FIELDS: dict[str, Any] = {
    "version": 1,
    "title": "two backdoors",
    "track": "signature",
    "victim": "fashion-mini-1",
    "data": "fashion-mnist",
    "explainer": {"name": "input_agnostic_saliency", "settings": {"steps": 3, "samples": 2}},
    "cases": [
        {"target_class": 3, "row": 23, "column": 22},
        {"target_class": 7, "row": 2, "column": 5, "pattern": "cross", "victim": "fashion-mini-2"},
    ],
    "budget": {"accuracy_drop": 0.5, "success": 0.5, "clean_success": 1, "trigger_change": 30},
    "pools": {
        "calibration": ["fashion-mini-3", "fashion-mini-4"],
        "negatives": [f"fashion-mini-{number}" for number in range(5, 11)],
        "false_positive_rate": 0.4,
    },
    "limits": {"seconds": 60, "memory_gb": 4},
}


def made(**changes: Any) -> Workbench:
    """A task with some fields changed, ready."""
    return prepare(SignatureTask(**{"id": TASK, **FIELDS, **changes}), root(), CPU)


# Methods of these tests.


class Suspects(Detector):
    """Suspects by a function of the audit."""

    name = "suspects"
    paper = "made for a test"
    tracks = ("signature",)

    def __init__(self, suspicion: Callable[[BackdoorAudit], Any]) -> None:
        super().__init__()
        self.by = suspicion

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """Whatever the function returns."""
        found: Tensor = self.by(audit)
        return found


class Hardens(Hardening):
    """Hardens by a function of the explainer."""

    name = "hardens"
    paper = "made for a test"
    tracks = ("signature",)

    def __init__(self, harden: Callable[[InputAgnosticSaliency], Any]) -> None:
        super().__init__()
        self.by = harden

    def harden(self, explainer: InputAgnosticSaliency) -> ClassExplainer:
        """Whatever the function returns."""
        found: ClassExplainer = self.by(explainer)
        return found


def forged_by(bench: Workbench, attack: Attack, defense: Any = None, mode: Any = "oblivious") -> Tensors:
    """The forge step with seed 0."""
    return forge(bench, attack, defense, mode, 0, Meter())


def case(**changes: Any) -> dict[str, Any]:
    """Fields of a task with one case, some of its fields changed."""
    return {"cases": [{"target_class": 3, "row": 23, "column": 22, **changes}]}


def explainer(**given: Any) -> dict[str, Any]:
    """Fields of a task with these settings of the map."""
    return {"explainer": {"name": "input_agnostic_saliency", "settings": given}}


def pools(calibration: list[str], negatives: list[str], **changes: Any) -> dict[str, Any]:
    """Fields of a task with these pools."""
    return {"pools": {"calibration": calibration, "negatives": negatives, **changes}}


def unchanged(_: BackdoorCase, weights: Tensors) -> Forgery:
    """A patch that does nothing."""
    return Forgery(weights=weights, trigger=patch_trigger("square", (0, 0), 2, SIZE))


def zeros(audit: BackdoorAudit) -> Tensor:
    """No suspicion."""
    return torch.zeros(audit.samples)


BIAS = "classifier.2.bias"
