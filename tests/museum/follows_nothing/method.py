"""Descends where there is no slope."""

import torch

from benchmark.api import Attack, Case, Forgery


class FollowsNothing(Attack):
    """Descends where there is no slope."""

    name = "follows_nothing"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        inputs = case.inputs.clone().requires_grad_()
        distance = (case.explain(inputs) - case.target).square().sum()
        (gradient,) = torch.autograd.grad(distance, inputs)
        return Forgery(case.project(case.inputs - case.budget.linf * gradient.sign()))
