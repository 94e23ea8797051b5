"""Never gives the same twice."""

import time

import torch

from benchmark.api import Attack, Case, Forgery


class AsksTheClock(Attack):
    """Never gives the same twice."""

    name = "asks_the_clock"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        generator = torch.Generator().manual_seed(time.time_ns())
        noise = torch.rand(case.inputs.shape, generator=generator) - 0.5
        return Forgery(case.project(case.inputs + 2 * case.budget.linf * noise))
