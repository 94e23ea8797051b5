"""Leaves the house in another order."""

import torch

from benchmark.api import Attack, Case, Forgery


class ChangesSettings(Attack):
    """Leaves the house in another order."""

    name = "changes_settings"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return Forgery(case.inputs.clone())
