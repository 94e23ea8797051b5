"""Visualizes with another optimizer (Bareeva et al. 2025, strategy Adam)."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer


class Adam(Hardening):
    """Adam divides every pixel's step by its gradient's size, which leaves a gradient field's signs only."""

    name = "adam"
    paper = "Bareeva et al., Manipulating feature visualizations with gradient slingshots, NeurIPS 2025"
    tracks = ("visualization",)

    learning_rate: float = 0.1

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """The same objective, ascended by Adam."""
        return replace(explainer, optimizer="adam", learning_rate=self.learning_rate)
