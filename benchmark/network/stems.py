"""What stands between an image and its first layers, and the bounds of what these layers get.

LRP has rules of their own for first layers, which get pixels: a flat one, and one for values in a box. Pixels
they still are when they have been moved, resized, averaged, or scaled and shifted by constants. A maximum, an
activation, a sum of two values or a normalization by a sample's own deviation makes something else of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.network.captured import ChannelScale, Linear, Rearrange, Resize
from benchmark.network.operations import (
    Affine,
    AveragePool,
    Concatenation,
    Normalization,
    Operation,
    Reshape,
)

_UNITS = frozenset(("mul", "div", "neg", "add", "sub", "rsub"))
"""Linear calls of one value and constants, value by value; the others, such as products of matrices, mix."""
Box = tuple[Tensor, Tensor]
"""Smallest and largest values."""


@dataclass(frozen=True)
class Stem:
    """What an image goes through before its first layers.

    Args:
        steps: operations that make nothing but pixels of pixels.
        layers: convolutions and fully connected layers that get pixels.
    """

    steps: frozenset[Operation] = frozenset()
    layers: frozenset[Operation] = frozenset()

    def rescales(self, operation: Operation) -> bool:
        """Whether an operation scales and shifts pixels, and does nothing else."""
        return operation in self.steps and rescales(operation)


def stem_of(operations: Sequence[Operation]) -> Stem:
    """The stem of a walk, of whose values the image is the first."""
    pixels, steps, layers = {0}, set(), set()
    for position, step in enumerate(operations, 1):
        if not step.sources or not pixels.issuperset(step.sources):
            continue
        if isinstance(step, Affine):
            layers.add(step)
        elif _keeps_pixels(step):
            steps.add(step)
            pixels.add(position)
    return Stem(frozenset(steps), frozenset(layers))


def boxes(operations: Sequence[Operation], stem: Stem, low: Tensor, high: Tensor) -> Mapping[int, Box]:
    """Bounds of the image and of everything in the stem, by position among the values of the walk.

    Each operation is applied to the bounds of its inputs. That is exact, but for a bicubic resize, which
    swings beyond its inputs a little.

    Args:
        operations: of the walk.
        stem: of these.
        low: least values of a batch of images ``[N, C, H, W]``, of the size that is walked: an operation may
            put parts of images among the batch.
        high: their largest values.
    """
    found = {0: (low, high)}
    for position, step in enumerate(operations, 1):
        if step in stem.steps:
            ends = [step.forward(*(found[source][end] for source in step.sources)) for end in (0, 1)]
            found[position] = (torch.minimum(*ends), torch.maximum(*ends))  # a negative scale swaps them
    return found


def _keeps_pixels(step: Operation) -> bool:
    moves = isinstance(step, Reshape | Rearrange | Concatenation | Resize | AveragePool)
    return moves or rescales(step)


def rescales(step: Operation) -> bool:
    """Whether an operation multiplies and shifts every number by constants."""
    return isinstance(step, Normalization | ChannelScale) or (
        isinstance(step, Linear) and step.kind in _UNITS
    )
