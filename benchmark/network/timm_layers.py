"""timm's own layers, recognized without importing timm, which takes seconds and most networks do not need.

Nothing can be an instance of a class that has not been imported.
"""

from __future__ import annotations

import sys
from typing import TypeGuard

from torch import Tensor, nn


def is_same_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether the module is timm's convolution that pads by its input's size."""
    return _is_instance(module, "timm.layers.conv2d_same", "Conv2dSame")


def is_activated_norm(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether the module is timm's batch norm with an activation behind it, its attribute ``act``."""
    return _is_instance(module, "timm.layers.norm_act", "BatchNormAct2d")


def pad_same(inputs: Tensor, layer: nn.Conv2d) -> Tensor:
    """Inputs padded with zeros as timm's convolution would."""
    from timm.layers.padding import pad_same as pad

    padded: Tensor = pad(inputs, list(layer.kernel_size), list(layer.stride), list(layer.dilation))
    return padded


def _is_instance(module: nn.Module, where: str, name: str) -> bool:
    layers = sys.modules.get(where)
    return layers is not None and isinstance(module, getattr(layers, name))
