"""Visualizes by optimizing Fourier phases under natural magnitudes (MACO, Fel et al. 2023)."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer
from benchmark.explainers.visualization import MagnitudeConstrained, Transformations


class Maco(Hardening):
    """The image keeps the magnitudes of natural images, so that no picture of another spectrum can appear.

    Random crops and noise belong to the method; ours keep three quarters of the image or more.
    """

    name = "maco"
    paper = "Fel et al., Unlocking feature visualization for deeper networks with MACO, NeurIPS 2023"
    tracks = ("visualization",)

    learning_rate: float = 0.1
    scale: tuple[float, float] = (1.0, 1.33)
    noise: float = 0.05

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """Adam on phases, under crops and noise."""
        if explainer.spectrum is None:
            raise ValueError("the explainer has no spectrum of natural images")
        return replace(
            explainer,
            parametrization=MagnitudeConstrained(explainer.spectrum),
            optimizer="adam",
            learning_rate=self.learning_rate,
            transformations=Transformations(rotations=(), scale=self.scale, noise=self.noise),
        )
