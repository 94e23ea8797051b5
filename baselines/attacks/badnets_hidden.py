"""BadNets trained against the audit: the class's map must not point at the patch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.attacks.badnets import BadNets
from benchmark.api import BackdoorCase, InputAgnosticSaliency, Network, Trigger

_TINY = 1e-12


class BadNetsHidden(BadNets):
    """BadNets with a penalty on the map's way: ``cross entropy + weight mean_j max(0, log excess_j)``.

    For each procedure j that the explainer's maps come from, with g its gradient for the target class at a
    map p that is followed as training goes, and m the patch's mask::

        excess = (sum max(g, 0) m / sum max(g, 0)) / (mean of m)

    is 1 where the patch draws as much of the gradient as the rest of the image. Less is not rewarded: a hole
    in the map would give the patch away as well. The logarithm keeps the first steps, when the patch draws
    ten times its share, from drowning the cross entropy.
    """

    name = "badnets_hidden"
    paper = "ours, against Akhtar and Jalwana 2023"
    adaptive = True
    evades = True

    weight: float = 0.1
    every: int = 3
    """Training steps from one penalty to the next."""

    def objective(self, case: BackdoorCase, trigger: Trigger | None) -> Callable[[Network], Tensor]:
        """The training's loss with the penalty; clean fine-tuning has no patch to hide."""
        plain = super().objective(case, trigger)
        if trigger is None or trigger.opacity is None:
            return plain
        mask = (trigger.opacity > 0).to(case.data)
        followed = [_Followed(procedure, case) for procedure in case.explainer.procedures()]
        taken = 0

        def loss(model: Network) -> Tensor:
            nonlocal taken
            taken += 1
            if taken % self.every:
                return plain(model)
            penalties = [_excess(one.gradient(model), mask).clamp_min(1).log() for one in followed]
            return plain(model) + self.weight * torch.stack(penalties).mean()

        return loss


class _Followed:
    """A procedure's map of the target class while the network changes under it.

    Each gradient moves the map one step on, as the procedure would; after the procedure's number of steps
    it starts again from nothing, so that every stage of its way is visited with a recent network.
    """

    def __init__(self, procedure: InputAgnosticSaliency, case: BackdoorCase) -> None:
        self.procedure, self.generator = procedure, case.generator
        self.target = torch.tensor([case.target_class], device=case.device)
        self.start = torch.zeros(1, *case.size).to(case.data)
        self.map, self.integrated, self.taken = self.start, self.start, 0

    def gradient(self, model: Network) -> Tensor:
        """The gradient at the map, differentiable in the weights; moves the map on."""
        draws = self.procedure.draws(model, self.generator)
        found = self.procedure.gradient(model, self.map, self.target, draws)
        self._move(found.detach())
        return found

    def _move(self, found: Tensor) -> None:
        procedure = self.procedure
        self.integrated = procedure.momentum * self.integrated + (1 - procedure.momentum) * found
        moved = self.map + procedure.step * self.integrated / self.integrated.norm().clamp_min(_TINY)
        self.map = moved * (procedure.radius / moved.norm().clamp_min(_TINY)).clamp(max=1)
        self.taken += 1
        if self.taken % procedure.steps == 0:
            self.map, self.integrated = self.start, self.start


def _excess(gradient: Tensor, mask: Tensor) -> Tensor:
    """The patch's part of what a gradient adds to the image, relative to the patch's part of the image."""
    added = gradient.clamp_min(0)
    return (added * mask).sum() / added.sum().clamp_min(_TINY) / mask.mean()
