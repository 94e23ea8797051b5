"""DeepLIFT: the difference that an image makes to a reference, shared by differences of activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.explainers.base import Query, UnsupportedLayer
from benchmark.explainers.halves import is_half, narrowed, widened
from benchmark.explainers.recipe import Recipe
from benchmark.explainers.saliency import Backpropagation
from benchmark.names import ByName
from benchmark.network import Network
from benchmark.network.captured import ChannelScale, Linear, Rearrange
from benchmark.network.images import FIRST, Side, image_sides
from benchmark.network.operations import (
    Activation,
    Add,
    Affine,
    AveragePool,
    Concatenation,
    MaxPool,
    Normalization,
    Operation,
    Reshape,
    SmoothActivation,
)
from benchmark.network.smoothing import Smoothing

_SAME = 1e-7
"""Differences below this share of the largest of a layer (of half precision: below its last digit) are none:
there the derivative is taken."""
_NOTHING = 1e-30


@dataclass(frozen=True)
class DeepLift(Backpropagation):
    """DeepLIFT with the rescale rule (Shrikumar et al. 2017, equation 11) from the mean color.

    The map sums to the logit above that of the reference.
    """

    name = "deep_lift"

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """Multipliers times the difference of inputs."""
        sides = image_sides(model, values[0])
        # One image broadcasts, unless a value holds images elsewhere than first or parts beside them.
        broadcasts = all(side == FIRST for side in sides)
        start = values[0][:1] if broadcasts else values[0]
        reference = model.propagate(torch.zeros_like(start), self.smoothing)
        rule = RescaleRule(model, reference, dict(zip(model.operations, sides[1:], strict=True)))
        return model.backpropagate(values, self.signal(values[-1], query), rule, self.smoothing) * values[0]


class RescaleRule:
    """Multipliers of the rescale rule.

    Args:
        model: the network.
        reference: the walk's values at the reference, a batch of one, or of as many as there are images.
        images: for each operation the side of its output along which images lie, where it is known.
    """

    def __init__(
        self,
        model: Network,
        reference: Sequence[Tensor],
        images: Mapping[Operation, Side | None],
    ) -> None:
        self.images = images
        self.reference = {
            id(step): ([reference[source] for source in step.sources], reference[index])
            for index, step in enumerate(model.operations, 1)
        }

    def __call__(
        self,
        operation: Operation,
        inputs: Sequence[Tensor],
        output: Tensor,
        signal: Tensor,
        smoothing: Smoothing,
    ) -> Sequence[Tensor]:
        """Multipliers of the inputs; refuses products and whatever is no function of one value by name."""
        before, after = self.reference[id(operation)]
        match operation:
            case Affine() | Add() | AveragePool() | Reshape() | Rearrange() | Concatenation():
                return operation.pullback(inputs, signal, smoothing)
            case Normalization() | ChannelScale() | Linear():
                return operation.pullback(inputs, signal, smoothing)
            case Activation() | SmoothActivation():
                difference = inputs[0] - before[0]
                there = operation.pullback(inputs, torch.ones_like(signal), smoothing)[0]
                return (signal * _ratio(output - after, difference, there, self._side(operation)),)
            case MaxPool():
                return (self._maximum(operation, inputs[0], output, signal, smoothing),)
        raise UnsupportedLayer(
            f"DeepLIFT has no rule for {operation.kind} ({operation.name}); choose integrated gradients"
        )

    def _maximum(
        self, operation: MaxPool, inputs: Tensor, output: Tensor, signal: Tensor, smoothing: Smoothing
    ) -> Tensor:
        """What the maximum rose by goes to the winner, what it fell by to the reference's winner."""
        (before,), after = self.reference[id(operation)]
        before = before.expand_as(inputs)
        larger = torch.maximum(output, after)
        (gained,) = operation.pullback([inputs], signal * (larger - after), smoothing)
        (lost,) = operation.pullback([before], signal * (output - larger), smoothing)
        (there,) = operation.pullback([inputs], signal, smoothing)
        return _ratio(gained + lost, inputs - before, there, self._side(operation))

    def _side(self, operation: Operation) -> Side:
        return self.images[operation] or FIRST


def _ratio(change: Tensor, difference: Tensor, derivative: Tensor, images: Side) -> Tensor:
    """Change per difference, or the derivative where there is none, by the largest of the image's layer."""
    like, same = derivative, torch.finfo(difference.dtype).eps if is_half(difference.dtype) else _SAME
    change, difference, derivative = widened(change), widened(difference), widened(derivative)
    largest = difference.detach().abs().amax(images.each(difference), keepdim=True).clamp(min=_NOTHING)
    differs = difference.abs() >= same * largest
    return narrowed(torch.where(differs, change / torch.where(differs, difference, 1.0), derivative), like)


RECIPES: ByName[Recipe] = {"deep_lift": Recipe(DeepLift)}
