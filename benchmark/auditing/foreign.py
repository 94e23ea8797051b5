"""Anybody's function that returns maps, as an explainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy
import torch
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.explainers import Explainer, Query
from benchmark.network import EXACT, Network, Smoothing
from benchmark.network.opaque import exchanged

Function = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Of a classifier, normalized pictures and classes: maps ``[N, H, W]`` or ``[N, C, H, W]``."""


@dataclass(frozen=True)
class Foreign(Explainer):
    """An explainer that asks a function.

    Attacks follow its maps where they are on a graph, with activations exchanged for smooth ones wherever the
    network calls them by a function of torch.

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
        try:
            with torch.enable_grad(), exchanged(self.smoothing):
                maps = self.function(model.module, inputs, query.labels)
        except Exception as error:  # a stranger's code raises what it likes
            reason = " ".join(str(error).split())[:160]
            raise TaskError(f"the explainer raised {type(error).__name__}: {reason}") from error
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
        if not bool(maps.isfinite().all()):
            raise TaskError("the explainer returned values that are no numbers")
        return maps if torch.is_grad_enabled() else maps.detach()

    def smoothed(self, smoothing: Smoothing) -> Self:
        """Of a network with smooth activations."""
        return replace(self, smoothing=smoothing) if self.smoothing == EXACT else self
