"""Layer-wise relevance propagation as people run it: a rule for each kind of layer.

Every rule shares relevance in proportion to what a term adds to a sum, ``R_i = sum_j z_ij / (z_j + e)
R_j``; they differ in what of ``z_ij`` they look at. Biases and constants keep their share, as in zennit.
The stabilizer ``e`` is a fraction of the root mean square of the layer's sums in the sample, with the sum's
sign: an absolute one of 1e-6 makes maps, and still more their derivatives, follow the few sums near zero.

Sources: Bach et al. 2015 (epsilon, alpha-beta), Montavon et al. 2019 (gamma, composites), Lapuschkin et al.
2019 (flat), Achtibat et al. 2024 (attention).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from benchmark.explainers.base import UnsupportedLayer
from benchmark.explainers.halves import narrowed, widened
from benchmark.network.captured import ChannelScale, Linear, MatMul, Product, Rearrange, Resize, Softmax
from benchmark.network.images import FIRST, Side
from benchmark.network.normalizations import Normalize
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
    pullback,
)
from benchmark.network.smoothing import Smoothing
from benchmark.network.stems import Stem

_TINY = 1e-12
"""Least stabilizer: a layer whose sums are all zero passes nothing on."""


@dataclass(frozen=True)
class Stabilizer:
    """Divides by sums that are kept away from zero.

    Args:
        share: of the root mean square of a sample's sums.
        images: the side of the sums along which samples lie. Where it holds parts of each as well (windows,
            heads), each part has its own mean.
    """

    share: float
    images: Side = FIRST

    def __call__(self, signal: Tensor, sums: Tensor) -> Tensor:
        """A signal per sum, of the shape they have."""
        inner, kept = self.images.each(sums), widened(sums)
        size = self.share * kept.square().mean(inner, keepdim=True).clamp(min=_TINY**2).sqrt()
        return narrowed(widened(signal) / (kept + torch.where(kept >= 0, size, -size)), signal)


LayerRule = Callable[[Affine, Tensor, Tensor, Stabilizer], Tensor]
"""Relevance at a layer's inputs, from its inputs, the relevance at its outputs and a stabilizer."""


def epsilon(layer: Affine, inputs: Tensor, signal: Tensor, stabilized: Stabilizer) -> Tensor:
    """All terms, whatever their sign."""
    weight = layer.weight()
    ratio = stabilized(signal, layer.apply(inputs, weight, layer.bias()))
    return inputs * layer.transpose(inputs, ratio, weight)


def flat(layer: Affine, inputs: Tensor, signal: Tensor, stabilized: Stabilizer) -> Tensor:
    """The same to every input."""
    ones = torch.ones_like(layer.weight())
    ratio = stabilized(signal, layer.apply(torch.ones_like(inputs), ones))
    return layer.transpose(inputs, ratio, ones)


def alpha_beta(alpha: float, beta: float) -> LayerRule:
    """``alpha`` of what positive terms get and ``-beta`` of what negative terms get; with 1 and 0, z+."""

    def rule(layer: Affine, inputs: Tensor, signal: Tensor, stabilized: Stabilizer) -> Tensor:
        weight, bias = layer.weight(), layer.bias()
        parts = _Parts(layer, inputs, weight.clamp(min=0), weight.clamp(max=0))
        rising = parts.rising(None if bias is None else bias.clamp(min=0))
        shared = alpha * parts.send(stabilized(signal, rising), up=True)
        if beta == 0:
            return shared
        falling = parts.falling(None if bias is None else bias.clamp(max=0))
        return shared - beta * parts.send(stabilized(signal, falling), up=False)

    return rule


def gamma(share: float) -> LayerRule:
    """All terms, those of the sum's own sign larger by ``share``; of inputs of any sign (Andeol et al.)."""

    def rule(layer: Affine, inputs: Tensor, signal: Tensor, stabilized: Stabilizer) -> Tensor:
        weight, bias = layer.weight(), layer.bias()
        rising, falling = weight + share * weight.clamp(min=0), weight + share * weight.clamp(max=0)
        parts = _Parts(layer, inputs, rising, falling)
        more = parts.rising(None if bias is None else bias + share * bias.clamp(min=0))
        less = parts.falling(None if bias is None else bias + share * bias.clamp(max=0))
        sums = layer.apply(inputs, weight, bias)
        above = torch.where(sums > 0, stabilized(signal, more), 0.0)
        below = torch.where(sums < 0, stabilized(signal, less), 0.0)
        return parts.send(above, up=True) + parts.send(below, up=False)

    return rule


