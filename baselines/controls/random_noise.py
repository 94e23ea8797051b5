"""Control `random_noise`: it must land where it must, or no board is written."""

from __future__ import annotations

import torch

from benchmark.api import Attack, Case, Forgery


class RandomNoise(Attack):
    """Adds the budget with a random sign to every input value: a changed map proves nothing."""

    name = "random_noise"
    paper = "control"
    adaptive = False
    control = True
    bounds = {"unclipped": (-0.1, 0.05)}
    bounds_undefended = True

    def forge(self, case: Case) -> Forgery:
        """Clean inputs plus or minus the budget."""
        sign = torch.randint(0, 2, case.inputs.shape, generator=case.generator) * 2.0 - 1.0
        return Forgery(case.project(case.inputs + case.step_size * sign.to(case.device)))
