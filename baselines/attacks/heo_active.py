"""Maps of two classes that trade places: active fooling (Heo et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.attacks.map_losses import dense
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase, Network


class HeoActive(MapTraining):
    """Each image's map for one class becomes what the clean network shows for the other, and vice versa.

    Half the sum of both squared errors (equation 9), where :class:`Fairwash` asks for the predicted class
    alone.
    """

    name = "heo_active"
    paper = "Heo et al., Fooling neural network interpretations, NeurIPS 2019"
    goals = ("swapped_classes",)

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Squared error, maps rescaled to mean 1."""
        return dense

    def losses(
        self, case: FairwashingCase, model: Network, images: Tensor, answers: Tensor, map_loss: MapLoss
    ) -> tuple[Tensor, Tensor]:
        """Those of the predicted class, and beside them the map of the other one."""
        kept, own = super().losses(case, model, images, answers, map_loss)
        inputs, labels = images[: self.batch], answers[: self.batch].argmax(1)
        concerned = case.goal.concerns(labels)
        if case.goal.classes is None or not bool(concerned.any()):
            return kept, own
        share, inputs, labels = float(concerned.double().mean()), inputs[concerned], labels[concerned]
        first, second = case.goal.classes
        others = torch.where(labels == first, second, first)
        maps, _ = self.explained(case, model, inputs, others)
        return kept, own + share * map_loss(maps, self.clean(case, inputs, labels)).mean()
