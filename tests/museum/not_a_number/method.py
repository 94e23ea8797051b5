"""Divides by zero."""

import torch

from benchmark.api import Attack, Case, Forgery


class NotANumber(Attack):
    """Divides by zero."""

    name = "not_a_number"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs * (torch.zeros(1) / 0))
