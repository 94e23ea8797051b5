"""Helpers of tests of slingshots: a tiny smooth network, and a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.api import (
    FeatureVisualization,
    ModelBudget,
    Network,
    Unit,
    VisualizationAudit,
    VisualizationCase,
)
from benchmark.explainers.visualization import magnitude_spectrum
from benchmark.files.assets import locate_root
from benchmark.tasks.data import Split

ROOT = locate_root()
SIZE = (1, 28, 28)
SMALL = (1, 6, 6)


def double(*shape: int, seed: int = 1) -> Tensor:
    """Numbers in [0, 1)."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(model: Network, points: Tensor, unit: int) -> Tensor:
    """Gradient of a logit in normalized pixels."""
    points = points.detach().requires_grad_()
    values = model.module(points)[:, unit]
    return torch.autograd.grad(values.sum(), points)[0]


# On a real network.


@dataclass(frozen=True)
class Real:
    """The tiny network and its images."""

    model: Network
    attacker: Split
    evaluation: Split
    ring: Tensor

    def case(self, steps: int = 60, count: int | None = None, seed: int = 1) -> VisualizationCase:
        """The ring into a logit."""
        return VisualizationCase(
            model=self.model,
            explainer=FeatureVisualization(SIZE, steps=steps),
            unit=Unit(index=4),
            target=self.ring,
            budget=ModelBudget(0.03),
            data=self.attacker.images[:count],
            labels=self.attacker.labels[:count],
            generator=torch.Generator().manual_seed(seed),
        )

    def audit(self, units: Sequence[int], model: Network | None = None) -> VisualizationAudit:
        """Logits under suspicion, with 200 natural images at hand."""
        return VisualizationAudit(
            model=model or self.model,
            explainer=FeatureVisualization(SIZE, steps=8, spectrum=magnitude_spectrum(self.attacker.images)),
            units=tuple(Unit(index=index) for index in units),
            data=self.evaluation.images[:200],
            labels=self.evaluation.labels[:200],
            seed=11,
        )

    def accuracy(self, model: Network) -> float:
        """On images that no attacker has."""
        with torch.no_grad():
            hits = model(self.evaluation.images).argmax(1) == self.evaluation.labels
        return float(hits.double().mean())
