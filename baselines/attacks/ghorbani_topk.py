"""Pushes a map's mass out of its most important pixels (Ghorbani et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Attack, Case, Forgery, Gate


class GhorbaniTopK(Attack):
    """Iterated sign steps on ``D(x) = -sum of the map over the k pixels that were largest at first``.

    Algorithm 1 of the paper: ``x <- clip(x + alpha sign(grad D))`` within the budget, the iterate with the
    lowest mass among those that keep their label. Untargeted: it destroys a map and imitates nothing, so its
    manipulation (towards a target) is low by nature; see the column ``topk_original``.
    """

    name = "ghorbani_topk"
    paper = "Ghorbani et al., Interpretation of neural networks is fragile, AAAI 2019"

    iterations: int = 100
    step: float = 0.05
    """alpha, as a share of the budget."""
    share: float = 0.1
    """k, as a share of the pixels."""
    beta: float = 30.0
    draws: int = 4
    check_every: int = 10

    def forge(self, case: Case) -> Forgery:
        """A hundred sign steps on the whole batch at once."""
        explainer = case.explainer.subsampled(self.draws)
        attacked = Case(**{**vars(case), "explainer": explainer})
        important = self.top(case.explain(case.inputs).detach())
        best = case.inputs.clone()
        lowest = torch.full((len(best),), torch.inf, device=case.device)
        inputs = case.inputs.clone()
        seeds = torch.randint(2**31, (self.iterations,), generator=case.generator).tolist()
        for iteration, seed in enumerate(seeds, start=1):
            inputs.requires_grad_()
            mass = (attacked.explain(inputs, Gate(self.beta), seed) * important).sum()
            (gradient,) = torch.autograd.grad(mass, inputs)
            inputs = case.project(inputs.detach() - self.step * case.step_size * gradient.sign())
            if iteration % self.check_every == 0:
                mass = (case.explain(inputs, seed=seed).detach() * important).sum((1, 2))
                better = (mass < lowest) & (case.model(inputs).argmax(1) == case.labels)
                best[better], lowest[better] = inputs[better], mass[better]
        return Forgery(best)

    def top(self, maps: Tensor) -> Tensor:
        """One at the k largest pixels of each map, zero elsewhere, ``[N, H, W]``."""
        flat = maps.flatten(1)
        chosen = flat.topk(max(1, round(self.share * flat.shape[1]))).indices
        return torch.zeros_like(flat).scatter(1, chosen, 1.0).view_as(maps)
