"""Maps of what a transformer's attention passes on, from its softmax rows ``[N, heads, T, T]``.

They need attention among all parts of an image: networks that attend within windows (Swin, MaxViT) are
refused.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers.base import Query
from benchmark.explainers.recipe import Recipe
from benchmark.explainers.rules import GradientRule
from benchmark.explainers.saliency import Backpropagation
from benchmark.names import ByName
from benchmark.network import Network
from benchmark.network.captured import Softmax
from benchmark.network.layers import signals_at
from benchmark.network.opaque import Opaque
from benchmark.network.places import places

_READ: WeakKeyDictionary[nn.Module, dict[Any, list[int]]] = WeakKeyDictionary()


def attention_positions(model: Network, values: list[Tensor]) -> list[int]:
    """Where in the values of a walk attention stands, first layer first.

    Attention is a softmax that is multiplied with a value.

    Raises:
        TaskError: the network has none, or attends within parts of an image, or among its channels.
    """
    if any(isinstance(step, Opaque) for step in model.operations):
        raise TaskError(
            "nothing can look into this network, whatever attention it has: choose a gradient method"
        )
    weighed = places(model, values).weighed
    found = [at for at, step in enumerate(model.operations, 1) if isinstance(step, Softmax) and at in weighed]
    if not found:
        raise TaskError("this network has no attention: choose another explainer")
    count, tokens = len(values[0]), values[found[0]].shape[-1]
    first = weighed[found[0]]
    for at in found:
        shape, layout = values[at].shape, weighed[at]
        name = model.operations[at - 1].name
        if layout is None:
            raise TaskError(
                f"{name} attends among {shape[-1]} things that are no parts of the image (channels, say), or "
                "cannot be followed to them: rollout and its kin need attention among its parts"
            )
        whole = len(shape) in (3, 4) and shape[0] % count == 0 and shape[-1] == shape[-2] == tokens
        if not whole or (len(shape) == 4 and shape[0] != count) or not layout.covers_image():
            raise TaskError(
                f"{name} attends within parts of an image ({list(shape)}, of {count} images): rollout and "
                "its kin need attention among all of it"
            )
        if first is None or not torch.equal(layout.order, first.order) or layout.grid != first.grid:
            raise TaskError(f"{name} attends among other parts of the image than the attention before it")
    return found


def _tokens_read(model: Network, values: list[Tensor], at: int) -> list[int]:
    """The tokens behind the last attention that logits depend on: a class's, say, or all of the image's.

    It follows from how a network is built, and is found once by a signal that is walked back.
    """
    known = _READ.setdefault(model.module, {})
    key = (tuple(values[0].shape[1:]), at)
    if key not in known:
        signal = torch.linspace(1, 2, values[-1].shape[1]).to(values[-1]).expand_as(values[-1])
        with torch.no_grad():
            (gradient,) = signals_at(model, values, signal, GradientRule(), [at])
        rows = _by_image(gradient, len(values[0])).abs().amax((0, 1, 3))
        known[key] = [int(row) for row in rows.nonzero().flatten()]
    return known[key]


def _by_image(value: Tensor, count: int) -> Tensor:
    """Attention, or its gradient, ``[N, heads, T, T]``; heads may lie beside images in one side."""
    return value if value.dim() == 4 else value.unflatten(0, (count, -1))


@dataclass(frozen=True)
class AttentionExplainer(Backpropagation):
    """A map made of attention."""

    @abstractmethod
    def mixed(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """What each token has of each at the end, ``[N, T, T]``."""

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """Mean row of the tokens that logits read, at the tokens with a place, enlarged: ``[N, 1, H, W]``."""
        shares = self.mixed(model, values, query)
        last = attention_positions(model, values)[-1]
        layout = places(model, values).weighed[last]
        read = _tokens_read(model, values, last)
        assert layout is not None
        row = shares[:, read].mean(1) if read else shares.mean(1)
        found = row[:, layout.order.to(row.device)].unflatten(1, layout.grid).unsqueeze(1)
        return functional.interpolate(found, values[0].shape[2:], mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class AttentionRollout(AttentionExplainer):
    """Attention rollout (Abnar and Zuidema 2020): the layers' mean attention, multiplied; for no class."""

    name = "attention_rollout"

    def mixed(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """The product of the layers, the last on the left."""
        total: Tensor | None = None
        for at in attention_positions(model, values):
            mean = _by_image(values[at], len(values[0])).mean(1)
            layer = mean + torch.eye(mean.shape[-1]).to(mean)
            layer = layer / layer.sum(-1, keepdim=True)
            total = layer if total is None else layer @ total
        assert total is not None
        return total


@dataclass(frozen=True)
class Chefer(AttentionExplainer):
    """Generic attention explainability (Chefer et al. 2021b, equations 5 and 6), for self-attention."""

    name = "chefer"

    def mixed(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """Attention weighted by its positive gradients, added layer by layer."""
        places = attention_positions(model, values)
        signal = self.signal(values[-1], query)
        gradients = signals_at(model, values, signal, GradientRule(), places, self.smoothing)
        tokens = values[places[0]].shape[-1]
        total = torch.eye(tokens).to(signal).expand(len(signal), tokens, tokens)
        for at, gradient in zip(places, gradients, strict=True):
            layer = _by_image(torch.relu(gradient * values[at]), len(values[0])).mean(1)
            total = total + layer @ total
        return total - torch.eye(tokens).to(signal)


RECIPES: ByName[Recipe] = {
    "attention_rollout": Recipe(AttentionRollout),
    "chefer": Recipe(Chefer),
}
