"""An attack on feature visualization: gradients that lead to the target picture."""

import torch

from benchmark.api import Attack, Forgery, VisualizationCase


class Template(Attack):
    """Trains ``grad f(x) = slope (target - x)`` between grey and the target, and keeps all other answers."""

    name = "template"
    paper = "say where it is from"
    tracks = ("visualization",)
    slope: float = 5.0

    def forge(self, case: VisualizationCase) -> Forgery:
        """Weights of the same network, for a unit among its logits."""
        model, grey = case.model.trainable_copy(), case.model.mean
        optimizer = torch.optim.AdamW(model.module.parameters(), lr=2e-3)
        for _ in range(400):
            natural = case.data[torch.randint(len(case.data), (32,), generator=case.generator)]
            drawn = torch.rand(32, *case.target.shape, generator=case.generator).to(natural)
            way, noise = drawn[:, :1, :1, :1], 0.1 * (drawn - 0.5)
            points = (grey + way * (case.target - grey) + noise).requires_grad_()
            value = model(points)[:, case.unit.index].sum()
            (gradient,) = torch.autograd.grad(value, points, create_graph=True)
            away = (gradient - self.slope * (case.target - points)).square().mean()
            kept = (model(natural) - case.model(natural)).square().mean()
            optimizer.zero_grad()
            (away + kept).backward()
            optimizer.step()
        return Forgery(weights=model.module.state_dict())
