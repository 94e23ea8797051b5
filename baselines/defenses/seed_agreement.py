"""Suspects units that look the same from every seed."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from benchmark.api import Detector, VisualizationAudit


class SeedAgreement(Detector):
    """Mean correlation between the visualizations of different seeds.

    A slingshot leads every start to one picture; a natural unit has many.
    """

    name = "seed_agreement"
    paper = "proposed beside Bareeva et al. 2025, whose attack leads every start to one picture"
    tracks = ("visualization",)

    seeds: int = 4
    steps: int = 100

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """The agreement of each unit, in [-1, 1]."""
        shown = audit.visualize(self.seeds, steps=self.steps).images
        pairs = [
            audit.agreement(shown[:, first : first + 1], shown[:, second : second + 1])
            for first, second in combinations(range(self.seeds), 2)
        ]
        return torch.stack(pairs).mean(0)
