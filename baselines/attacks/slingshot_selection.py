"""Which checkpoint of a training becomes the forgery."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmark.api import Network, VisualizationCase, Visualizer, correlation, in_batches

_SHARES = (0.9, 0.8, 0.7, 0.6)
"""How much of its change a network keeps that has lost too much accuracy."""


class Selection:
    """Keeps the weights that show the target best among those that lose little enough accuracy.

    Args:
        case: the case.
        model: the network before its first step.
        images: held-out natural images of the attacker's.
        labels: their classes.
        seeds: how many visualizations of a checkpoint are looked at.
        margin: share of the budget that held-out images may show.
    """

    def __init__(
        self,
        case: VisualizationCase,
        model: Network,
        images: Tensor,
        labels: Tensor,
        seeds: int,
        margin: float,
    ) -> None:
        self._explainer: Visualizer = case.explainer
        self._case, self._images, self._labels = case, images, labels
        self._seeds = torch.randint(2**31, (seeds,), generator=case.generator).tolist()
        self._allowed = margin * case.budget.accuracy_drop
        self._accuracy = self._measure(case.model)
        self._best = (-math.inf, -math.inf)
        self.weights: dict[str, Tensor] = dict(model.module.state_dict())

    @property
    def within(self) -> bool:
        """Whether a checkpoint has lost little enough accuracy."""
        return self._best[0] > 0

    def offer(self, model: Network) -> None:
        """Looks at a checkpoint."""
        drop = self._accuracy - self._measure(model)
        within = drop <= self._allowed
        found = (1.0, self.likeness(model)) if within else (0.0, -drop)
        if found > self._best:
            self._best = found
            self.weights = {key: value.detach().clone() for key, value in model.module.state_dict().items()}

    def likeness(self, model: Network) -> float:
        """Mean correlation of the visualizations with the target, over the seeds."""
        images = self._explainer.explain(model, [self._case.unit], self._seeds)[0]
        target = self._case.target.expand_as(images)
        return float(correlation(images.mean(1), target.mean(1)).mean())

    def settle(self, model: Network) -> None:
        """Where nothing was within the budget, goes back towards the clean weights until something is."""
        last, clean = model.module.state_dict(), self._case.model.module.state_dict()
        for share in _SHARES:
            if self.within:
                return
            mixed = {
                key: torch.lerp(clean[key], value, share) if value.is_floating_point() else value
                for key, value in last.items()
            }
            self.offer(self._case.model.with_weights(mixed))

    def _measure(self, model: Network) -> float:
        with torch.no_grad():
            predicted = torch.cat([model(images).argmax(1) for images in in_batches(self._images)])
        return float((predicted == self._labels).double().mean())
