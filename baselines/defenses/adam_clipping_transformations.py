"""Visualizes with all three strategies at once (Bareeva et al. 2025, strategy Adam + GC + TR)."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer
from benchmark.explainers.visualization import Transformations


class AdamClippingTransformations(Hardening):
    """Adam on clipped gradients of transformed copies: what the paper's larger models are evaluated under."""

    name = "adam_clipping_transformations"
    paper = "Bareeva et al., Manipulating feature visualizations with gradient slingshots, NeurIPS 2025"
    tracks = ("visualization",)

    learning_rate: float = 0.1
    clip: float = 1.0

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """All three."""
        return replace(
            explainer,
            optimizer="adam",
            learning_rate=self.learning_rate,
            clip=self.clip,
            transformations=Transformations(),
        )
