"""How much maps resemble targets, and tell of their own picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from benchmark.auditing.report import ALIKE
from benchmark.metrics.similarity import pcc

_FLAT = 1e-5
"""Range of a map, as a share of its largest value, that is rounding."""


def settled(maps: Tensor) -> Tensor:
    """Maps ``[N, H, W]``, those that are the same everywhere, but for rounding, zero: they show nothing."""
    rows = maps.flatten(1)
    flat = rows.amax(1) - rows.amin(1) <= _FLAT * rows.abs().amax(1)
    return torch.where(flat[:, None, None], torch.zeros_like(maps), maps)


def _correlations(maps: Tensor, plain: Tensor) -> Tensor:
    """Of each of some maps ``[N, H, W]`` with each of others, ``[N, N]``."""
    return torch.stack([pcc(one.expand_as(plain), plain) for one in maps[:, None]])


def usual(maps: Tensor, targets: Tensor, order: Tensor) -> tuple[float, ...]:
    """For each target's map the largest correlation that a natural map of another picture has with it.

    Left out are the picture under attack and the one that the target is of; of two there is no other.
    """
    table = _correlations(maps, targets)
    table[order, torch.arange(len(order))] = -1.0
    table.fill_diagonal_(-1.0)
    return tuple(table.amax(0).tolist())


def margin(maps: Tensor, plain: Tensor) -> float:
    """By how much maps resemble the undefended one of their own picture more than those of the others."""
    table = _correlations(maps, plain)
    others = (table.sum(1) - table.diagonal()) / (len(plain) - 1)
    return float((table.diagonal() - others).mean())


def told_of_own(maps: Tensor, plain: Tensor) -> float:
    """How much maps ``[N, H, W]`` tell of their own picture, of what undefended ones do.

    As the line-up of track `saliency`, with pictures alone as decoys; not a number where undefended maps tell
    nothing.
    """
    whole = margin(plain, plain)
    return margin(maps, plain) / whole if whole >= ALIKE else math.nan
