"""What attacks on networks minimize so that maps show something else: a number for each image.

All take maps ``[N, H, W]`` that sum to 1 and return ``[N]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import MapGoal
from benchmark.metrics.mass import displacement

_TINIEST = 1e-12
_TOP = 0.1
"""Share of the pixels that are a map's top (Heo et al. 2019)."""


def dense(maps: Tensor, wanted: Tensor) -> Tensor:
    """Squared error to other maps (Anders et al. 2020, equation 12), both rescaled to mean 1."""
    pixels = maps[0].numel()
    return (pixels * (maps - wanted)).square().mean((1, 2))


def location(maps: Tensor, mask: Tensor) -> Tensor:
    """Squared error to a mask of ones and zeros of maps divided by their largest value (Heo, equation 3).

    Args:
        maps: ``[N, H, W]``.
        mask: ``[H, W]``, 1 where maps should be large.
    """
    largest = maps.amax((1, 2), keepdim=True).clamp(min=_TINIEST)
    return (mask - maps / largest).square().mean((1, 2))


def top_k(maps: Tensor, clean: Tensor) -> Tensor:
    """Mean square of maps, scaled to [0, 1], on the largest tenth of the clean ones (Heo, equation 4)."""
    rows, before = maps.flatten(1), clean.flatten(1)
    low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
    scaled = (rows - low) / (high - low).clamp(min=_TINIEST)
    chosen = before.topk(max(1, int(_TOP * rows.shape[1])), dim=1).indices
    return scaled.gather(1, chosen).square().mean(1)


def center_mass(maps: Tensor, clean: Tensor) -> Tensor:
    """Less the distance of centers of mass (Heo, equation 7), as a share of the largest possible."""
    return -displacement(maps, clean).to(maps)


def standardized(maps: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of maps that have mean 0 and variance 1 each (Noppel et al. 2023)."""

    def normal(values: Tensor) -> Tensor:
        rows = values.flatten(1)
        spread = rows.std(1, keepdim=True, unbiased=False)
        return (rows - rows.mean(1, keepdim=True)) / (spread + _TINIEST)

    return (normal(maps) - normal(wanted)).square().mean(1)


def of_goal(goal: MapGoal, maps: Tensor, wanted: Tensor) -> Tensor:
    """The loss that says of a goal how far it is: :func:`top_k`, :func:`center_mass` or :func:`dense`."""
    if goal.kind == "top_k":
        return top_k(maps, wanted)
    if goal.kind == "center_mass":
        return center_mass(maps, wanted)
    return dense(maps, wanted)


def flatness(maps: Tensor) -> Tensor:
    """Number of pixels, ``exp`` of the mean entropy in nats, that maps are spread over; no gradient."""
    with torch.no_grad():
        masses = maps.double().flatten(1)
        entropies = -(masses * masses.clamp(min=_TINIEST).log()).sum(1)
        return entropies.mean().exp()
