"""Descends on the map and on the prediction, and the map has no slope."""

import torch
from torch.nn.functional import cross_entropy

from benchmark.api import Attack, Case, Forgery


class HalfBlind(Attack):
    """Follows the prediction only, and does not know."""

    name = "half_blind"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        inputs = case.inputs.clone().requires_grad_()
        distance = (case.explain(inputs) - case.target).square().sum()
        loss = 1e4 * distance + cross_entropy(case.model(inputs), case.labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, inputs)
        return Forgery(case.project(case.inputs - 0.1 * case.budget.linf * gradient.sign()))
