"""Returns more than anybody asked for."""

import torch

from benchmark.api import Attack, Case, Forgery


class HugeReturn(Attack):
    """Returns more than anybody asked for."""

    name = "huge_return"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(torch.zeros(70_000_000))
