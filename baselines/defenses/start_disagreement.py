"""Suspects units whose visualization from narrow starts is not what wide starts find."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Detector, VisualizationAudit


class StartDisagreement(Detector):
    """One minus the correlation between visualizations from narrow and from wide starts.

    A slingshot prepares the neighbourhood of the usual start; from far outside the unit shows itself.
    """

    name = "start_disagreement"
    paper = "proposed beside Bareeva et al. 2025, whose attack trains narrow starts"
    tracks = ("visualization",)

    seeds: int = 4
    steps: int = 100
    spread: float = 1.0

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """The disagreement of each unit, in [0, 2]."""
        narrow = audit.visualize(self.seeds, steps=self.steps)
        wide = audit.visualize(self.seeds, steps=self.steps, spread=self.spread)
        return 1 - audit.agreement(narrow.images, wide.images)
