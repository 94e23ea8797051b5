"""Fairwashing: a network with the same answers whose maps are somebody else's (Anders et al. 2020)."""

from __future__ import annotations

from torch import Tensor

from baselines.attacks.map_losses import standardized
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase


class Fairwash(MapTraining):
    """The squared error of maps to those that are wanted (equation 12), of all weights.

    Maps have mean 0 and variance 1 in the loss: the paper's sum to 1 and are off by the square of a few
    large pixels, which costs more answers than it moves maps. At first maps weigh much and answers are lost;
    then the weight falls slowly until they are back. A network that is kept within the budget from the
    beginning ends further from the goal.
    """

    name = "fairwash"
    paper = "Anders et al., Fairwashing explanations with off-manifold detergent, ICML 2020"
    goals = ("picture", "other_image", "swapped_classes")

    steps: int = 2400
    weight: float = 5.0
    looks: int = 60
    grows: float = 1.08
    falls: float = 0.92

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Squared error of standardized maps: twice one minus their correlation."""
        return standardized

    def stayed(self, maps: Tensor, clean: Tensor) -> Tensor:
        """The same, to the clean network's maps."""
        return standardized(maps, clean)
