"""Visualizes what survives random transformations (Bareeva et al. 2025, strategy TR)."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer
from benchmark.explainers.visualization import Transformations


class TransformationRobustness(Hardening):
    """Every step is taken for a rotated, scaled and shifted copy of the image."""

    name = "transformations"
    paper = "Bareeva et al., Manipulating feature visualizations with gradient slingshots, NeurIPS 2025"
    tracks = ("visualization",)

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """The same optimization under the paper's transformations for images of this size."""
        return replace(explainer, transformations=Transformations())
