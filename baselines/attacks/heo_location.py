"""Maps that are large on one place whatever the image: location fooling (Heo et al. 2019)."""

from __future__ import annotations

from baselines.attacks.map_losses import location
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase

_HALF = 0.5
"""Of a picture's largest value: above it lies where maps should be large."""


class HeoLocation(MapTraining):
    """The squared error of maps, divided by their largest value, to a mask of ones and zeros (equation 3).

    The paper's mask is a border of a seventh of the map; here it is the task's picture.
    """

    name = "heo_location"
    paper = "Heo et al., Fooling neural network interpretations, NeurIPS 2019"
    goals = ("picture",)

    weight: float = 5.0

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Squared error to the mask."""
        picture = case.goal.picture
        assert picture is not None  # a task of this goal has one
        mask = (picture > _HALF * picture.max()).to(picture)
        return lambda maps, wanted: location(maps, mask)
