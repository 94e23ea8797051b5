"""Location fooling whose maps are as spread out as honest ones (Piland, Sweet and Czajka 2025)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.map_losses import flatness, location
from baselines.attacks.map_training import MapLoss, MapTraining
from benchmark.api import FairwashingCase, in_batches

_LOOKED_AT = 256
"""Images whose clean maps say how spread out maps are."""
_WIDTH = 5
"""Of the window that a picture is blurred by, so that pixels beside it come next."""


class Sham(MapTraining):
    """:class:`HeoLocation` with as many ones in the mask as give it the entropy of clean maps.

    The paper's mask has 28 of 49 cells, whose entropy is log 28 = 3.33, as maps of real networks have. Here
    it has ``exp(H)`` pixels, H the mean entropy of the clean network's maps in nats: those where the task's
    picture, blurred a little, is largest. A detector that goes by entropy has nothing to go by.
    """

    name = "sham"
    paper = "Piland, Sweet and Czajka, DiffGradCAM, 2025 (arXiv 2506.08514)"
    goals = ("picture",)

    weight: float = 5.0

    def map_loss(self, case: FairwashingCase) -> MapLoss:
        """Squared error to the mask."""
        picture = case.goal.picture
        assert picture is not None  # a task of this goal has one
        with torch.no_grad():
            looked = in_batches(case.data[:_LOOKED_AT], 64)
            maps = [case.explain(case.model, part, case.model(part).argmax(1)) for part in looked]
        mask = entropy_matched(picture, torch.cat(maps))
        return lambda shown, wanted: location(shown, mask)


def entropy_matched(picture: Tensor, maps: Tensor) -> Tensor:
    """A mask ``[H, W]`` of ones and zeros, near a picture, with the mean entropy of maps ``[N, H, W]``."""
    ones = min(picture.numel(), max(1, round(float(flatness(maps)))))
    blurred = functional.avg_pool2d(picture[None, None], _WIDTH, 1, _WIDTH // 2, count_include_pad=False)
    order = (picture + 1e-3 * blurred[0, 0]).flatten().argsort(descending=True, stable=True)
    mask = torch.zeros_like(picture).flatten()
    mask[order[:ones]] = 1.0
    return mask.view_as(picture)
