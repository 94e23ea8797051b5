"""Takes its random numbers from everybody."""

import torch

from benchmark.api import Attack, Case, Forgery


class DrawsGlobally(Attack):
    """Takes its random numbers from everybody."""

    name = "draws_globally"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        torch.manual_seed(0)
        noise = torch.rand(case.inputs.shape) - 0.5
        return Forgery(case.project(case.inputs + 2 * case.budget.linf * noise))
