"""Suspects classes whose input-agnostic map stands out from its siblings in one window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.api import BackdoorAudit, Detector

_TINY = 1e-12


class Signature(Detector):
    """How far a class's map stands out from its siblings' in one window.

    With M_l the map of class l, of norm 1, and W a window (a square, a seventh of the image)::

        suspicion_l = max_W sum_W max(0, M_l - max_{k != l} M_k)^2
    """

    name = "signature"
    paper = "ours, on maps after Akhtar and Jalwana, AAAI 2023"
    tracks = ("signature",)

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """The deviation, one per class."""
        return windowed_deviation(audit.finite(audit.maps()))


def windowed_deviation(maps: Tensor) -> Tensor:
    """How far each of the maps ``[K, C, H, W]`` exceeds all its siblings in its best window, ``[K]``."""
    return _windows(maps).flatten(1).amax(1)


def _windows(maps: Tensor) -> Tensor:
    """Energy ``[K, 1, rows, columns]`` by which each map exceeds all its siblings, window by window."""
    unit = normalised(maps)
    if len(maps) > 1:
        first, second = unit.topk(2, dim=0).values
        unit = unit - torch.where(unit == first, second, first)
    # Squares: a trigger's few pixels stand out by much, a garment's many by little.
    exceeding = unit.clamp_min(0).square().sum(1, keepdim=True)
    side = _side(maps)
    return functional.avg_pool2d(exceeding, side, stride=1) * side**2


def best_windows(maps: Tensor) -> Tensor:
    """1 in each map's best window and one pixel around it, else 0, ``[K, 1, H, W]``."""
    windows = _windows(maps)
    corner = functional.one_hot(windows.flatten(1).argmax(1), windows[0].numel()).to(maps)
    side = _side(maps)
    full = functional.conv_transpose2d(corner.view_as(windows), maps.new_ones(1, 1, side, side))
    return functional.max_pool2d(full, 3, stride=1, padding=1)


def _side(maps: Tensor) -> int:
    """Length of a window: of an image of 28 pixels, 4."""
    return max(1, min(maps.shape[-2:]) // 7)


def normalised(maps: Tensor) -> Tensor:
    """The maps with norm 1."""
    unit: Tensor = maps / maps.flatten(1).norm(dim=1).clamp_min(_TINY).view(-1, 1, 1, 1)
    return unit
