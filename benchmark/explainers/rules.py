"""Backward rules: how each explanation method sends a signal back through one operation.

Each rule is ordinary torch code on the walk of :class:`benchmark.network.Network`, and therefore
differentiable to any order in inputs and weights. A rule that is not defined for an operation
refuses it by name; it never falls back to the gradient silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmark.explainers.base import UnsupportedLayer
from benchmark.explainers.halves import at_least
from benchmark.network import Network
from benchmark.network.captured import ChannelScale, Rearrange, Resize
from benchmark.network.operations import (
    Activation,
    Add,
    Affine,
    AveragePool,
    Concatenation,
    MaxPool,
    Normalization,
    Operation,
    Other,
    Reshape,
    SmoothActivation,
)
from benchmark.network.smoothing import Smoothing
from benchmark.network.stems import Box, Stem, boxes, stem_of

STABILIZER = 1e-3
"""Added to LRP's denominators. At 1e-6 the float32 gradient of an attack on LRP has a cosine to the
float64 one of down to 0.5, since a few neurons with a denominator near zero dominate it."""


class GradientRule:
    """The exact vector-Jacobian product of every operation."""

    def __call__(
        self,
        operation: Operation,
        inputs: Sequence[Tensor],
        output: Tensor,
        signal: Tensor,
        smoothing: Smoothing,
    ) -> Sequence[Tensor]:
        """Gradient at every input."""
        return operation.pullback(inputs, signal, smoothing)


class GuidedRule(GradientRule):
    """Guided backprop (Springenberg et al. 2015): activations pass back positive signals only."""

    def __call__(
        self,
        operation: Operation,
        inputs: Sequence[Tensor],
        output: Tensor,
        signal: Tensor,
        smoothing: Smoothing,
    ) -> Sequence[Tensor]:
        """Gradient, rectified at every ReLU and ReLU6; refuses what may be another activation."""
        if isinstance(operation, Activation):
            return (torch.relu(signal) * operation.slope(inputs[0], smoothing),)
        if isinstance(operation, SmoothActivation | Other):
            raise _refusal("guided backprop", operation)
        return super().__call__(operation, inputs, output, signal, smoothing)


class PatternRule(GradientRule):
    """PatternAttribution (Kindermans et al. 2018): weights are multiplied by learnt patterns.

    Args:
        patterns: one tensor per affine operation, of its weight's shape, by the operation's name.
    """

    def __init__(self, patterns: Mapping[str, Tensor]) -> None:
        self.patterns = patterns

    def __call__(
        self,
        operation: Operation,
        inputs: Sequence[Tensor],
        output: Tensor,
        signal: Tensor,
        smoothing: Smoothing,
    ) -> Sequence[Tensor]:
        """Gradient through ``weight * pattern``; refuses what no pattern was learnt for."""
        if isinstance(operation, Affine):
            if operation.name not in self.patterns:
                raise UnsupportedLayer(f"no pattern was learnt for layer {operation.name}")
            weight = operation.weight() * self.patterns[operation.name]
            return (operation.transpose(inputs[0], signal, weight),)
        other = isinstance(operation, Activation) and type(operation) is not Activation
        if other or isinstance(operation, SmoothActivation | Normalization | Other):
            raise _refusal("PatternAttribution", operation)
        return super().__call__(operation, inputs, output, signal, smoothing)


class RelevanceRule:
    """Layer-wise relevance propagation: z+ in every layer but the first ones, zB in these.

    Montavon et al. 2017 (deep Taylor decomposition), as used by Dombrowski et al. 2019: biases take
    no relevance, activations pass it on, averages and sums share it in proportion to their terms,
    maxima give it to the winner, and batch norms that no layer could take in pass it on. Before first layers
    what scales and shifts pixels passes it on.

    Args:
        model: the network.
        normalized: inputs of the walk, ``[N, C, H, W]``.
        stabilizer: added to every denominator, with its sign.
    """

    def __init__(self, model: Network, normalized: Tensor, stabilizer: float = STABILIZER) -> None:
        self.stem = stem_of(model.operations)
        self.stabilizer = stabilizer
        self.boxes = _boxes(model, self.stem, normalized)

    def __call__(
        self,
        operation: Operation,
        inputs: Sequence[Tensor],
        output: Tensor,
        signal: Tensor,
        smoothing: Smoothing,
    ) -> Sequence[Tensor]:
        """Relevance at every input; refuses smooth activations and products."""
        if isinstance(operation, Affine):
            send = self._box if operation in self.stem.layers else self._positive
            return (send(operation, inputs[0], signal),)
        if self.stem.rescales(operation):
            return (signal.sum_to_size(inputs[0].shape),)
        if isinstance(operation, Activation | Normalization | ChannelScale):
            return (signal,)  # of a batch norm by itself: a sum of one term, whose bias takes nothing
        passes = isinstance(operation, Resize) and operation in self.stem.steps
        if passes or isinstance(operation, Reshape | Rearrange | MaxPool | Concatenation):
            return operation.pullback(inputs, signal, smoothing)
        if isinstance(operation, AveragePool | Resize | Add):
            ratio = signal / self._stabilized(output)
            shares = operation.pullback(inputs, ratio, smoothing)
            return [term * share for term, share in zip(inputs, shares, strict=True)]
        raise _refusal("LRP", operation)

    def _stabilized(self, denominator: Tensor) -> Tensor:
        distance = denominator.new_full((), at_least(self.stabilizer, denominator))
        return denominator + torch.where(denominator >= 0, distance, -distance)

    def _positive(self, layer: Affine, inputs: Tensor, signal: Tensor) -> Tensor:
        """Rule z+: ``R_i = sum_j (x_i w_ij)^+ / sum_i (x_i w_ij)^+ R_j``, for any sign of x."""
        weight = layer.weight()
        rising = weight.clamp(min=0)
        if layer.non_negative_input:
            ratio = signal / self._stabilized(layer.apply(inputs, rising))
            return inputs * layer.transpose(inputs, ratio, rising)
        falling = weight.clamp(max=0)
        above, below = inputs.clamp(min=0), inputs.clamp(max=0)
        total = layer.apply(above, rising) + layer.apply(below, falling)
        ratio = signal / self._stabilized(total)
        return above * layer.transpose(inputs, ratio, rising) + below * layer.transpose(
            inputs, ratio, falling
        )

    def _box(self, layer: Affine, inputs: Tensor, signal: Tensor) -> Tensor:
        """Box rule (zB): ``R_i = sum_j (x_i w_ij - l_i w_ij^+ - h_i w_ij^-) / sum_i (...) R_j``."""
        weight = layer.weight()
        rising, falling = weight.clamp(min=0), weight.clamp(max=0)
        low, high = self.boxes[layer.sources[0]]
        least = layer.apply(low, rising) + layer.apply(high, falling)
        ratio = signal / self._stabilized(layer.apply(inputs, weight) - least)
        from_low = (inputs - low) * layer.transpose(inputs, ratio, rising)
        return from_low + (inputs - high) * layer.transpose(inputs, ratio, falling)


def _boxes(model: Network, stem: Stem, normalized: Tensor) -> Mapping[int, Box]:
    """Bounds of what first layers get, by its position; of the image itself those of one sample."""
    low, high = model.bounds()
    found: Mapping[int, Box] = {}
    if stem.steps:
        # Copies, since a captured view by strides reads memory as an image's lies there.
        batch = (bound.expand_as(normalized).contiguous() for bound in (low, high))
        found = boxes(model.operations, stem, *batch)
    return {**found, 0: (low.expand_as(normalized[:1]), high.expand_as(normalized[:1]))}


def _refusal(method: str, operation: Operation) -> UnsupportedLayer:
    return UnsupportedLayer(
        f"{method} has no rule for {operation.kind} ({operation.name}); "
        "choose a ReLU network or a gradient method"
    )
