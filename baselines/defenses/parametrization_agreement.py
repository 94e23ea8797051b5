"""Suspects units that look the same in pixels and in Fourier coefficients."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Detector, VisualizationAudit
from benchmark.explainers.visualization import Fourier


class ParametrizationAgreement(Detector):
    """Correlation between visualizations over pixels and over Fourier coefficients.

    The two prefer different maxima of a natural unit; a planted picture is the same in both.
    """

    name = "parametrization_agreement"
    paper = "proposed beside Bareeva et al. 2025, who attack either parametrization"
    tracks = ("visualization",)

    seeds: int = 4
    steps: int = 100
    learning_rate: float = 0.05

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """The agreement of each unit, in [-1, 1]."""
        pixels = audit.visualize(self.seeds, steps=self.steps)
        fourier = audit.visualize(
            self.seeds,
            steps=self.steps,
            parametrization=Fourier(),
            optimizer="adam",
            learning_rate=self.learning_rate,
        )
        return audit.agreement(pixels.images, fourier.images)
