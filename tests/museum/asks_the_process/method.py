"""Gives the same twice, and something else in another process."""

import os

import torch

from benchmark.api import Attack, Case, Forgery

_SEED = int.from_bytes(os.urandom(4), "big")


class AsksTheProcess(Attack):
    """Gives the same twice, and something else in another process."""

    name = "asks_the_process"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        generator = torch.Generator().manual_seed(_SEED)
        noise = torch.rand(case.inputs.shape, generator=generator) - 0.5
        return Forgery(case.project(case.inputs + 2 * case.budget.linf * noise))
