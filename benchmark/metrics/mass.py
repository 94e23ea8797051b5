"""Where the mass of a map lies: on chosen pixels, around a center, on how many pixels at all.

All functions take maps ``[N, H, W]`` that are nowhere negative, return a number per sample in float64, and
are differentiable in them. A map that is zero everywhere has its mass nowhere: 0, the middle, no entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NOTHING = 1e-30


def mass_on_top(maps: Tensor, reference: Tensor, share: float = 0.1) -> Tensor:
    """Share of a map's mass on the pixels where another map is largest.

    Source: Heo, Joo and Moon 2019, section 3.2.2 (top-k fooling), whose k is a tenth of the pixels.

    Args:
        maps: ``[N, H, W]``.
        reference: maps of the same shape, whose ``round(share H W)`` largest pixels are chosen, at least one.
        share: of the pixels, in (0, 1].

    Returns:
        ``Tensor[N]`` in [0, 1]; ``share`` for a uniform map.

    Raises:
        ValueError: if the shapes differ, are not ``[N, H, W]``, or the share is outside (0, 1].
    """
    _check(maps, reference)
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    rows = _masses(maps).flatten(1)
    count = max(1, round(share * rows.shape[1]))
    chosen = reference.to(rows).flatten(1).topk(count, dim=1).indices
    return rows.gather(1, chosen).sum(1)


def centers(maps: Tensor) -> Tensor:
    """Centers of mass, ``[N, 2]``: row and column in pixels, from 0.

    Source: Heo, Joo and Moon 2019, equation 6 (center-mass fooling).

    Raises:
        ValueError: if the shape is not ``[N, H, W]``.
    """
    _check(maps, maps)
    masses = _masses(maps)
    height, width = maps.shape[1:]
    rows, columns = torch.arange(height).to(masses), torch.arange(width).to(masses)
    found = torch.stack([(masses.sum(2) * rows).sum(1), (masses.sum(1) * columns).sum(1)], 1)
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2]).to(found)
    return torch.where((maps.flatten(1).sum(1) > _NOTHING)[:, None], found, middle)


def displacement(maps: Tensor, reference: Tensor) -> Tensor:
    """How far a map's center of mass lies from another's, as a share of the furthest that it could.

    Rows and columns are added, as in the loss of Heo, Joo and Moon 2019 (equation 7); the furthest center
    lies in the corner that is furthest from the other's.

    Args:
        maps: ``[N, H, W]``.
        reference: maps of the same shape.

    Returns:
        ``Tensor[N]`` in [0, 1].
    """
    _check(maps, reference)
    start = centers(reference).detach()
    last = torch.tensor(maps.shape[1:]).to(start) - 1
    furthest = torch.maximum(start, last - start).sum(1).clamp(min=_NOTHING)
    return (centers(maps) - start).abs().sum(1) / furthest


def entropy(maps: Tensor) -> Tensor:
    """Shannon entropy of maps as distributions over pixels, in nats, ``[N]``; ``log(H W)`` at most."""
    _check(maps, maps)
    masses = _masses(maps).flatten(1)
    return -(masses * masses.clamp(min=_NOTHING).log()).sum(1)


def _masses(maps: Tensor) -> Tensor:
    """Maps that sum to 1, in float64; zero where they are."""
    values = maps.double()
    total = values.sum((1, 2), keepdim=True)
    return values / torch.where(total > _NOTHING, total, 1.0)


def _check(maps: Tensor, reference: Tensor) -> None:
    if maps.shape != reference.shape:
        raise ValueError(f"shapes differ: {tuple(maps.shape)} and {tuple(reference.shape)}")
    if maps.ndim != 3:
        raise ValueError(f"expected maps [N, H, W], got shape {tuple(maps.shape)}")
