"""Maps whose mass lies elsewhere: center-mass fooling (Heo et al. 2019)."""

from __future__ import annotations

from baselines.attacks.map_losses import center_mass
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase


class HeoCenterMass(MapTraining):
    """The distance of the center of mass from the clean map's (equation 7), the larger the better.

    It goes to a corner and no further: the loss is bounded by the map's size.
    """

    name = "heo_center_mass"
    paper = "Heo et al., Fooling neural network interpretations, NeurIPS 2019"
    goals = ("center_mass",)

    weight: float = 5.0

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Less the distance."""
        return center_mass
