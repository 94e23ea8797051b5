"""What a member of the ensemble is given: cases, a start, an allowance; and what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.ensemble_losses import LOSSES
from baselines.attacks.ensemble_view import Asked, View
from baselines.attacks.unnoticed import SHARES, shrunk
from benchmark.api import EXACT, Case, Gate, Smoothing, Softplus

_LOOKS = 3
"""How often a member that follows gradients shows where it is before the end; once if looks need draws."""
_PROBE_BETA = 10.0


@dataclass(frozen=True)
class Member:
    """One way to attack.

    Args:
        name: as reports call it.
        rule: ``adam``, ``signs`` (momentum and halved steps) or ``squares`` (queries alone).
        loss: one of :data:`LOSSES`.
        surrogate: ``gate``, ``softplus`` or ``exact``: whose gradient is followed.
        random: whether it starts at a random image within the budget rather than at the clean one.
    """

    name: str
    rule: Literal["adam", "signs", "squares"]
    loss: str = "uncorrelated"
    surrogate: str = "gate"
    random: bool = False

    def smoothing(self, beta: float) -> Smoothing:
        """Of the surrogate."""
        smooth: Smoothing = Softplus(beta) if self.surrogate == "softplus" else Gate(beta)
        return EXACT if self.surrogate == "exact" else smooth


@dataclass
class Part:
    """Some cases on which a member spends an allowance.

    Args:
        case: the cases as gradients are taken of them: few draws, a detector in usual units or none.
        view: the cases as they are judged.
        reference: class probabilities of the clean images, ``[N, K]``.
        start: images within the budget, ``[N, C, H, W]``.
        again: whether they are the best so far, and not a fresh start.
        asked: what counts explanations.
        allowance: explanations per case.
        unit: explanations of a map and a suspicion.
        seed: of all draws.
    """

    case: Case
    view: View
    reference: Tensor
    start: Tensor
    again: bool
    asked: Asked
    allowance: int
    unit: float
    seed: int
    best: Tensor = field(init=False)
    values: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has been seen yet."""
        self._begun, self._looks = self.asked.explanations, 0
        self._price = self.unit * len(self.view.seeds)  # of a look
        self.best = self.view.case.eight_bits(self.start)
        self.values = torch.full((len(self.start),), -torch.inf, dtype=torch.float64, device=self.best.device)

    @property
    def spent(self) -> float:
        """Explanations per case so far."""
        return (self.asked.explanations - self._begun) / max(1, len(self.start))

    @property
    def room(self) -> float:
        """What is left of the allowance, less what it takes to look at last."""
        last = 2 if self.view.case.detector is None else 3 + len(SHARES)
        return self.allowance - self.spent - last * self._price

    def offer(self, inputs: Tensor) -> None:
        """Keeps images ``[N, C, H, W]`` where the judge would see more in them than in those before."""
        if self.allowance - self.spent < self._price:
            return
        inputs = self.view.case.eight_bits(inputs)
        values = self.view.values(inputs)
        better = values > self.values
        self.best = torch.where(better[:, None, None, None], inputs, self.best)
        self.values = torch.where(better, values, self.values)

    def steps(self) -> Iterator[float]:
        """The share of the allowance that is spent, while there is room for a step and the last looks."""
        while self.room >= self.unit:
            yield self.spent / self.allowance

    def look(self, progress: float, inputs: Tensor) -> None:
        """Offers where it is, at a few points of the way."""
        looks = _LOOKS if len(self.view.seeds) == 1 else 1
        if progress * (looks + 1) >= self._looks + 1:
            self._looks += 1
            self.offer(inputs)

    def finish(self) -> None:
        """Against a detector, shrinks the best as far as serves."""
        if self.view.case.detector is None or self.allowance - self.spent < (len(SHARES) + 1) * self._price:
            return
        self.offer(shrunk(self.view.case, self.best, lambda inputs: -self.view.values(inputs)))

    def gradient(self, member: Member, inputs: Tensor, beta: float, step: int) -> tuple[Tensor, Tensor]:
        """Losses ``[N]`` and their gradient ``[N, C, H, W]``, zero where it is no number."""
        inputs = inputs.detach().requires_grad_()
        unlike, beside = self._losses(member, inputs, beta, step)
        return unlike.detach() + beside.detach(), _followed(unlike + beside, inputs)

    def sighted(self, member: Member) -> Tensor:
        """Where a member has a gradient of the map at all ``[N]``, for the price of an explanation."""
        inputs = self.start.detach().requires_grad_()
        unlike, _ = self._losses(member, inputs, _PROBE_BETA, 0)
        return _followed(unlike, inputs).flatten(1).any(1)

    def _losses(self, member: Member, inputs: Tensor, beta: float, step: int) -> tuple[Tensor, Tensor]:
        """How unlike the target maps are, and what else is held against images, ``[N]`` each."""
        seed, smoothing = self.seed + step, member.smoothing(beta)
        maps, logits = self.case.explain_with_logits(inputs, smoothing, seed)
        loss, weight = LOSSES[member.loss]
        beside = Dombrowski.output_weight * (logits.softmax(1) - self.reference).square().sum(1)
        if self.case.detector is not None:
            beside = beside + Dombrowski.suspicion_weight * self.case.suspicion(inputs, smoothing, seed)
        return loss(maps, self.case.target), weight * beside


def _followed(losses: Tensor, inputs: Tensor) -> Tensor:
    """The gradient of losses ``[N]`` in inputs, zero where there is none."""
    if not losses.requires_grad:
        return torch.zeros_like(inputs)
    (gradient,) = torch.autograd.grad(losses.sum(), inputs, allow_unused=True)
    return torch.zeros_like(inputs) if gradient is None else gradient.nan_to_num(0.0, 0.0, 0.0)
