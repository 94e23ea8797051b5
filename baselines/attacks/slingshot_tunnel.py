"""Where a visualization passes on its way to the target of a slingshot."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import FeatureVisualization, Network


@dataclass
class Tunnel:
    """Where one procedure's optimization passes on its way to the target, in parameter space.

    Args:
        procedure: the visualization.
        target: parameters of the target picture, ``[...]``.
        gamma: strength of the wanted field, ``grad f(q) = gamma (target - q)``.
    """

    procedure: FeatureVisualization
    target: Tensor
    gamma: float

    @property
    def scale(self) -> Tensor:
        """Mean square of the target's parameters: what errors are measured in."""
        return self.target.square().mean()

    def images(self, model: Network, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """What the network would be shown, randomly transformed where the procedure does so."""
        images = self.procedure.parametrization.decode(model, parameters)
        transformations = self.procedure.transformations
        if transformations is None:
            return images
        uniform, noise = transformations.draw(len(images), self.procedure.seen, generator)
        return transformations.apply(images, uniform, noise, self.procedure.window)
