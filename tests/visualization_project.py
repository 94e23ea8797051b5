"""Helpers of tests of track visualization by the command line: a project, its methods and its task."""

from __future__ import annotations

from typing import Any

import yaml
from harness import Project

TASK = "visualization/tiny"
SALIENCY = "saliency/tiny-north"
SEEDS = 2
FIELDS: dict[str, Any] = {
    "version": 1,
    "title": "two pictures into a tiny network",
    "track": "visualization",
    "victim": "fashion-tiny",
    "data": "fashion-mnist",
    "explainer": {"name": "feature_visualization", "settings": {"steps": 10, "learning_rate": 1.0}},
    "cases": [{"unit": 4, "target": "ring-28"}, {"unit": 3, "layer": "features.3", "target": "cross-28"}],
    "budget": {"accuracy_drop": 0.03},
    "visualization_seeds": SEEDS,
    "metrics": {
        "primary": "ssim_target",
        "report": ["pcc", "ssim", "mse"],
        "perceptual_seeds": 2,
        "other_seeds": 1,
    },
    "limits": {"seconds": 60, "memory_gb": 4},
    "pools": {"calibration": ["fashion-mini-2"], "negatives": ["fashion-mini-4"]},
}

METHODS = {
    "nudge": '''\
"""An attack that moves one bias, and looks at what it is handed."""

from benchmark.api import Attack, Forgery, VisualizationCase


class Nudge(Attack):
    """One bias."""

    name = "nudge"
    paper = "made for a test"
    tracks = ("visualization",)
    share: float = 0.01

    def forge(self, case: VisualizationCase) -> Forgery:
        """One bias, by what one visualization shows."""
        images = case.explainer.explain(case.model, [case.unit], [case.generator.initial_seed() % 2**31])
        weights = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        weights["classifier.2.bias"][case.unit.index] += self.share * (1 + images.mean())
        return Forgery(weights=weights)
''',
    "clipped": '''\
"""A hardening."""

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer


class Clipped(Hardening):
    """Short steps."""

    name = "clipped"
    paper = "made for a test"
    tracks = ("visualization",)
    clip: float = 0.5

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """Short steps."""
        return replace(explainer, clip=self.clip)
''',
    "probe": '''\
"""A detector."""

from benchmark.api import Detector, VisualizationAudit


class Probe(Detector):
    """What a unit reaches."""

    name = "probe"
    paper = "made for a test"
    tracks = ("visualization",)

    def suspicion(self, audit: VisualizationAudit):
        """The activation that two steps reach."""
        reached = audit.visualize(1, steps=2).activations[:, :, -1].mean(1)
        return reached.nan_to_num(0.0, 0.0, 0.0)  # a network can overflow
''',
}


def write_task(project: Project, name: str, **changes: Any) -> str:
    """A visualization task with some fields changed, or left out where they are ``...``; its id."""
    fields = {key: value for key, value in {**FIELDS, **changes}.items() if value is not ...}
    project.write(f"tasks/visualization/{name}.yaml", yaml.safe_dump(fields))
    return f"visualization/{name}"
