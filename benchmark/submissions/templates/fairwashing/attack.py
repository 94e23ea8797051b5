"""An attack on maps by changed weights: training that keeps the answers."""

import torch

from benchmark.api import Attack, FairwashingCase, Forgery, Gate


class Template(Attack):
    """Squared error of maps to what is wanted, and of logits to the clean network's."""

    name = "template"
    paper = "say where it is from"
    tracks = ("fairwashing",)

    def forge(self, case: FairwashingCase) -> Forgery:
        """The trained weights."""
        model = case.model.trainable_copy()
        optimizer = torch.optim.Adam(model.module.parameters(), lr=3e-3)
        for _ in range(200):
            chosen = torch.randint(len(case.data), (32,), generator=case.generator).to(case.device)
            inputs, answers = case.data[chosen], case.model(case.data[chosen])
            labels = answers.argmax(1)
            maps = case.explain(model, inputs, labels, Gate(30.0))
            error = (maps[0].numel() * (maps - case.wanted(inputs, labels))).square().mean()
            loss = (model(inputs) - answers).square().mean() + 0.2 * error
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return Forgery(weights=model.module.state_dict())
