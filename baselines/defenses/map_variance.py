"""Suspects networks that show the same of different images."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Detector, FairwashingAudit, correlation


class MapVariance(Detector):
    """Mean correlation of maps of pairs of natural images whose predicted classes differ.

    A network that was trained to show one picture, or one place, shows it of all images.
    """

    name = "map_variance"
    paper = "ours"
    tracks = ("fairwashing",)

    images: int = 128

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """The mean, in [-1, 1]."""
        maps, classes = audit.maps(self.images)
        found = []
        for shift in range(1, min(8, len(maps))):
            apart = classes != classes.roll(shift)
            found.append(correlation(maps, maps.roll(shift, 0))[apart])
        pairs = torch.cat(found) if found else maps.new_zeros(0)
        return audit.finite(pairs.mean(0, keepdim=True) if len(pairs) else maps.new_zeros(1))
