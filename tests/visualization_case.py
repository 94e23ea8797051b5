"""Helpers of tests of track visualization within one process: a task, cases and forged networks."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from harness import fewer_images
from torch import Tensor

from benchmark.api import Detector, Hardening, Network
from benchmark.methods.meter import Meter
from benchmark.tracks.visualization.scoring import make_scorer
from benchmark.tracks.visualization.steps import judge, reference
from benchmark.tracks.visualization.task import VisualizationTask
from benchmark.tracks.visualization.workbench import Workbench, prepare
from benchmark.victims.loading import load_victim

CPU = torch.device("cpu")
SEEDS, SOME_SEEDS, OTHER_SEEDS, TOP = 4, 2, 2, 50
HIDDEN = "features.3"
FIELDS: dict[str, Any] = {
    "id": "visualization/mine",
    "version": 1,
    "title": "three pictures",
    "track": "visualization",
    "victim": "fashion-tiny",
    "data": "fashion-mnist",
    "explainer": {"name": "feature_visualization", "settings": {"steps": 10, "learning_rate": 1.0}},
    "cases": [
        {"unit": 4, "target": "ring-28"},
        {"unit": 3, "layer": HIDDEN, "target": "cross-28"},
        {"unit": 1, "target": "cat-28", "victim": "fashion-small"},
    ],
    "budget": {"accuracy_drop": 0.9},
    "visualization_seeds": SEEDS,
    "metrics": {
        "primary": "ssim_target",
        "report": ["pcc", "ssim", "mse"],
        "perceptual_seeds": SOME_SEEDS,
        "other_seeds": OTHER_SEEDS,
        "top": TOP,
    },
    "pools": {"calibration": ["fashion-mini-1"], "negatives": ["fashion-mini-2"], "false_positive_rate": 0.2},
}
Tensors = dict[str, Tensor]
Columns = dict[str, list[Any]]


@cache
def root() -> Path:
    """The project with fewer images: 600 of the attacker's, 800 for the evaluation."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return fewer_images(folder)


def made(**changes: Any) -> Workbench:
    """A task with some fields changed, ready."""
    return prepare(VisualizationTask(**{**FIELDS, **changes}), root(), CPU)


def run(
    bench: Workbench, forgery: Tensors, defense: Hardening | Detector
) -> tuple[Tensors, Tensors, Columns]:
    """Reference, judgement and samples of a forgery."""
    natural, judged = reference(bench, defense, 0, Meter()), judge(bench, defense, forgery, 0, Meter())
    return natural, judged, make_scorer(bench).score(forgery, natural, judged, 0)


def network(victim: str, weights: Mapping[str, Tensor] | None = None) -> Network:
    """A network that was loaded anew, with other weights perhaps."""
    found = load_victim(victim, root())
    if weights is not None:
        found.module.load_state_dict(dict(weights))
    return Network(found.module, found.mean, found.deviation)


def of_case(forgery: Tensors, index: int) -> dict[str, Tensor]:
    """A case's weights by their own names."""
    return {key.partition("/")[2]: value for key, value in forgery.items() if key.startswith(f"{index}/")}
