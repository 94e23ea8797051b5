"""A tiny task per track, on which a method like a template's takes seconds.

They are the smoke tasks with fewer cases, seeds and steps, written in code: a check needs no task file.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmark.api import Unit
from benchmark.tasks.classes import task_class
from benchmark.tasks.data import Split
from benchmark.tracks import workbench_of
from benchmark.tracks.visualization.workbench import Workbench

_COMMON: dict[str, Any] = {
    "version": 1,
    "title": "tiny",
    "data": "fashion-mnist",
    "limits": {"seconds": 60, "memory_gb": 4},
}
_MEASURED = 1000
_UNITS = 3
_TASKS: dict[str, tuple[dict[str, Any], ...]] = {
    "saliency": tuple(
        {
            "id": f"saliency/check-{explainer}",
            "track": "saliency",
            "victim": "fashion-small",
            "explainer": {"name": explainer},
            "cases": 2,
            "batch": 2,
            "budget": {"linf": 32 / 255},
            "calibration": {"images": 8, "negatives": 4},
        }
        for explainer in ("gradient", "lrp")
    ),
    "visualization": (
        {
            "id": "visualization/check",
            "track": "visualization",
            "victim": "fashion-tiny",
            "explainer": {
                "name": "feature_visualization",
                "settings": {"optimizer": "sgd", "learning_rate": 1.0, "steps": 60},
            },
            "cases": [{"unit": 4, "target": "ring-28"}],
            "budget": {"accuracy_drop": 0.03},
            "visualization_seeds": 2,
            "metrics": {"perceptual_seeds": 1, "other_seeds": 1},
            "pools": {"calibration": ["fashion-mini-2"], "negatives": ["fashion-mini-4"]},
        },
    ),
    "signature": (
        {
            "id": "signature/check",
            "track": "signature",
            "victim": "fashion-mini-1",
            "explainer": {"name": "input_agnostic_saliency", "settings": {"samples": 8, "steps": 20}},
            "cases": [{"target_class": 3, "row": 23, "column": 23}],
            "budget": {"accuracy_drop": 0.04},
            "pools": {"calibration": ["fashion-mini-2"], "negatives": ["fashion-mini-4"]},
        },
    ),
    "fairwashing": (
        {
            "id": "fairwashing/check",
            "track": "fairwashing",
            "goal": "picture",
            "victim": "fashion-tiny",
            "explainer": {"name": "gradient"},
            "cases": [{"picture": "cross-28"}],
            "images": 4,
            "budget": {"accuracy_drop": 0.05, "agreement": 0.8},
            "pools": {"calibration": ["fashion-mini-2"], "negatives": ["fashion-mini-4"]},
        },
    ),
}


@cache
def tiny_benches(track: str, root: Path) -> tuple[Any, ...]:
    """Tiny tasks of a track, ready, the first choice first; loaded once.

    Raises:
        AssetError: the project's own networks or images are missing.
    """
    make, prepare = task_class(track), workbench_of(track).prepare
    return tuple(
        _measured_on_less(prepare(make(**_COMMON, **fields), root, torch.device("cpu")))
        for fields in _TASKS[track]
    )


@dataclass(frozen=True, eq=False)
class FewUnits(Workbench):
    """A task of visualizations that looks at a few units of each natural network and not at all of them."""

    def siblings(self, unit: Unit, victim: str) -> tuple[Unit, ...]:
        """The first few units of the layer in one of the networks."""
        return super().siblings(unit, victim)[:_UNITS]

    def share_of_units(self) -> float:
        """Share of a layer's units that is looked at."""
        case = self.cases[0]
        every = super().siblings(case.unit, case.victim)
        return min(1.0, _UNITS / len(every))


def _measured_on_less(bench: Any) -> Any:
    """The task with fewer images that networks are measured on, and fewer units that detectors look at."""
    if bench.task.track == "saliency":
        return bench
    if bench.task.track == "visualization":
        bench = FewUnits(**{part.name: getattr(bench, part.name) for part in fields(bench)})
    apart = hasattr(bench, "splits")
    home = bench.splits if apart else bench
    images, labels = (part[:_MEASURED].clone() for part in (home.evaluation.images, home.evaluation.labels))
    home = replace(home, evaluation=Split(images, labels))
    return replace(bench, splits=home) if apart else home
