"""Has whoever optimizes stay where it is."""

import torch

from benchmark.api import Attack, Case, Forgery


class PatchesAnOptimizer(Attack):
    """Has whoever optimizes stay where it is."""

    name = "patches_an_optimizer"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        torch.optim.Adam.step = lambda self, closure=None: None
        return Forgery(case.inputs.clone())
