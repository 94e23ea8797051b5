"""Maps that are small where they were largest: top-k fooling (Heo et al. 2019)."""

from __future__ import annotations

from baselines.attacks.map_losses import top_k
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase


class HeoTopK(MapTraining):
    """The mean square of maps on the pixels where the clean network's are largest, a tenth (equation 4)."""

    name = "heo_topk"
    paper = "Heo et al., Fooling neural network interpretations, NeurIPS 2019"
    goals = ("top_k",)

    weight: float = 20.0

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Mean square on the clean map's top."""
        return top_k
