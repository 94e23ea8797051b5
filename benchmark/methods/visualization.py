"""Track `visualization`: a unit to show another picture, and units to audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmark.explainers.base import correlation
from benchmark.explainers.visualization import (
    LOGITS,
    FeatureVisualization,
    Unit,
    Visualizations,
    Visualizer,
    executed,
    layer_activations,
)
from benchmark.methods.base import Detector
from benchmark.methods.formats import as_stored
from benchmark.methods.networks import NetworkAudit
from benchmark.network import Network
from benchmark.network.batches import in_batches


@dataclass(frozen=True)
class ModelBudget:
    """What an attack on a network's weights may spend.

    Args:
        accuracy_drop: accuracy that the network may lose, as a share of all images (0.015 is 1.5 points).
            It is measured on images that the attacker does not have.
    """

    accuracy_drop: float


@dataclass(frozen=True)
class VisualizationCase:
    """A unit whose visualization should show another picture, by other weights (track ``visualization``).

    Args:
        model: the clean network, metered and frozen: ``model(images) -> logits [N, classes]``.
        explainer: the visualization under attack; in adaptive mode the hardened one.
        unit: the unit under attack.
        target: the picture that it should show, ``[C, H, W]`` in [0, 1].
        budget: what may be spent.
        data: the attacker's own natural images, ``[M, C, H, W]``; never the evaluation's.
        labels: their classes ``[M]``.
        generator: the only source of randomness to use; it lives on the CPU.
        detector: detector to evade, in adaptive mode against one; else None.
        among: numbers of the layer's units that audits compare the unit with; None for all.
    """

    model: Network
    explainer: Visualizer
    unit: Unit
    target: Tensor
    budget: ModelBudget
    data: Tensor
    labels: Tensor
    generator: torch.Generator
    detector: Detector | None = None
    among: tuple[int, ...] | None = None

    @property
    def device(self) -> torch.device:
        """Device of every tensor of the case."""
        return self.data.device

    def as_stored(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights in the precision of the clean network's, by name: those that are judged."""
        return as_stored(weights, self.model.module.state_dict())


@dataclass(frozen=True, kw_only=True)
class VisualizationAudit(NetworkAudit):
    """Units of a network to audit (track ``visualization``).

    Args:
        explainer: the task's visualization.
        units: units under suspicion, N of them.
        among: numbers of their layer's units that they are compared with; None for all.
    """

    explainer: FeatureVisualization
    units: tuple[Unit, ...]
    among: tuple[int, ...] | None = None

    @property
    def samples(self) -> int:
        """Number of suspicions asked for."""
        return len(self.units)

    def visualize(self, seeds: int, units: Sequence[Unit] | None = None, **changes: Any) -> Visualizations:
        """Visualizations of the suspicious units (or of others) from as many seeds of the audit's own.

        ``changes`` are fields of :class:`FeatureVisualization` that differ from the task's.
        """
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randint(2**31, (seeds,), generator=generator).tolist()
        procedure = replace(self.explainer, **changes)
        return procedure.optimize(self.model, self.units if units is None else units, drawn)

    def siblings(self) -> tuple[Unit, ...]:
        """Units of the layer of those under suspicion: all of them, or those of ``among`` and these."""
        layer = self.units[0].layer
        if self.among is not None:
            numbers = {*self.among, *(unit.index for unit in self.units)}
            return tuple(Unit(layer, index) for index in sorted(numbers))
        with torch.no_grad():
            channels = layer_activations(self.model, self.data[:1], layer).shape[1]
        return tuple(Unit(layer, index) for index in range(channels))

    def among_siblings(self, values: Tensor) -> Tensor:
        """Distance ``[N]`` of each suspicious unit's value from the median of all siblings' (``values``)."""
        distance, numbers = (values - values.median()).abs(), [unit.index for unit in self.units]
        if self.among is not None:
            order = [unit.index for unit in self.siblings()]
            numbers = [order.index(number) for number in numbers]
        return distance[numbers]

    def natural_activations(self, layer: str) -> Tensor:
        """Activations ``[M, channels]`` of a layer on the natural images."""
        with torch.no_grad():
            parts = [layer_activations(self.model, images, layer) for images in in_batches(self.data)]
        return torch.cat(parts)

    def layer_before(self, layer: str) -> str:
        """Name of the activation, convolution or linear layer that runs before a layer.

        Raises:
            ValueError: the layer is none of these, nor ``logits``.
        """
        order = executed(self.model, self.data[:1], (torch.nn.Conv2d, torch.nn.Linear, torch.nn.ReLU))
        end = len(order) - 1 if layer == LOGITS else order.index(layer)
        return order[max(0, end - 1)]

    @staticmethod
    def agreement(first: Tensor, second: Tensor) -> Tensor:
        """Mean correlation ``[U]`` between two stacks of pictures ``[U, S, C, H, W]``, seed by seed."""
        pairs = correlation(first.flatten(0, 1).mean(1), second.flatten(0, 1).mean(1))
        return pairs.view(first.shape[:2]).mean(1)