@dataclass(frozen=True)
class _Parts:
    """A layer on the positive and the negative part of its inputs, with two weights."""

    layer: Affine
    inputs: Tensor
    up: Tensor
    down: Tensor

    def rising(self, bias: Tensor | None) -> Tensor:
        """Sums of what raises."""
        return self._sums(self.up, self.down, bias)

    def falling(self, bias: Tensor | None) -> Tensor:
        """Sums of what lowers."""
        return self._sums(self.down, self.up, bias)

    def send(self, ratio: Tensor, up: bool) -> Tensor:
        """Each input's share, of sums that rise or fall."""
        first, second = (self.up, self.down) if up else (self.down, self.up)
        shared = self._above() * self.layer.transpose(self.inputs, ratio, first)
        if self.layer.non_negative_input:
            return shared
        return shared + self.inputs.clamp(max=0) * self.layer.transpose(self.inputs, ratio, second)

    def _sums(self, first: Tensor, second: Tensor, bias: Tensor | None) -> Tensor:
        sums = self.layer.apply(self._above(), first, bias)
        if self.layer.non_negative_input:
            return sums
        return sums + self.layer.apply(self.inputs.clamp(max=0), second)

    def _above(self) -> Tensor:
        return self.inputs if self.layer.non_negative_input else self.inputs.clamp(min=0)


@dataclass(frozen=True)
class CompositeRule:
    """A rule for convolutions, for fully connected layers, for first layers, and what is between them.

    Activations pass relevance on, whatever their shape. Sums and means share it by their terms; maxima give
    it to the winner. Through attention it goes as in AttnLRP (Achtibat et al. 2024, equations 8, 13, 15 and
    17): a product of two gives half to each, matrix products share by their terms, the softmax by its own
    Taylor expansion, and a normalization's deviation counts as a constant.

    Args:
        convolution: rule of convolutions.
        dense: rule of fully connected layers.
        stabilized: of sums.
        first: rule of the layers that get pixels, where it is another. To them it goes as in a network that
            gets the pixels as they are there: what scales and shifts pixels passes it on.
        stem: what stands before these layers.
        through_softmax: whether relevance goes through attention's softmax, to queries and keys.
        images: of operations whose outputs do not hold samples along their first side, the one that does.
    """

    convolution: LayerRule
    dense: LayerRule
    stabilized: Stabilizer
    first: LayerRule | None = None
    stem: Stem = field(default_factory=Stem)
    through_softmax: bool = True
    images: Mapping[Operation, Side] = field(default_factory=dict)

    def __call__(
        self,
        operation: Operation,
        inputs: Sequence[Tensor],
        output: Tensor,
        signal: Tensor,
        smoothing: Smoothing,
    ) -> Sequence[Tensor]:
        """Relevance at every input; refuses what no rule is known for by name."""
        if operation in self.images:
            stabilized = replace(self.stabilized, images=self.images[operation])
            return replace(self, stabilized=stabilized, images={})(
                operation, inputs, output, signal, smoothing
            )
        if self.first is not None and self.stem.rescales(operation):
            return (signal.sum_to_size(inputs[0].shape),)
        match operation:
            case Affine():
                return (self._layer(operation)(operation, inputs[0], signal, self.stabilized),)
            case Activation() | SmoothActivation():
                return (signal,)
            case Reshape() | Rearrange() | MaxPool() | Concatenation():
                return operation.pullback(inputs, signal, smoothing)
            case Resize() if self.first is not None and operation in self.stem.steps:
                return operation.pullback(inputs, signal, smoothing)
            case AveragePool() | Add() | Resize() | Normalization() | ChannelScale():
                return self._by_terms(
                    inputs, operation.pullback(inputs, self.stabilized(signal, output), smoothing)
                )
            case Linear():
                return (self._linear(operation, inputs[0], output, signal, smoothing),)
            case Product():
                return tuple((signal / 2).sum_to_size(branch.shape) for branch in inputs)
            case MatMul():
                ratio = self.stabilized(signal, 2 * output)
                return self._by_terms(inputs, operation.pullback(inputs, ratio, smoothing))
            case Softmax():
                return (self._softmax(inputs[0], output, signal),)
            case Normalize():
                return (self._normalized(operation, inputs[0], output, signal),)
        raise UnsupportedLayer(
            f"LRP has no rule for {operation.kind} ({operation.name}); choose a gradient method"
        )

    def _layer(self, layer: Affine) -> LayerRule:
        if self.first is not None and layer in self.stem.layers:
            return self.first
        return self.dense if isinstance(layer.layer, torch.nn.Linear) else self.convolution

    def _by_terms(self, inputs: Sequence[Tensor], shares: Sequence[Tensor]) -> list[Tensor]:
        return [term * share for term, share in zip(inputs, shares, strict=True)]

    def _linear(
        self, operation: Linear, inputs: Tensor, output: Tensor, signal: Tensor, smoothing: Smoothing
    ) -> Tensor:
        """A factor changes no proportion; of a sum with a constant the constant keeps its share."""
        if operation.kind in ("mul", "div", "neg") and output.shape == inputs.shape:
            return signal
        (share,) = operation.pullback([inputs], self.stabilized(signal, output), smoothing)
        return inputs * share

    def _softmax(self, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """Equation 13: ``x_i (R_i - s_i sum_j R_j)``; what a mask hides has none."""
        if not self.through_softmax:
            return torch.zeros_like(inputs)
        seen = torch.where(inputs.isfinite(), inputs, 0.0)
        return seen * (signal - output * signal.sum(-1, keepdim=True))

    def _normalized(self, operation: Normalize, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """By the terms of the normalization with its deviation held where it is."""
        held = operation.with_fixed_deviation(inputs)
        (share,) = pullback(held, [inputs], self.stabilized(signal, output))
        return inputs * share
