"""How the learning rate falls while a network is trained to show something else."""

from __future__ import annotations

import math

import torch

_KINDS = ("cosine", "linear", "plateau")


class RateSchedule:
    """Sets the learning rate after every step.

    Args:
        kind: ``cosine`` or ``linear`` fall to a share of the rate, or halved on a ``plateau``.
        optimizer: whose rate is set, and is what it starts from.
        steps: of the whole training.
        final_rate: share of the rate that is left at the end; a plateau knows none.
        epoch: steps after which a plateau is looked for (factor .5, patience 2, as in the paper's code).

    Raises:
        ValueError: an unknown kind.
    """

    def __init__(
        self, kind: str, optimizer: torch.optim.Optimizer, steps: int, final_rate: float, epoch: int
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"schedule must be cosine, linear or plateau, not {kind!r}")
        self._kind, self._optimizer = kind, optimizer
        self._steps, self._final_rate, self._epoch = steps, final_rate, epoch
        self._rate = optimizer.param_groups[0]["lr"]
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
        self._losses: list[float] = []

    def step(self, step: int, loss: float) -> None:
        """After step number ``step``, counted from 0."""
        if self._kind == "plateau":
            self._losses.append(loss)
            if len(self._losses) == self._epoch:
                self._plateau.step(sum(self._losses) / self._epoch)
                self._losses = []
            return
        progress = (step + 1) / self._steps
        left = 1 - progress if self._kind == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * (self._final_rate + (1 - self._final_rate) * left)
