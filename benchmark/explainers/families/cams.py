"""Class activation maps: what a layer holds, weighted by what it is worth to a class.

A map has the layer's own resolution, is enlarged to the image's (bilinear), and is differentiable in inputs
and weights. In a ReLU network the weights of the channels are piecewise constant in the input: ask
:meth:`Explainer.smoothed` for a stand-in.

A *dead* map, zero at every position, occurs for correct predictions too. It is returned as uniform: all of
the image alike, which resembles no target; :func:`dead` tells which maps are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers.base import Query
from benchmark.explainers.halves import widened
from benchmark.explainers.passes import masked_outputs
from benchmark.explainers.recipe import Recipe
from benchmark.explainers.rules import GradientRule
from benchmark.explainers.saliency import Backpropagation
from benchmark.names import ByName
from benchmark.network import Gate, Network, Smoothing
from benchmark.network.layers import layer_position, positions_of, signals_at, spatial_position
from benchmark.network.layouts import Layout

_TINIEST = 1e-30
_FLAT = 1e-8
"""Added to a channel's range in Score-CAM."""


@dataclass(frozen=True)
class ClassActivation(Backpropagation):
    """A map of one layer.

    Args:
        layer: name of the operation whose output is looked at; empty for the network's last spatial one
            (:func:`benchmark.network.layers.spatial_position`).
    """

    layer: str = ""
    may_be_dead: ClassVar[bool] = True

    @abstractmethod
    def combined(self, model: Network, values: list[Tensor], query: Query, position: int) -> Tensor:
        """The map ``[N, H, W]`` at the layer's resolution, not rectified, in float32 at least."""

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """The rectified and enlarged map as a single channel, ``[N, 1, H, W]``."""
        position = layer_position(model, self.layer) if self.layer else spatial_position(model, values)
        found = _rectified(self.combined(model, values, query, position), self.smoothing)
        found = torch.where(dead(found)[:, None, None], torch.ones_like(found), found)
        return _enlarged(found.unsqueeze(1), _layout(model, values, position), values[0])


@dataclass(frozen=True)
class GradientActivation(ClassActivation):
    """A map of one layer, its channels weighted by the gradient of the class there."""

    def combined(self, model: Network, values: list[Tensor], query: Query, position: int) -> Tensor:
        """The weighted channels, added."""
        signal = self.signal(values[-1], query)
        (gradient,) = signals_at(model, values, signal, GradientRule(), [position], self.smoothing)
        layout = _layout(model, values, position)
        held, slopes = (widened(layout.arranged(one)) for one in (values[position], gradient))
        return self.weighted(held, slopes)

    @abstractmethod
    def weighted(self, held: Tensor, gradient: Tensor) -> Tensor:
        """The map of activations ``[N, K, H, W]`` and the gradient of the class there."""


def dead(maps: Tensor) -> Tensor:
    """Which maps ``[N, H, W]`` are zero everywhere, ``[N]``."""
    return maps.flatten(1).amax(1) <= 0


def _rectified(maps: Tensor, smoothing: Smoothing) -> Tensor:
    """What of maps ``[N, H, W]`` is positive; under a smoothing a softplus as steep on maps of largest 1.

    A rectified position has no gradient: without a stand-in no attack could make it show anything.
    """
    if not isinstance(smoothing, Gate):
        return torch.relu(maps)
    largest = maps.abs().amax((1, 2), keepdim=True).clamp(min=_TINIEST)
    return functional.softplus(maps / largest, smoothing.beta) * largest


def _layout(model: Network, values: Sequence[Tensor], position: int) -> Layout:
    found = positions_of(model, values, position)
    if found is None:
        name, shape = (
            model.operations[position - 1].name if position else "input",
            list(values[position].shape),
        )
        raise TaskError(
            f"a class activation map needs a layer of one row of channels for each place of the image: "
            f"{name}, of shape {shape}, is none, or its places cannot be followed"
        )
    return found


def _enlarged(maps: Tensor, layout: Layout, like: Tensor) -> Tensor:
    """Maps ``[N, K, rows, columns]`` as large as the part of the image that they cover, zero outside."""
    height, width = like.shape[2:]
    if layout.covers_image():
        return functional.interpolate(maps, (height, width), mode="bilinear", align_corners=False)
    top, bottom = (round(share * height) for share in layout.part[:2])
    left, right = (round(share * width) for share in layout.part[2:])
    size = max(bottom - top, 1), max(right - left, 1)
    inner = functional.interpolate(maps, size, mode="bilinear", align_corners=False)
    return functional.pad(inner, (left, width - left - size[1], top, height - top - size[0]))


@dataclass(frozen=True)
class GradCam(GradientActivation):
    """Grad-CAM (Selvaraju et al. 2017, equations 1 and 2)."""

    name = "grad_cam"

    def weighted(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Channels weighted by their mean gradient."""
        return (gradient.mean((2, 3), keepdim=True) * held).sum(1)


@dataclass(frozen=True)
class GradCamPlusPlus(GradientActivation):
    """Grad-CAM++ (Chattopadhay et al. 2018, equations 10 and 19, of the exponential of the logit).

    The square of the gradient is cancelled in equation 19: the official code adds 1e-6 to the denominator
    instead, which leaves little of channels whose gradient is below a thousandth.
    """

    name = "grad_cam_plus_plus"

    def weighted(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Channels weighted by their positive gradients, each by its share."""
        below = 2 + held.sum((2, 3), keepdim=True) * gradient
        divides = (gradient != 0) & (below != 0)
        share = torch.where(divides, 1 / torch.where(divides, below, 1.0), 0.0)
        return ((share * torch.relu(gradient)).sum((2, 3), keepdim=True) * held).sum(1)


@dataclass(frozen=True)
class HiResCam(GradientActivation):
    """HiResCAM (Draelos and Carin 2020): position by position."""

    name = "hires_cam"

    def weighted(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Gradient times activation."""
        return (gradient * held).sum(1)


@dataclass(frozen=True)
class LayerCam(GradientActivation):
    """LayerCAM (Jiang et al. 2021, equation 7): positive gradients, position by position."""

    name = "layer_cam"

    def weighted(self, held: Tensor, gradient: Tensor) -> Tensor:
        """Rectified gradient times activation."""
        return (torch.relu(gradient) * held).sum(1)


@dataclass(frozen=True)
class ScoreCam(ClassActivation):
    """Score-CAM (Wang et al. 2020, algorithm 1): a channel is worth the logit of what is seen through it."""

    name = "score_cam"

    def combined(self, model: Network, values: list[Tensor], query: Query, position: int) -> Tensor:
        """Channels weighted by the softmax of their logits."""
        layout = _layout(model, values, position)
        held = widened(layout.arranged(values[position]))
        masks = _enlarged(held, layout, values[0])
        low, high = masks.amin((2, 3), keepdim=True), masks.amax((2, 3), keepdim=True)
        masks = (masks - low) / (high - low + _FLAT)
        logits = masked_outputs(model, values[0], masks, query.labels, self.smoothing, "logit")
        weights = logits.softmax(1)[:, :, None, None]
        return (weights * held).sum(1)


RECIPES: ByName[Recipe] = {
    "grad_cam": Recipe(GradCam, settings={"layer": "layer"}),
    "grad_cam_plus_plus": Recipe(GradCamPlusPlus, settings={"layer": "layer"}),
    "hires_cam": Recipe(HiResCam, settings={"layer": "layer"}),
    "layer_cam": Recipe(LayerCam, settings={"layer": "layer"}),
    "score_cam": Recipe(ScoreCam, settings={"layer": "layer"}),
}
