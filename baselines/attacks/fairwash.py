"""Fairwashing: a network with the same answers whose maps are somebody else's (Anders et al. 2020)."""

from __future__ import annotations

from baselines.attacks.map_losses import dense
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase


class Fairwash(MapTraining):
    """The squared error of maps to those that are wanted (equation 12), of all weights."""

    name = "fairwash"
    paper = "Anders et al., Fairwashing explanations with off-manifold detergent, ICML 2020"
    goals = ("picture", "other_image", "swapped_classes")

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Squared error, maps rescaled to mean 1."""
        return dense
