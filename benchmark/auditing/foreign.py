"""Anybody's function that returns maps, as an explainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy
import torch
from torch import Tensor, nn

from benchmark.errors import TaskError, in_a_line
from benchmark.explainers import Explainer, Query
from benchmark.network import EXACT, Network, Smoothing
from benchmark.network.exchange import exchanged

Function = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Of a classifier, normalized pictures and classes: maps ``[N, H, W]`` or ``[N, C, H, W]``."""


@dataclass(frozen=True)
class Foreign(Explainer):
    """An explainer that asks a function.

    Attacks follow its maps where they are on a graph, with activations exchanged for smooth ones wherever the
    network calls them by a function of torch. Whether that graph is all of the way from pictures to maps is
    another question (:mod:`benchmark.auditing.slopes`).

    Args:
        function: what is asked.
        smoothing: of activations.
        name: of the explainer.
    """

    function: Function
    smoothing: Smoothing = EXACT
    name: str = "yours"

    def relevance(self, model: Network, query: Query) -> Tensor:
        """The function's maps, one channel or several."""
        inputs = model.normalize(query.inputs)
        follow = torch.is_grad_enabled() and inputs.requires_grad
        with torch.enable_grad(), exchanged(self.smoothing):
            given, maps = self._asked(model.module, inputs.detach(), query.labels)
        maps = _checked(maps, inputs)
        if not follow or not maps.requires_grad:
            return maps.detach()
        behind: Tensor = _Behind.apply(inputs, maps.detach(), maps, given)
        return behind

    def _asked(self, module: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, object]:
        """Pictures that want a gradient, as a tensor of their own, and what the function makes of them.

        Functions that call ``.backward()`` or look at gradients of layers need that, since weights are
        frozen; those that fail of it, as what changes tensors into arrays does, are asked without.
        """
        given = inputs.clone().requires_grad_()
        try:
            found = self.function(module, given, labels)
        except Exception as first:  # a stranger's code raises what it likes
            given = inputs.clone()
            try:
                found = self.function(module, given, labels)
            except Exception as error:
                reason = in_a_line(error)
                raise TaskError(f"the explainer raised {type(error).__name__}: {reason}") from first
        if not torch.equal(given.detach(), inputs):
            raise TaskError(
                "the explainer changed the pictures that it was given: it must work on a copy "
                "(pictures.clone())"
            )
        return given, found

    def smoothed(self, smoothing: Smoothing) -> Self:
        """Of a network with smooth activations."""
        return replace(self, smoothing=smoothing) if self.smoothing == EXACT else self


class _Behind(torch.autograd.Function):
    """Maps that a function made of pictures of its own, with a gradient in the pictures those are a copy of.

    Once: there is no second derivative.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, values: Tensor, maps: Tensor, given: Tensor) -> Tensor:
        """The values of the maps."""
        ctx.made = maps, given
        return values.clone()

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient that the function's graph has; zero where none leads to the pictures."""
        maps, given = ctx.made
        found = (None,)
        if given.requires_grad:
            found = torch.autograd.grad(maps, given, signals[0], retain_graph=True, allow_unused=True)
        return (torch.zeros_like(given) if found[0] is None else found[0]), None, None, None


def _checked(maps: object, inputs: Tensor) -> Tensor:
    """Maps ``[N, C, H, W]`` of what a function returned."""
    if isinstance(maps, numpy.ndarray):
        maps = torch.from_numpy(maps).to(inputs)
    if not isinstance(maps, Tensor):
        raise TaskError(f"the explainer returned a {type(maps).__name__}, not a tensor of maps")
    height, width = inputs.shape[2:]
    if maps.ndim == 3:
        maps = maps[:, None]
    if maps.ndim != 4 or len(maps) != len(inputs) or maps.shape[2:] != (height, width):
        raise TaskError(
            f"the explainer returned maps {list(maps.shape)} for pictures {list(inputs.shape)}: one map "
            "per picture, of its height and width, is wanted"
        )
    if maps.dtype == torch.bool or maps.is_complex():
        raise TaskError(f"the explainer returned maps of {maps.dtype}, and maps are real numbers")
    if not maps.is_floating_point():
        maps = maps.to(inputs)
    if not bool(maps.isfinite().all()):
        raise TaskError("the explainer returned values that are no numbers")
    return maps
