"""An attack on saliency maps: a few signed steps towards the target map."""

import torch

from benchmark.api import Attack, Case, Forgery, Gate


class Template(Attack):
    """Projected descent on the squared distance between the map and its target."""

    name = "template"
    paper = "say where it is from"
    steps: int = 20

    def forge(self, case: Case) -> Forgery:
        """Images within the budget."""
        inputs = case.inputs
        for _ in range(self.steps):
            inputs = inputs.clone().requires_grad_()
            distance = (case.explain(inputs, smoothing=Gate(beta=30.0)) - case.target).square().sum()
            (gradient,) = torch.autograd.grad(distance, inputs)
            inputs = case.project(inputs.detach() - 0.1 * case.step_size * gradient.sign())
        return Forgery(inputs)
