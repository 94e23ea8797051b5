"""Suspects networks whose batch norms remember other images than natural ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from benchmark.api import Detector, FairwashingAudit, in_batches
from benchmark.explainers import UnsupportedLayer

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_TINY = 1e-12


class BatchNormShift(Detector):
    """How far running statistics are from those of natural images, in standard deviations, over channels.

    Backdoors that know of explanations are trained with batch norms as they are, and lose most of what they
    do when statistics are estimated again (Kadir et al. 2024). Here nothing is changed: of what goes into
    every batch norm the mean and the standard deviation are taken over the auditor's images, and compared
    with those that the network has stored::

        ((mean - m) / s)^2 + log(deviation / s)^2

    The suspicion is the root of its mean over all channels of all batch norms.
    """

    name = "batch_norm_shift"
    paper = "after Kadir et al., defense against explanation-aware backdoors, 2024 (arXiv 2403.16569)"
    tracks = ("fairwashing",)

    images: int = 512

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """The root mean square shift, at least 0.

        Raises:
            UnsupportedLayer: the network has no batch norm with statistics of its own.
        """
        model = audit.model.trainable_copy()
        norms = [
            part
            for part in model.module.modules()
            if isinstance(part, _NORMS) and part.running_mean is not None
        ]
        if not norms:
            raise UnsupportedLayer(
                "this network has no batch norm: there are no statistics to estimate again"
            )
        with torch.no_grad(), watched(norms) as sums:
            for part in in_batches(audit.data[: self.images]):
                model.module(model.normalize(part))
            found = [_shift(norm, *sums[norm]) for norm in norms if norm in sums]
        return audit.finite(torch.cat(found).mean().sqrt()[None])


Sums = dict[nn.Module, tuple[float, Tensor, Tensor]]
"""Of every batch norm how many values went in, their sum and the sum of squares by channel."""


@contextmanager
def watched(norms: list[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]) -> Iterator[Sums]:
    """Collects what goes into batch norms."""
    sums: Sums = {}

    def collect(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].detach().double().movedim(1, -1).flatten(0, -2)
        count, first, second = sums.get(norm, (0.0, 0.0, 0.0))
        sums[norm] = (count + len(rows), first + rows.sum(0), second + rows.square().sum(0))

    hooks = [norm.register_forward_pre_hook(collect) for norm in norms]
    try:
        yield sums
    finally:
        for hook in hooks:
            hook.remove()


def _shift(norm: nn.Module, count: float, first: Tensor, second: Tensor) -> Tensor:
    """The squared shift of every channel of a batch norm."""
    mean = first / count
    variance = (second / count - mean.square()).clamp(min=_TINY)
    stored = norm.get_buffer("running_var").double().clamp(min=_TINY)
    moved = (mean - norm.get_buffer("running_mean").double()).square() / stored
    return moved + (0.5 * (variance / stored).log()).square()
