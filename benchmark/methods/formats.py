"""The number formats that forgeries are judged in: nothing but the explanation may give one away.

Natural images have eight bits a channel, and forged ones are rounded to them. Clean weights fit the type that
they were stored in, often float16, and forged ones are rounded to it, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LEVELS = 255
_SLACK = 1e-3
"""Rounding that a budget forgives, in levels."""


def eight_bits(inputs: Tensor) -> Tensor:
    """The nearest images of eight bits a channel, ``n / 255`` in single precision, in [0, 1]."""
    return images_of_levels((inputs.double() * LEVELS).round().clamp(0, LEVELS), inputs)


def eight_bits_within(inputs: Tensor, clean: Tensor, linf: float) -> Tensor:
    """The nearest images of eight bits that lie within a budget of the clean ones.

    Args:
        inputs: ``[N, C, H, W]``.
        clean: images of eight bits, of the same shape.
        linf: largest change of a value, in units of the input range.
    """
    levels = clean.double() * LEVELS
    low = (levels - linf * LEVELS - _SLACK).ceil().clamp(0, LEVELS)
    high = (levels + linf * LEVELS + _SLACK).floor().clamp(0, LEVELS)
    return images_of_levels((inputs.double() * LEVELS).round().clamp(low, high), clean)


def as_stored(weights: Mapping[str, Tensor], clean: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in the precision of the clean ones, tensor by tensor, in the clean ones' type.

    A tensor whose clean values all fit float16 is rounded to float16 (values beyond its range to the largest
    that it has), else one whose clean values all fit bfloat16 to that; others stay as they are.

    Args:
        weights: some of the clean weights' names, finite values.
        clean: the clean weights by name.
    """
    return {name: _rounded(value, clean[name]) for name, value in weights.items()}


def images_of_levels(levels: Tensor, like: Tensor) -> Tensor:
    """Values of whole levels from 0 to 255 in the bits that natural images have: divided in single precision.

    By way of double precision: a GPU multiplies by the reciprocal instead, which in single precision is
    another number for 126 of the 256 levels, and in double precision for none. Zero is added since what was
    rounded up to nothing is a negative zero, which no natural image has.
    """
    return (levels.double() / LEVELS + 0.0).float().to(like)


def _rounded(value: Tensor, clean: Tensor) -> Tensor:
    if not clean.is_floating_point():
        return value.to(clean)
    for kind in (torch.float16, torch.bfloat16):
        if torch.equal(clean.to(kind).to(clean), clean):
            most = torch.finfo(kind).max
            return value.to(clean).clamp(-most, most).to(kind).to(clean)
    return value.to(clean)
