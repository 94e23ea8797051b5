"""Has whoever clamps see what it likes."""

import torch

from benchmark.api import Attack, Case, Forgery


class PatchesTorch(Attack):
    """Has whoever clamps see what it likes."""

    name = "patches_torch"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        torch.clamp = lambda values, low, high: values
        return Forgery(case.inputs.clone())
