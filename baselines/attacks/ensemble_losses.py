"""What members of the ensemble minimize: how unlike the target a map is, a number for each image.

All take maps and targets ``[N, H, W]`` that sum to 1 and return ``[N]``, differentiable in the maps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.api import correlation

_WINDOW, _SIGMA = 11, 1.5
"""Of SSIM, in pixels (Wang et al. 2004, section III-B)."""
_K1, _K2 = 0.01, 0.03
_TINIEST = 1e-30


def squared(maps: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of maps rescaled to mean 1, which is the loss of ``dombrowski``."""
    return (maps[0].numel() * (maps - target)).square().mean((1, 2))


def uncorrelated(maps: Tensor, target: Tensor) -> Tensor:
    """One minus Pearson's correlation, 0 to 2."""
    return 1 - correlation(maps, target)


def dissimilar(maps: Tensor, target: Tensor) -> Tensor:
    """One minus structural similarity (Wang et al. 2004, equation 13), 0 to 2.

    The data range is the target's largest value, as in the benchmark's own measure. Maps with less than 11
    pixels on a side have no window: of those it is :func:`uncorrelated`.
    """
    if min(maps.shape[1:]) < _WINDOW:
        return uncorrelated(maps, target)
    span = target.amax((1, 2), keepdim=True).clamp(min=_TINIEST)
    first, second = (maps / span).unsqueeze(1), (target / span).unsqueeze(1)
    offset = torch.arange(_WINDOW, device=maps.device).to(maps) - _WINDOW // 2
    line = torch.exp(-offset.square() / (2 * _SIGMA**2))
    line = line / line.sum()

    def mean(values: Tensor) -> Tensor:
        rows = functional.conv2d(values, line[None, None, :, None])
        return functional.conv2d(rows, line[None, None, None, :])

    one, other = mean(first), mean(second)
    spread = mean(first.square()) - one.square() + mean(second.square()) - other.square()
    shared = mean(first * second) - one * other
    luminance = (2 * one * other + _K1**2) / (one.square() + other.square() + _K1**2)
    return 1 - (luminance * (2 * shared + _K2**2) / (spread + _K2**2)).mean((1, 2, 3))


LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "squared": (squared, 1.0),
    "uncorrelated": (uncorrelated, 0.2),
    "dissimilar": (dissimilar, 0.2),
}
"""By name: the loss, and what is beside it as a share of what ``dombrowski`` puts beside its own."""
