"""Visualizes by optimizing Fourier coefficients (Olah et al. 2017)."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer
from benchmark.explainers.visualization import Fourier


class FourierParametrization(Hardening):
    """Coefficients scaled by 1/f prefer smooth images; an attack on pixels has not trained their gradient."""

    name = "fourier"
    paper = "Olah et al., Feature visualization, Distill 2017"
    tracks = ("visualization",)

    learning_rate: float = 0.05

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """Adam on Fourier coefficients."""
        return replace(
            explainer, parametrization=Fourier(), optimizer="adam", learning_rate=self.learning_rate
        )
