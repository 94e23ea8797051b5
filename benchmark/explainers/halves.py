"""Half precision: where it computes nothing, or nothing right, explainers compute in float32.

A network may hold float16 or bfloat16. Values of float16 end at 65,504, so that squares of 256 and sums over
an image are infinite, and begin at 6e-8, so that what is added to a denominator may be zero. Linear algebra
has neither type. Values of other types stay what they are.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_half(kind: torch.dtype) -> bool:
    """Whether numbers of a floating point type have less than float32's digits."""
    return torch.finfo(kind).bits < 32


def widened(values: Tensor) -> Tensor:
    """Values in float32 if they are of half precision, as they are otherwise."""
    return values.float() if is_half(values.dtype) else values


def narrowed(values: Tensor, like: Tensor) -> Tensor:
    """What was computed from :func:`widened` values in the type of ``like``, and within its range."""
    if values.dtype == like.dtype:
        return values
    most = torch.finfo(like.dtype).max
    return values.clamp(-most, most).to(like.dtype)


def at_least(asked: float, like: Tensor) -> float:
    """A number above zero, and far enough from it to be none in the type of ``like``."""
    return max(asked, torch.finfo(like.dtype).tiny)
