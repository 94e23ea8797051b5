"""How many images go through a network at once: many where they are small, few where they are large."""

from __future__ import annotations

import torch
from torch import Tensor

_VALUES = {"cpu": 2**21}
"""Input values at once, by type of device: 500 images of 28 pixels in grey, 13 of 224 in colour. What a
network holds of one of those is a hundred times as much and more."""
_OTHERWISE = 2**25


def at_once(size: tuple[int, ...] | torch.Size, device: torch.device, most: int) -> int:
    """Images ``size`` (channels, height and width) that go through a network together, 1 to ``most``."""
    values = max(1, int(torch.Size(size).numel()))
    return max(1, min(most, _VALUES.get(device.type, _OTHERWISE) // values))


def in_batches(images: Tensor, most: int = 500) -> tuple[Tensor, ...]:
    """Images ``[N, C, H, W]`` in batches that memory has room for.

    Args:
        images: what a network is to be asked about.
        most: images in a batch, where they are small.
    """
    parts: tuple[Tensor, ...] = images.split(at_once(images.shape[1:], images.device, most))
    return parts
