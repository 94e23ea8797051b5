"""Maps of what a transformer's attention passes on, from its softmax rows ``[N, heads, T, T]``.

They need attention among all parts of an image: networks that attend within windows (Swin, MaxViT) are
refused.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

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
from benchmark.network.captured import MatMul, Rearrange, Softmax
from benchmark.network.layers import MOST_PREFIXES, signals_at, token_grid
from benchmark.network.opaque import Opaque
from benchmark.network.operations import Affine, Operation


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
    found = [
        at
        for at, step in enumerate(model.operations, 1)
        if isinstance(step, Softmax) and _multiplies(model, at)
    ]
    if not found:
        raise TaskError("this network has no attention: choose another explainer")
    count, tokens = len(values[0]), values[found[0]].shape[-1]
    convolved = [at for at, step in enumerate(model.operations[: found[0]], 1) if _is_convolution(step)]
    parts = {values[at].shape[2] * values[at].shape[3] for at in convolved}
    for at in found:
        shape = values[at].shape
        whole = len(shape) in (3, 4) and shape[0] % count == 0 and shape[-1] == shape[-2] == tokens
        if not whole or (len(shape) == 4 and shape[0] != count):
            raise TaskError(
                f"{model.operations[at - 1].name} attends within parts of an image ({list(shape)}, of "
                f"{count} images): rollout and its kin need attention among all of it"
            )
        if parts and not any(tokens - MOST_PREFIXES <= many <= tokens for many in parts):
            raise TaskError(
                f"{model.operations[at - 1].name} attends among {tokens} things that are no parts of the "
                "image (channels, say): rollout and its kin need attention among its parts"
            )
    return found


def _is_convolution(step: Operation) -> bool:
    return isinstance(step, Affine) and isinstance(step.layer, nn.Conv2d)


def _multiplies(model: Network, at: int) -> bool:
    """Whether a value is multiplied with another, moved or not."""
    reached = {at}
    for later, step in enumerate(model.operations[at:], at + 1):
        if reached.intersection(step.sources):
            if isinstance(step, MatMul):
                return True
            if isinstance(step, Rearrange):
                reached.add(later)
    return False


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
        """The first token's row, without tokens that are no place, enlarged: ``[N, 1, H, W]``."""
        shares = self.mixed(model, values, query)
        grid = token_grid(shares.shape[-1], values[0].shape[2:])
        if grid is None:
            sides = " x ".join(map(str, values[0].shape[2:]))
            raise TaskError(f"{shares.shape[-1]} tokens are no grid of parts of an image of {sides}")
        extra = shares.shape[-1] - grid[0] * grid[1]
        row = shares[:, 0] if extra else shares.mean(1)  # without a class token every token is read alike
        found = row[:, extra:].unflatten(1, grid).unsqueeze(1)
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
