"""Class activation maps: what a layer holds, weighted by what it is worth to a class.

A map has the layer's own resolution, is enlarged to the image's (bilinear), and is differentiable in inputs and
weights. In a ReLU network the weights of the channels are piecewise constant in the input: ask
:meth:`Explainer.smoothed` for a stand-in.

A *dead* map, zero at every position, occurs for correct predictions too. It is returned as uniform: all of the image
alike, which is no target's shape; :func:`dead` tells which maps are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers.base import Query
from benchmark.explainers.rules import GradientRule
from benchmark.explainers.saliency import Backpropagation
from benchmark.network import Network
from benchmark.network.layers import layer_position, signals_at, spatial_position

_TINY = 1e-6
"""In Grad-CAM++'s denominators, as in the official code."""


@dataclass(frozen=True)
class ClassActivation(Backpropagation):
    """A map of one layer.

    Args:
        layer: name of the operation whose output is looked at; empty for the network's last spatial one
            (:func:`benchmark.network.layers.spatial_position`).
    """

    layer: str = ""

    def combined(self, held: Tensor, gradient: Tensor) -> Tensor:
        """The map ``[N, H, W]``, not rectified, of activations ``[N, K, H, W]`` and the gradient of the class there."""
        raise NotImplementedError

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """The enlarged map as a single channel, ``[N, 1, H, W]``."""
        position = layer_position(model, self.layer) if self.layer else spatial_position(model, values)
        signal = self.signal(values[-1], query)
        (gradient,) = signals_at(
            model, values, signal, GradientRule(), [position], self.smoothing
        )
        found = torch.relu(self.combined(positions(values[position]), positions(gradient)))
        found = torch.where(dead(found)[:, None, None], torch.ones_like(found), found)
        size = values[0].shape[2:]
        return functional.interpolate(found.unsqueeze(1), size, mode="bilinear", align_corners=False)


def dead(maps: Tensor) -> Tensor:
    """Which maps ``[N, H, W]`` are zero everywhere, ``[N]``."""
    return maps.flatten(1).amax(1) <= 0


def positions(value: Tensor) -> Tensor:
    """What a layer holds as ``[N, K, H, W]``; the tokens ``[N, T, K]`` of a transformer as a square of them.

    Tokens before the square (of a class, registers) are left out.

    Raises:
        TaskError: the value has no positions.
    """
    if value.dim() == 4:
        return value
    if value.dim() == 3:
        side = int(value.shape[1] ** 0.5)
        if side > 1:
            return value[:, value.shape[1] - side * side :].transpose(1, 2).unflatten(2, (side, side))
    raise TaskError(f"a class activation map needs a layer with positions, not one of shape {list(value.shape)}")


@dataclass(frozen=True)
class GradCam(ClassActivation):
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2)."""

    name = "grad_cam"

    def combined(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Channels weighted by their mean gradient."""
        return (gradient.mean((2, 3), keepdim=True) * held).sum(1)


@dataclass(frozen=True)
class GradCamPlusPlus(ClassActivation):
    """Grad-CAM++ (Chattopadhay et al. 2018, equations 10 and 19, of the exponential of the logit)."""

    name = "grad_cam_plus_plus"

    def combined(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Channels weighted by their positive gradients, each by its share."""
        square = gradient.square()
        total = held.sum((2, 3), keepdim=True)
        share = square / (2 * square + total * square * gradient + _TINY)
        share = torch.where(gradient != 0, share, 0.0)
        return ((share * torch.relu(gradient)).sum((2, 3), keepdim=True) * held).sum(1)


@dataclass(frozen=True)
class HiResCam(ClassActivation):
    """HiResCAM (Draelos and Carin 2020): position by position."""

    name = "hires_cam"

    def combined(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Gradient times activation."""
        return (gradient * held).sum(1)


@dataclass(frozen=True)
class LayerCam(ClassActivation):
    """LayerCAM (Jiang et al. 2021, equation 7): positive gradients, position by position."""

    name = "layer_cam"

    def combined(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Rectified gradient times activation."""
        return (torch.relu(gradient) * held).sum(1)
