"""Maps of what a transformer's attention passes on, from its softmax rows ``[N, heads, T, T]``.

They need attention among all parts of an image: networks that attend within windows (Swin, MaxViT) are
refused.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers.base import Query
from benchmark.explainers.recipe import Recipe
from benchmark.explainers.rules import GradientRule
from benchmark.explainers.saliency import Backpropagation
from benchmark.names import ByName
from benchmark.network import Network
from benchmark.network.captured import Softmax
from benchmark.network.images import image_sides
from benchmark.network.layers import signals_at
from benchmark.network.opaque import closed
from benchmark.network.places import places
from benchmark.network.reach import rows_read


def attention_positions(model: Network, values: list[Tensor]) -> list[int]:
    """Where in the values of a walk attention stands, first layer first.

    Attention is a softmax that is multiplied with a value.

    Raises:
        TaskError: the network has none, or attends within parts of an image, or among its channels, or what
            it attends to cannot be followed.
    """
    if told := closed(model.operations):
        raise TaskError(f"{told}, whatever attention it has: choose a gradient method")
    weighed = places(model, values).weighed
    found = [at for at, step in enumerate(model.operations, 1) if isinstance(step, Softmax) and at in weighed]
    if not found:
        raise TaskError(_none_found(model))
    for at in found:
        _check_attention(model, values, at, found[0], at == found[-1])
    return found


def _none_found(model: Network) -> str:
    """Why a network has no attention, as far as is known."""
    names = [step.name for step in model.operations if isinstance(step, Softmax)]
    if not names:
        return (
            "this network has no attention, or none that is written as a softmax along the side of what it "
            "weighs: choose another explainer"
        )
    return (
        f"this network has no attention that can be followed: its softmax {names[0]} is not multiplied, as a "
        "matrix and but for moves of its shares, with what it weighs"
    )


def _check_attention(model: Network, values: list[Tensor], at: int, first: int, last: bool) -> None:
    """Refuses attention that is not among all parts of an image, and the same as in the first."""
    known = places(model, values).weighed
    layout, before = known[at], known[first]
    shape, name = values[at].shape, model.operations[at - 1].name
    side = image_sides(model, values[0])[at]
    if layout is None:
        raise TaskError(
            f"{name} attends among {shape[-1]} things that are no parts of the image (channels, say), or "
            "cannot be followed to them: rollout and its kin need attention among its parts"
        )
    if side is None or side.axis >= len(shape) - 2:
        raise TaskError(
            f"{name} gives shares {list(shape)}, of {len(values[0])} images, of which it cannot be followed "
            "what image they belong to"
        )
    pools = last and shape[-2] != shape[-1]
    if not layout.covers_image() or len(shape) > 4:
        raise TaskError(
            f"{name} attends within parts of an image, or views ({list(shape)}, of {len(values[0])} images): "
            "rollout and its kin need attention among all of it"
        )
    if shape[-2] != shape[-1] and not pools:
        raise TaskError(
            f"{name} has {shape[-2]} queries for {shape[-1]} parts of the image: rollout and its kin need "
            "attention among the parts, after which the last may read them by other queries"
        )
    same = before is not None and torch.equal(layout.order, before.order) and layout.grid == before.grid
    if not same or shape[-1] != values[first].shape[-1]:
        raise TaskError(f"{name} attends among other parts of the image than the attention before it")


def _by_image(model: Network, values: list[Tensor], at: int, value: Tensor) -> Tensor:
    """Attention at a position of the walk, or its gradient, ``[N, heads, T, T]``.

    Heads may lie beside images in one side, inside or outside of them.
    """
    side = image_sides(model, values[0])[at]
    assert side is not None
    apart = side.apart(value)
    return apart.flatten(1, -3) if apart.dim() > 3 else apart.unsqueeze(1)


@dataclass(frozen=True)
class AttentionExplainer(Backpropagation):
    """A map made of attention."""

    @abstractmethod
    def mixed(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """What each token, or each query of the last attention, has of each token, ``[N, Q, T]``."""

    def walk_back(self, model: Network, values: list[Tensor], query: Query) -> Tensor:
        """Mean row of the tokens that logits read, at the tokens with a place, enlarged: ``[N, 1, H, W]``."""
        shares = self.mixed(model, values, query)
        last = attention_positions(model, values)[-1]
        layout = places(model, values).weighed[last]
        read = rows_read(model, values[0], last)
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
            layer = _by_image(model, values, at, values[at]).mean(1)
            if layer.shape[-2] == layer.shape[-1]:  # queries that are no tokens have no residual of theirs
                layer = layer + torch.eye(layer.shape[-1]).to(layer)
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
            layer = _by_image(model, values, at, torch.relu(gradient * values[at])).mean(1)
            if layer.shape[-2] != tokens:  # equation 10, of queries that are no tokens
                return layer @ total
            total = total + layer @ total
        return total - torch.eye(tokens).to(signal)


RECIPES: ByName[Recipe] = {
    "attention_rollout": Recipe(AttentionRollout),
    "chefer": Recipe(Chefer),
}
