"""Visualizes with clipped gradients (Bareeva et al. 2025, strategy GC)."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer


class GradientClipping(Hardening):
    """No step follows a gradient longer than 1, so that a steep field cannot fling the image away."""

    name = "gradient_clipping"
    paper = "Bareeva et al., Manipulating feature visualizations with gradient slingshots, NeurIPS 2025"
    tracks = ("visualization",)

    clip: float = 1.0

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """The same optimization, clipped."""
        return replace(explainer, clip=self.clip)
