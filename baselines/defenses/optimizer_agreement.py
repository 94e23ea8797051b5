"""Suspects units that look the same under two optimizers."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Detector, VisualizationAudit


class OptimizerAgreement(Detector):
    """Correlation between the visualizations by gradient ascent and by Adam, from the same starts.

    Natural units have many maxima, and which one is found depends on the way there; a planted picture is
    found on every way.
    """

    name = "optimizer_agreement"
    paper = "proposed beside Bareeva et al. 2025, whose strategies are compared here"
    tracks = ("visualization",)

    seeds: int = 4
    steps: int = 100
    learning_rate: float = 0.1

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """The agreement of each unit, in [-1, 1]."""
        plain = audit.visualize(self.seeds, steps=self.steps)
        adam = audit.visualize(
            self.seeds, steps=self.steps, optimizer="adam", learning_rate=self.learning_rate
        )
        return audit.agreement(plain.images, adam.images)
