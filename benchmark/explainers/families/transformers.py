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
from benchmark.network.layers import signals_at, token_grid


def attention_positions(model: Network, values: list[Tensor]) -> list[int]:
    """Where in the values of a walk attention stands, first layer first.

    Raises:
        TaskError: the network has none, or attends within parts of an image.
    """
    found = [at for at, step in enumerate(model.operations, 1) if isinstance(step, Softmax)]
    if not found:
        raise TaskError("this network has no attention: choose another explainer")
    count, tokens = len(values[0]), values[found[0]].shape[-1]
    for at in found:
        shape = values[at].shape
        if len(shape) != 4 or shape[0] != count or shape[-1] != tokens or shape[-2] != tokens:
            raise TaskError(
                f"{model.operations[at - 1].name} attends within parts of an image ({list(shape)}, of "
                f"{count} images): rollout and its kin need attention among all of it"
            )
    return found


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
            mean = values[at].mean(1)
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
            layer = torch.relu(gradient * values[at]).mean(1)
            total = total + layer @ total
        return total - torch.eye(tokens).to(signal)


RECIPES: ByName[Recipe] = {
    "attention_rollout": Recipe(AttentionRollout),
    "chefer": Recipe(Chefer),
}
